//! Bytes on disk.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a file takes in blocks counts, not what it says of its length.
const BLOCK: u64 = 512;

/// Bytes on disk of a directory with all below it; a file with two names there counts once, links are not followed, and what is not
/// there counts nothing.
pub fn taken(path: &Path) -> u64 {
    let (mut bytes, mut seen, mut paths) = (0, HashSet::new(), vec![path.to_owned()]);
    while let Some(path) = paths.pop() {
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        if found.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            paths.extend(entries.map(|entry| entry.path()));
        }
        if seen.insert((found.dev(), found.ino())) {
            bytes += found.blocks() * BLOCK;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_a_directory_count_once_whatever_their_names_and_what_is_not_there_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let empty = taken(dir.path());
        fs::create_dir(dir.path().join("run")).expect("a directory");
        let log = dir.path().join("run/log");
        fs::write(&log, vec![1; 1 << 20]).expect("a file");
        let once = taken(dir.path());
        assert!(once >= empty + (1 << 20), "{once}");
        fs::hard_link(&log, dir.path().join("other")).expect("a name");
        assert!(taken(dir.path()) < once + (1 << 20));
        assert_eq!(taken(&dir.path().join("none")), 0);
    }
}
