//! The directory of one server, who owns it, and what becomes of it when nobody does.
//!
//! ```text
//! <data root>/lock          held while an instance appears or a sweep runs
//! <data root>/<name>/owner  locked by the owning process for its whole life
//!                    data/  socket/  server.log
//!                    detached.json   of a detached server only
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account::Account;
use crate::cache::{Existing, FileLock, ensure_own_directory};
use crate::cluster::{make_private_directory, remove};
use crate::detached::Detached;
use crate::postmaster::{Postmaster, remove_shared_memory};
use crate::roots::{default_root, default_roots, directories};
use crate::{Error, Options};

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
    /// Creates an empty instance, after sweeping what dead owners left in the same data root.
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
        // No owner file: what a creation or a removal that was interrupted left. The lock of the root distinguishes it
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

/// Ends the server in `directory`, if it runs, and removes everything of it.
pub(crate) fn end(directory: &Path) -> Result<(), Error> {
    let data = directory.join("data");
    match Postmaster::find(&data) {
        Some(mut postmaster) => postmaster.quit_and_wait()?,
        None => remove_shared_memory(&data),
    }
    remove(directory)
}
