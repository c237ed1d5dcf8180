//! The files of a journal: numbered segments of frames, and the lock that keeps them to one process.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::error::OpenError;

/// First bytes of every segment; the digits are the version of the format.
pub(crate) const MAGIC: &[u8; 8] = b"AUDITJ01";
/// Offset of a segment's first frame.
pub(crate) const START: u64 = MAGIC.len() as u64;

const SUFFIX: &str = "journal";
const DAMAGED: &str = "damaged";

/// A place between two frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// Returns the file of segment `sequence`.
pub(crate) fn path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("{sequence:016x}.{SUFFIX}"))
}

/// Returns the file that keeps segment `sequence` as evidence.
pub(crate) fn damaged_path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("{sequence:016x}.{DAMAGED}"))
}

/// Creates segment `sequence`, which must not exist: audit events may hold names of people, so only the owner reads it.
pub(crate) fn create(directory: &Path, sequence: u64) -> io::Result<File> {
    let path = path(directory, sequence);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(MAGIC)
        .inspect_err(|_| remove_quietly(&path))?;
    Ok(file)
}

/// Opens segment `sequence` to read it.
pub(crate) fn open(directory: &Path, sequence: u64) -> io::Result<File> {
    File::open(path(directory, sequence))
}

/// Lists the segments with their lengths, oldest first.
///
/// # Errors
/// A file that is longer than a header and has another one was written by something else, and is refused rather than overwritten.
pub(crate) fn list(directory: &Path) -> Result<BTreeMap<u64, u64>, OpenError> {
    let unreadable = |cause| OpenError::Directory {
        directory: directory.to_owned(),
        cause,
    };
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(sequence) = sequence(&path, SUFFIX) else {
            continue;
        };
        let mut magic = Vec::new();
        let file = match File::open(&path) {
            // Settled and removed meanwhile by the store that holds the lock.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(unreadable)?,
        };
        (&file)
            .take(START)
            .read_to_end(&mut magic)
            .map_err(unreadable)?;
        if !MAGIC.starts_with(&magic) {
            return Err(OpenError::ForeignFormat { path });
        }
        segments.insert(sequence, file.metadata().map_err(unreadable)?.len());
    }
    Ok(segments)
}

/// Lists the segments that are kept as evidence with their lengths, oldest first.
pub(crate) fn list_damaged(directory: &Path) -> io::Result<BTreeMap<u64, u64>> {
    let mut damaged = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(sequence) = sequence(&entry.path(), DAMAGED) {
            damaged.insert(sequence, entry.metadata()?.len());
        }
    }
    Ok(damaged)
}

/// Takes the directory's lock for this process; the system frees it when the process ends, however it ends.
pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    let failed = |cause| OpenError::Directory {
        directory: directory.to_owned(),
        cause,
    };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options.open(directory.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed)?;
            return Err(OpenError::Locked {
                directory: directory.to_owned(),
                holder: holder.trim().to_owned(),
            });
        }
        Err(TryLockError::Error(cause)) => return Err(failed(cause)),
    }
    // On a full disk the lock holds without a name.
    if let Err(error) = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
    {
        tracing::warn!(%error, "cannot write the process id into the audit journal's lock file");
    }
    Ok(file)
}

/// Removes a file that holds nothing of worth any more; one that cannot be removed is looked at again by the next start.
pub(crate) fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a settled journal segment; the next start tries again");
    }
}

fn sequence(path: &Path, suffix: &str) -> Option<u64> {
    let stem = path
        .file_name()?
        .to_str()?
        .strip_suffix(suffix)?
        .strip_suffix('.')?;
    u64::from_str_radix(stem, 16).ok()
}
