//! Directories that outlive a run, and locks between processes.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use crate::Error;

/// Returns the directory for downloads and prepared clusters; it need not exist.
///
/// `E2E_CACHE_DIR`, else for root `/var/tmp/kubernaut-e2e-0` (root's home is closed to the account that runs PostgreSQL), else
/// `$XDG_CACHE_HOME/kubernaut-e2e`, else `~/.cache/kubernaut-e2e`, else `/var/tmp/kubernaut-e2e-<uid>`.
pub fn cache_directory() -> PathBuf {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let uid = geteuid();
    let shared = PathBuf::from(format!("/var/tmp/kubernaut-e2e-{uid}"));
    if let Some(chosen) = variable(e2e_env::CACHE_DIR) {
        return std::path::absolute(&chosen).unwrap_or(chosen);
    }
    if uid.is_root() {
        return shared;
    }
    let home =
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    home.filter(|home| home.is_absolute())
        .map_or(shared, |home| home.join("kubernaut-e2e"))
}

/// Returns where the cache keeps the binaries of `version` (`16.15.0`); its `bin` holds `initdb` and `postgres`.
pub fn installation_directory(version: &str) -> PathBuf {
    cache_directory().join("postgres").join(version)
}

/// Returns a directory of the cache by its name, after making it where it is missing and checking that nobody else can write to it.
pub fn own_cache_directory(name: &str) -> Result<PathBuf, Error> {
    let cache = cache_directory();
    ensure_own_directory(&cache)?;
    let path = cache.join(name);
    ensure_own_directory(&path)?;
    Ok(path)
}

/// Creates `path` and its parents, and checks that it is ours and that nobody else can write to it.
pub(crate) fn ensure_own_directory(path: &Path) -> Result<(), Error> {
    // Others may enter: the account that runs PostgreSQL for root has to. What is private inside is 0700.
    if !path.exists() {
        let created = DirBuilder::new().recursive(true).mode(0o755).create(path);
        // Again, because the umask may have taken the rights of others away.
        created
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o755)))
            .map_err(Error::io("create the directory", path))?;
    }
    let found = std::fs::symlink_metadata(path).map_err(Error::io("inspect", path))?;
    let unsafe_because = if !found.is_dir() {
        "it is not a directory".to_owned()
    } else if found.uid() != geteuid().as_raw() {
        format!("it belongs to user {}", found.uid())
    } else if found.permissions().mode() & 0o022 != 0 {
        format!(
            "others may write to it (mode {:o})",
            found.permissions().mode() & 0o7777
        )
    } else {
        return Ok(());
    };
    Err(Error::Unsafe {
        path: path.to_owned(),
        detail: unsafe_because,
    })
}

/// An exclusive lock on a file, held until dropped or until the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

/// What an attempt to lock a file that should be there came to.
#[derive(Debug)]
pub(crate) enum Existing {
    /// We have it now.
    Taken(FileLock),
    /// A living process has it.
    Held,
    /// There is no such file.
    Missing,
}

impl FileLock {
    /// Takes the lock, or returns `None` at once when another process has it.
    fn try_take(path: &Path) -> Result<Option<Self>, Error> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path);
        Self::lock(file.map_err(Error::io("open the lock file", path))?, path)
    }

    /// Takes the lock on a file that somebody else made, and never makes it.
    pub(crate) fn try_take_existing(path: &Path) -> Result<Existing, Error> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Self::lock(file, path)?.map_or(Existing::Held, Existing::Taken)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Existing::Missing),
            Err(error) => Err(Error::io("open the lock file", path)(error)),
        }
    }

    fn lock(mut file: File, path: &Path) -> Result<Option<Self>, Error> {
        match file.try_lock() {
            Ok(()) => {
                // For people and error texts only: the lock itself is the kernel's.
                file.set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .map_err(Error::io("write the process id to", path))?;
                Ok(Some(Self { _file: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(Error::io("lock", path)(source)),
        }
    }

    /// Takes the lock within `deadline`.
    pub(crate) fn take(path: &Path, deadline: Duration) -> Result<Self, Error> {
        let started = Instant::now();
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            let waited = started.elapsed();
            if waited >= deadline {
                return Err(Error::Locked {
                    path: path.to_owned(),
                    waited,
                    holder: holder(path),
                });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}
