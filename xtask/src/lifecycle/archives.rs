//! Images of the host as small archives, kept in the user's cache and seen by every node.
//!
//! Docker takes seconds to write an image out, and a node takes several times the processor time to read it uncompressed through a
//! pipe; beside kubeadm, on two cores, that is what a cold run waits for. So each content is written out and compressed once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::exit::{Exit, Failure};
use crate::image::fingerprint;
use crate::pack;
use crate::process::Door;
use crate::tools::docker;

/// The archives' directory in the cache.
const NAME: &str = "images";
/// How long an archive that nobody uses is kept.
const UNUSED: Duration = Duration::from_hours(7 * 24);
/// What a file is called while it is being written.
const PART: &str = ".part";

/// An archive that is there.
pub struct Archive {
    /// Where it lies on this machine.
    pub path: PathBuf,
    /// How long making it took, if it had to be made.
    pub made_in: Option<Duration>,
}

/// The directory of the archives, which nodes see as [`crate::tools::kind::ARCHIVES`]; it need not exist.
pub fn location() -> PathBuf {
    embedded_postgres::cache_directory().join(NAME)
}

/// As [`location`], made where it is missing; nobody else can write to it.
pub fn directory() -> Result<PathBuf, Failure> {
    embedded_postgres::own_cache_directory(NAME).map_err(Failure::setup)
}

/// The archive of an image that the host has under this id, by that name and by the one of its content.
pub fn of(door: &Door, image: &str, id: &str) -> Result<Archive, Failure> {
    let directory = directory()?;
    let path = directory.join(format!("{}.tar", &fingerprint(&[id, image])[..24]));
    if is_used_again(&path) {
        return Ok(Archive {
            path,
            made_in: None,
        });
    }
    let began = Instant::now();
    let failed = |error: std::io::Error| {
        let what = format!(
            "the image {image} cannot be kept as {}: {error}",
            path.display()
        );
        Failure::new(Exit::Setup, what)
            .next("make room there, or name another directory in E2E_CACHE_DIR")
    };
    remove_unused(&directory);
    // Whoever makes the same archive at the same time makes the same file: the later one takes the name.
    let mut part = tempfile::Builder::new()
        .suffix(PART)
        .tempfile_in(&directory)
        .map_err(failed)?;
    let content = docker::content_name(id);
    docker::save(door, image, |saved| {
        pack::pack(saved, &content, &directory, part.as_file_mut())
    })
    .map_err(|error| error.into_failure(Exit::Setup, door.cancel()))?;
    part.persist(&path).map_err(|error| failed(error.error))?;
    Ok(Archive {
        path,
        made_in: Some(began.elapsed()),
    })
}

/// Whether the archive is there; if so, it counts as used now.
fn is_used_again(path: &Path) -> bool {
    // A directory that became read-only serves as well.
    std::fs::File::open(path).is_ok_and(|file| {
        drop(file.set_modified(SystemTime::now()));
        true
    })
}

/// Removes archives that nobody has used for long, and what a killed process left half made.
fn remove_unused(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|modified| modified.elapsed().ok());
        let kept = if entry.file_name().to_string_lossy().ends_with(PART) {
            Duration::from_hours(1)
        } else {
            UNUSED
        };
        if age.is_some_and(|age| age > kept) {
            // Another process may have been first.
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_used_for_long_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, hours: u64| {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            let time = SystemTime::now() - Duration::from_hours(hours);
            file.set_modified(time).unwrap();
        };
        file("old.tar", 8 * 24);
        file("used.tar", 8 * 24);
        file("new.tar", 24);
        file("killed.part", 2);
        file("made.part", 0);
        assert!(is_used_again(&dir.path().join("used.tar")));
        remove_unused(dir.path());
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["made.part", "new.tar", "used.tar"]);
    }
}
