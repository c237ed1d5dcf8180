//! A value that is made of files, and made again when they change.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use sha2::{Digest, Sha256};

/// Bytes of a file at most: a file that grows without end must not fill the memory.
const MOST: u64 = 1 << 20;

/// What a file holds, told apart without being kept.
type Fingerprint = [u8; 32];

/// How the value is made of what the files hold, in their order; else what is wrong with them.
type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// The value, as its files last made one, and the files.
pub(crate) struct Watched<T> {
    /// What the files are, in the words of the log and of a metric.
    pub(crate) name: &'static str,
    files: Vec<PathBuf>,
    make: Make<T>,
    current: RwLock<Arc<T>>,
    seen: Mutex<Seen>,
}

/// What the last looks found.
struct Seen {
    made_of: Vec<Fingerprint>,
    /// What was wrong at the last look, if something was.
    fault: Option<String>,
}

/// What a look at the files came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// They hold what they held.
    Same,
    /// They hold something else, which is in force now.
    Renewed,
    /// They are of no use, since this look or for longer; what was made of them before stays in force.
    Faulty {
        /// What is wrong.
        why: String,
        /// Whether the look before found the same. A pair of files that is being replaced may not fit together for a moment.
        again: bool,
    },
}

impl<T> Watched<T> {
    /// Reads the files for the first time.
    pub(crate) fn new(
        name: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let (contents, made_of) = read(&files)?;
        let current = RwLock::new(Arc::new(make(&contents)?));
        let seen = Mutex::new(Seen {
            made_of,
            fault: None,
        });
        Ok(Self {
            name,
            files,
            make: Box::new(make),
            current,
            seen,
        })
    }

    /// The value in force.
    pub(crate) fn current(&self) -> Arc<T> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Reads the files again; blocks as long as the disk does.
    pub(crate) fn look(&self) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let made = match read(&self.files) {
            Ok((_, made_of)) if made_of == seen.made_of => {
                seen.fault = None;
                return Look::Same;
            }
            Ok((contents, made_of)) => (self.make)(&contents).map(|made| (made, made_of)),
            Err(why) => Err(why),
        };
        match made {
            Ok((made, made_of)) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
                *seen = Seen {
                    made_of,
                    fault: None,
                };
                Look::Renewed
            }
            Err(why) => {
                let again = seen.fault.as_ref() == Some(&why);
                seen.fault = Some(why.clone());
                Look::Faulty { why, again }
            }
        }
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// What the files hold, and how to tell it from something else.
fn read(files: &[PathBuf]) -> Result<(Vec<Vec<u8>>, Vec<Fingerprint>), String> {
    let mut contents = Vec::with_capacity(files.len());
    for path in files {
        let refused =
            |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", path.display());
        // Opening a pipe waits for its writer, for ever.
        let is_file = std::fs::metadata(path).map_err(|error| refused(&error))?;
        if !is_file.is_file() {
            return Err(refused(&"it is no regular file"));
        }
        let file = std::fs::File::open(path).map_err(|error| refused(&error))?;
        let mut content = Vec::new();
        file.take(MOST + 1)
            .read_to_end(&mut content)
            .map_err(|error| refused(&error))?;
        if content.len() as u64 > MOST {
            return Err(refused(&format!("it is larger than {MOST} bytes")));
        }
        contents.push(content);
    }
    let made_of = contents
        .iter()
        .map(|content| Sha256::digest(content).into())
        .collect();
    Ok((contents, made_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(contents: &[Vec<u8>]) -> Result<String, String> {
        let text = String::from_utf8_lossy(&contents[0]).into_owned();
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        Ok(text)
    }

    #[test]
    fn a_file_that_changes_is_in_force_and_one_of_no_use_leaves_what_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("secret");
        assert!(Watched::new("secret", vec![file.clone()], text).is_err());
        std::fs::write(&file, "old").expect("written");
        let watched = Watched::new("secret", vec![file.clone()], text).expect("a value");
        assert_eq!(watched.look(), Look::Same);
        std::fs::write(&file, "new").expect("written");
        assert_eq!(watched.look(), Look::Renewed);
        assert_eq!(*watched.current(), "new");
        for damage in [
            &(|| std::fs::write(&file, "").expect("written")) as &dyn Fn(),
            &|| std::fs::remove_file(&file).expect("removed"),
        ] {
            damage();
            assert!(matches!(watched.look(), Look::Faulty { again: false, .. }));
            assert!(matches!(watched.look(), Look::Faulty { again: true, .. }));
            assert_eq!(*watched.current(), "new");
        }
        std::fs::write(&file, "new").expect("written");
        assert_eq!(watched.look(), Look::Same);
        assert!(!format!("{watched:?}").contains("new"));
    }

    #[test]
    fn a_link_that_is_swapped_to_another_directory_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (data, link) = (
            directory.path().join("..data"),
            directory.path().join("secret"),
        );
        for (version, content) in [("1", "old"), ("2", "new")] {
            let of_version = directory.path().join(version);
            std::fs::create_dir(&of_version).expect("made");
            std::fs::write(of_version.join("secret"), content).expect("written");
        }
        std::os::unix::fs::symlink("1", &data).expect("linked");
        std::os::unix::fs::symlink("..data/secret", &link).expect("linked");
        let watched = Watched::new("secret", vec![link], text).expect("a value");
        let next = directory.path().join("..data_tmp");
        std::os::unix::fs::symlink("2", &next).expect("linked");
        std::fs::rename(next, data).expect("swapped");
        assert_eq!(watched.look(), Look::Renewed);
        assert_eq!(*watched.current(), "new");
    }
}
