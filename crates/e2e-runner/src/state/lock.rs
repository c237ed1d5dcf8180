//! The lock of a run's directory: held by the process that works on the run, let go by the system when that process ends, however it
//! ends and in whichever PID namespace.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// The lock's name in a run's directory.
const FILE: &str = "lock";
/// How often a lock is tried: one who only looks whether it is held has it for a moment.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// The right to work on a run, for as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Whether a lock could be had.
#[derive(Debug)]
pub enum Taken {
    /// It is this process's now.
    Ours(Lock),
    /// Another has it; its process id, as it wrote it.
    Busy(String),
}

impl Lock {
    /// Whether a process of a version with locks has ever worked on the run.
    pub fn exists(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// Takes the lock of a run's directory, unless another process has it.
    pub fn take(dir: &Path) -> std::io::Result<Taken> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(dir.join(FILE))?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => {
                    // Only for messages: a full disk must not keep anybody from cleaning up.
                    drop(file.set_len(0));
                    drop(file.rewind());
                    drop(write!(file, "{}", std::process::id()));
                    return Ok(Taken::Ours(Self { _file: file }));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(Taken::Busy(holder(&mut file)))
    }

    /// The process that has the lock, as it wrote its id; none if nobody has it, an error if there is no lock file.
    pub fn holder(dir: &Path) -> std::io::Result<Option<String>> {
        let mut file = File::open(dir.join(FILE))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(holder(&mut file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    drop(file.rewind());
    drop(file.read_to_string(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_had_by_one_and_names_it_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Lock::holder(dir.path()).is_err(), "no file yet");
        let Taken::Ours(lock) = Lock::take(dir.path()).unwrap() else {
            panic!("nobody has it")
        };
        let own = std::process::id().to_string();
        assert_eq!(Lock::holder(dir.path()).unwrap(), Some(own.clone()));
        assert!(matches!(Lock::take(dir.path()).unwrap(), Taken::Busy(pid) if pid == own));
        drop(lock);
        assert_eq!(Lock::holder(dir.path()).unwrap(), None);
        assert!(matches!(Lock::take(dir.path()).unwrap(), Taken::Ours(_)));
    }
}
