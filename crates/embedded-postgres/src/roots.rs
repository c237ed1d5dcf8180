//! Data roots: the directories that hold servers, in memory or on disk.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

use crate::cache::cache_directory;
use crate::{Durability, Error};

const MEMORY: &str = "/dev/shm";

/// A server with its WAL takes 40 to 300 MB.
const MEMORY_NEEDED: u64 = 256 * 1024 * 1024;

/// Memory while there is room, for servers whose data need not outlive the machine.
pub(crate) fn default_root(durability: Durability) -> PathBuf {
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
