//! The directory of one server, who owns it, and what becomes of it when nobody does.
//!
//! ```text
//! <data root>/lock          held while an instance appears or a sweep runs
//! <data root>/<name>/owner  locked by the owning process for its whole life
//!                    data/  socket/  server.log
//!                    detached.json   of a detached server only
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

use crate::account::Account;
use crate::cache::{Existing, FileLock, cache_directory, ensure_own_directory};
use crate::cluster::{make_private_directory, remove};
use crate::detached::Detached;
use crate::postmaster::{Postmaster, remove_shared_memory};
use crate::{Durability, Error, Options};

const MEMORY: &str = "/dev/shm";
/// A server with its WAL takes 40 to 300 MB.
const MEMORY_NEEDED: u64 = 256 * 1024 * 1024;
/// A sweep holds the lock while it removes what it found: milliseconds each, seconds at worst.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);
/// `sun_path` of Linux holds 108 bytes and of macOS 104, each with a final NUL.
const SOCKET_PATH_LIMIT: usize = 103;

/// An instance directory that this process owns.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) directory: PathBuf,
    _owner: FileLock,
}

impl Instance {
    /// Makes an empty instance, after sweeping what dead owners left in the same data root.
    pub(crate) fn create(options: &Options, account: &Account) -> Result<Self, Error> {
        let root = match &options.data_root {
            Some(root) => std::path::absolute(root).map_err(Error::io("resolve", root))?,
            None => default_root(options.durability),
        };
        ensure_own_directory(&root)?;
        let directory = root.join(format!("{:08x}", rand::random::<u32>()));
        let socket = directory.join("socket/.s.PGSQL.65535");
        if socket.as_os_str().len() > SOCKET_PATH_LIMIT {
            let detail = format!(
                "{} is too long for a unix socket ({SOCKET_PATH_LIMIT} bytes)",
                socket.display()
            );
            return Err(Error::Option {
                name: "data_root",
                detail,
            });
        }
        account.check_reach(&directory)?;
        let _lock = FileLock::take(&root.join("lock"), LOCK_DEADLINE)?;
        sweep_root(&root)?;
        ensure_own_directory(&directory)?;
        let owner = FileLock::take(&directory.join("owner"), LOCK_DEADLINE)?;
        make_private_directory(&directory.join("socket"), account)?;
        Ok(Self {
            directory,
            _owner: owner,
        })
    }

    /// Takes over an instance that nobody owns, or returns `None`.
    pub(crate) fn adopt(directory: &Path) -> Result<Option<Self>, Error> {
        match FileLock::try_take_existing(&directory.join("owner"))? {
            Existing::Taken(owner) => Ok(Some(Self {
                directory: directory.to_owned(),
                _owner: owner,
            })),
            Existing::Held | Existing::Missing => Ok(None),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }
}

/// Memory while there is room, for servers whose data need not outlive the machine.
fn default_root(durability: Durability) -> PathBuf {
    let free = statvfs(MEMORY).map_or(0, |found| {
        bytes(found.blocks_available(), found.fragment_size())
    });
    if durability == Durability::Fast && free > MEMORY_NEEDED {
        memory_root()
    } else {
        disk_root()
    }
}

/// Counts are 32 bits wide on some systems and 64 on others.
fn bytes(blocks: impl Into<u64>, size: impl Into<u64>) -> u64 {
    blocks.into().saturating_mul(size.into())
}

fn memory_root() -> PathBuf {
    Path::new(MEMORY).join(format!("kubernaut-e2e-{}", geteuid()))
}

fn disk_root() -> PathBuf {
    cache_directory().join("servers")
}

/// Data roots that servers without [`Options::data_root`] use.
pub(crate) fn default_roots() -> [PathBuf; 2] {
    [memory_root(), disk_root()]
}

/// Stops and removes the servers of this user whose owner is dead or whose detached life is over.
///
/// Returns the directories that are gone now. Looks at the default data roots and at `further` ones.
pub fn sweep(further: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut swept = Vec::new();
    for root in default_roots()
        .iter()
        .chain(further)
        .filter(|root| root.is_dir())
    {
        ensure_own_directory(root)?;
        let _lock = FileLock::take(&root.join("lock"), LOCK_DEADLINE)?;
        swept.extend(sweep_root(root)?);
    }
    Ok(swept)
}

/// The caller holds the lock of `root`, so no instance is between its birth and its owner's lock.
fn sweep_root(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut swept = Vec::new();
    for directory in directories(root)? {
        // No owner file: what a creation or a removal that was killed half-way left. The lock of the root tells it
        // from a creation at work; a removal at work is only helped.
        let owner = FileLock::try_take_existing(&directory.join("owner"))?;
        let spared = match &owner {
            Existing::Held => true,
            Existing::Missing => false,
            Existing::Taken(_) => {
                Detached::read(&directory).is_ok_and(|detached| !detached.is_expired())
            }
        };
        if spared {
            continue;
        }
        end(&directory)?;
        swept.push(directory);
    }
    Ok(swept)
}

/// Returns the instance directories in `root`.
pub(crate) fn directories(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(root).map_err(Error::io("read", root))?;
    let directories = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|found| found.is_dir()));
    // A root may be a directory of the caller's with other things in it.
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.len() == 8 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
    };
    Ok(directories.map(|entry| entry.path()).filter(ours).collect())
}

/// Ends the server in `directory`, if it runs, and removes everything of it.
pub(crate) fn end(directory: &Path) -> Result<(), Error> {
    let data = directory.join("data");
    match Postmaster::find(&data) {
        Some(mut postmaster) => postmaster.quit_and_wait()?,
        None => remove_shared_memory(&data),
    }
    remove(directory)
}
