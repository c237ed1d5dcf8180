//! The acknowledgement cursor: everything before it is stored or parked.
//!
//! It is one small write in place, without fsync: after a crash of the machine it may be old or torn, and the worst that follows is that events
//! are sent again, which their ids make harmless (D29).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use crate::journal::segment::Position;

const FILE: &str = "cursor";
const LENGTH: usize = 20;

/// The cursor's file.
#[derive(Debug)]
pub(crate) struct Cursor {
    file: File,
}

impl Cursor {
    /// Opens or makes the cursor and returns its place, if there is one that can be trusted.
    ///
    /// The file gets its full length here, so that moving it later needs no space on a full disk.
    pub(crate) fn open(directory: &Path) -> io::Result<(Self, Option<Position>)> {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(FILE))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let position = decode(&bytes);
        let cursor = Self { file };
        cursor.store(position.unwrap_or_default())?;
        Ok((cursor, position))
    }

    /// Reads the place without touching the file.
    pub(crate) fn read(directory: &Path) -> Option<Position> {
        let bytes = fs::read(directory.join(FILE)).unwrap_or_default();
        decode(&bytes)
    }

    /// Moves the cursor.
    pub(crate) fn store(&self, position: Position) -> io::Result<()> {
        self.file.write_all_at(&encode(position), 0)
    }
}

fn encode(position: Position) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&position.segment.to_le_bytes());
    bytes[8..16].copy_from_slice(&position.offset.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Position> {
    let word = |range: Range<usize>| bytes.get(range)?.try_into().ok().map(u64::from_le_bytes);
    let position = Position {
        segment: word(0..8)?,
        offset: word(8..16)?,
    };
    (encode(position) == bytes).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_a_torn_one_starts_over() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (cursor, start) = Cursor::open(directory.path()).expect("new cursor");
        assert_eq!(start, None);
        let place = Position {
            segment: 3,
            offset: 4096,
        };
        cursor.store(place).expect("store");
        assert_eq!(
            Cursor::open(directory.path()).expect("reopen").1,
            Some(place)
        );

        cursor.file.write_all_at(&[0xff], 9).expect("tear it");
        assert_eq!(Cursor::open(directory.path()).expect("reopen").1, None);
    }
}
