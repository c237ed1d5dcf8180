//! The journal: accepted events in files that outlive the process (D32), and the queue that the sender reads.
//!
//! Events are appended to numbered segments by one `write` each; what is sent is read back from the page cache, so memory does not grow with the
//! backlog. A cursor marks what is settled, that is stored or parked; a segment wholly before it is removed. The first event of every start begins
//! a segment of its own, so that a tail which a crash tore is never written behind, and so that a start on a full disk can still send.

pub(crate) mod cursor;
pub(crate) mod reader;
mod segment;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use segment::Position;
use segment::START;

use crate::{
    config::JournalConfig,
    error::{OpenError, StoreError},
    frame::{self, MAX_PAYLOAD},
    journal::{
        cursor::Cursor,
        reader::{Damage, Extent, Reader, Step},
    },
};

/// The writing side of a journal; the caller serialises access.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    segment_bytes: u64,
    max_bytes: u64,
    /// Ends of all live segments, by number.
    segments: BTreeMap<u64, u64>,
    /// Sum of the ends, and of what is kept as evidence.
    bytes: u64,
    /// Number of the next segment.
    next: u64,
    /// The last segment, once this start has begun one.
    file: Option<Arc<File>>,
    /// Segments kept as evidence when they are settled, because not all of them could be read.
    damaged: BTreeSet<u64>,
    /// Lengths of those that are kept, by number; part of `bytes`.
    aside: BTreeMap<u64, u64>,
    buffer: Vec<u8>,
    unsynced: Vec<Arc<File>>,
    _lock: File,
}

/// What a start found in the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Events accepted earlier and not yet stored; they are sent first.
    pub events: u64,
    /// Bytes that no checksum vouches for: torn tails, which were never accepted, or damage by the disk.
    pub damaged_bytes: u64,
    /// Files of events that somebody removed.
    pub missing_files: u64,
    /// Accepted events that are gone with these, at least: one for each damaged place that is no torn tail, one for each missing file.
    pub lost: u64,
}

/// An opened journal and its reading side.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) journal: Journal,
    pub(crate) reader: Reader,
    pub(crate) cursor: Cursor,
    /// What is to be counted of an earlier process.
    pub(crate) left: Left,
}

/// What an earlier process left: the journal as it was when it was opened.
#[derive(Debug)]
pub(crate) struct Left {
    reader: Reader,
    segments: BTreeMap<u64, u64>,
    pub(crate) missing_files: u64,
}

impl Left {
    /// Takes one step through it.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        self.reader.step(|segment| extent(&self.segments, segment))
    }
}

fn extent(segments: &BTreeMap<u64, u64>, segment: u64) -> Extent {
    Extent {
        end: segments.get(&segment).copied().unwrap_or_default(),
        next: segments.range(segment + 1..).next().map(|(&next, _)| next),
    }
}

impl Journal {
    /// Opens the journal in `config.directory`, making it if needed; nothing of its events is read yet.
    pub(crate) fn open(config: &JournalConfig) -> Result<Opened, OpenError> {
        let directory = &config.directory;
        let failed = |cause| OpenError::Directory {
            directory: directory.clone(),
            cause,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed)?;
        let lock = segment::lock(directory)?;
        let (cursor, known) = Cursor::open(directory).map_err(failed)?;
        let mut segments = segment::list(directory)?;
        let mut position = known.unwrap_or_default();
        let settled = segments.clone();
        segments.retain(|&sequence, &mut length| {
            let end = Position {
                segment: sequence,
                offset: length.max(START),
            };
            end > position
        });
        let missing_files = known.map_or(0, |position| missing(&segments, &settled, position));
        let next = settled
            .last_key_value()
            .map_or(0, |(&last, _)| last + 1)
            .max(position.segment + u64::from(position.offset > START))
            .max(1);
        if !segments.contains_key(&position.segment) {
            // What it points into is gone, or goes now: from here on, a segment that is missing is one too few.
            let first = segments.first_key_value();
            position = Position {
                segment: first.map_or(next, |(&first, _)| first),
                offset: START,
            };
            cursor.store(position).map_err(failed)?;
        }
        for sequence in settled.keys().filter(|key| !segments.contains_key(key)) {
            segment::remove_quietly(&segment::path(directory, *sequence));
        }
        let aside = segment::list_damaged(directory).map_err(failed)?;
        let journal = Self {
            directory: directory.clone(),
            segment_bytes: config.segment_bytes,
            max_bytes: config.max_bytes,
            bytes: segments.values().chain(aside.values()).sum(),
            segments,
            next,
            file: None,
            damaged: BTreeSet::new(),
            aside,
            buffer: Vec::new(),
            unsynced: Vec::new(),
            _lock: lock,
        };
        Ok(Opened {
            reader: Reader::new(directory, position),
            left: Left {
                reader: Reader::new(directory, position),
                segments: journal.segments.clone(),
                missing_files,
            },
            journal,
            cursor,
        })
    }

    /// Appends events, each with the time of its acceptance and what serialises it, and hands them to the system by one write.
    ///
    /// # Errors
    /// None is accepted then: a write cut short by a full disk is taken back.
    pub(crate) fn append<W>(
        &mut self,
        events: impl Iterator<Item = (u64, W)>,
    ) -> Result<(), StoreError>
    where
        W: FnOnce(&mut Vec<u8>) -> Result<(), StoreError>,
    {
        self.buffer.clear();
        self.buffer.shrink_to(frame::MAX_FRAME);
        for (accepted_us, write) in events {
            let bytes = frame::encode(&mut self.buffer, accepted_us, write)?;
            if bytes > MAX_PAYLOAD {
                return Err(StoreError::TooLarge {
                    bytes,
                    limit: MAX_PAYLOAD,
                });
            }
        }
        let length = self.buffer.len() as u64;
        self.make_room(length);
        if self.bytes + length > self.max_bytes {
            return Err(StoreError::JournalFull {
                directory: self.directory.clone(),
                limit: self.max_bytes,
            });
        }
        self.write(length).map_err(|cause| StoreError::Journal {
            directory: self.directory.clone(),
            cause,
        })
    }

    fn write(&mut self, length: u64) -> io::Result<()> {
        let (mut sequence, mut end) = self.last();
        let file = match &self.file {
            Some(file) if end == START || end + length <= self.segment_bytes => Arc::clone(file),
            _ => {
                let file = self.begin_segment()?;
                (sequence, end) = self.last();
                file
            }
        };
        if let Err(error) = file.write_all_at(&self.buffer, end) {
            // Should this fail as well, the next event overwrites the torn one and readers skip what is left of it.
            file.set_len(end).unwrap_or_default();
            return Err(error);
        }
        self.segments.insert(sequence, end + length);
        self.bytes += length;
        if !self
            .unsynced
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, &file))
        {
            self.unsynced.push(file);
        }
        Ok(())
    }

    /// Removes evidence, oldest first, that is in the way of `length` bytes of events.
    fn make_room(&mut self, length: u64) {
        while self.bytes + length > self.max_bytes
            && let Some((sequence, bytes)) = self.aside.pop_first()
        {
            let path = segment::damaged_path(&self.directory, sequence);
            tracing::warn!(path = %path.display(), bytes, "removes the oldest damaged journal segment: the audit journal needs its space");
            segment::remove_quietly(&path);
            self.bytes -= bytes;
        }
    }

    /// Begins a segment. A number is never used twice, so one attempt that failed half-way is not in the way of the next; and none is left out,
    /// so that a start sees which is missing.
    fn begin_segment(&mut self) -> io::Result<Arc<File>> {
        let sequence = self.next;
        let directory = File::open(&self.directory)?;
        let created = segment::create(&self.directory, sequence);
        if created
            .as_ref()
            .err()
            .is_none_or(|error| error.kind() == io::ErrorKind::AlreadyExists)
        {
            self.next += 1;
        }
        let file = Arc::new(created?);
        self.unsynced.push(Arc::new(directory));
        self.file = Some(Arc::clone(&file));
        self.segments.insert(sequence, START);
        self.bytes += START;
        Ok(file)
    }

    /// Returns how far `segment` goes now.
    pub(crate) fn extent(&self, segment: u64) -> Extent {
        extent(&self.segments, segment)
    }

    /// Forgets the segments wholly before `position` and returns their files, which the caller removes with [`remove`]. The cursor is there
    /// already. Those of which a part could not be read are put aside.
    pub(crate) fn settle(&mut self, position: Position) -> Vec<PathBuf> {
        let live = self.segments.split_off(&position.segment);
        let settled = std::mem::replace(&mut self.segments, live);
        let mut paths = Vec::new();
        for (sequence, length) in settled {
            if self.damaged.remove(&sequence) && self.put_aside(sequence) {
                self.aside.insert(sequence, length);
            } else {
                self.bytes -= length;
                paths.push(segment::path(&self.directory, sequence));
            }
        }
        paths
    }

    /// Keeps a segment as evidence, if there is one.
    fn put_aside(&self, sequence: u64) -> bool {
        let path = segment::path(&self.directory, sequence);
        let aside = fs::rename(&path, segment::damaged_path(&self.directory, sequence));
        if let Err(error) = &aside
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot put a damaged journal segment aside");
        }
        aside.is_ok()
    }

    /// Takes the files written since the last call, to be synced.
    pub(crate) fn take_unsynced(&mut self) -> Vec<Arc<File>> {
        std::mem::take(&mut self.unsynced)
    }

    /// Returns whether something was written that was not synced.
    pub(crate) fn is_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Lets the next event begin a new segment.
    pub(crate) fn retire_segment(&mut self) {
        self.file = None;
    }

    /// Returns the bytes that all live segments take on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Notes that a part of a segment cannot be read.
    pub(crate) fn note_damage(&mut self, damage: Damage) {
        let Damage {
            segment,
            offset,
            bytes,
            torn,
        } = damage;
        let path = segment::path(&self.directory, segment);
        let path = path.display();
        if torn {
            tracing::warn!(%path, offset, bytes, "the audit journal ends in the start of an event, which was never accepted");
        } else {
            tracing::error!(%path, offset, bytes, "AUDIT DATA LOSS: a part of the audit journal is missing or has no valid checksum; what is left of its file is kept as .damaged");
            self.damaged.insert(segment);
        }
    }

    /// Returns number and end of the last segment.
    fn last(&self) -> (u64, u64) {
        self.segments
            .last_key_value()
            .map_or((0, START), |(&sequence, &end)| (sequence, end))
    }
}

/// Counts the files of events between `position` and the last that are not there.
fn missing(live: &BTreeMap<u64, u64>, all: &BTreeMap<u64, u64>, position: Position) -> u64 {
    let first = position.segment.max(1);
    match live.last_key_value() {
        Some((&last, _)) => {
            let expected = last.saturating_sub(first) + 1;
            expected.saturating_sub(all.range(first..).count() as u64)
        }
        None => u64::from(position.offset > START && !all.contains_key(&position.segment)),
    }
}

/// Returns the bytes of events in the journal at `directory` that are neither stored nor parked, without opening or locking it: zero means that
/// there is nothing to open it for.
///
/// # Errors
/// The directory cannot be read, or holds another format.
pub fn unsettled_bytes(directory: &Path) -> Result<u64, OpenError> {
    let position = Cursor::read(directory).unwrap_or_default();
    let segments = segment::list(directory)?;
    let unsettled = segments
        .range(position.segment..)
        .map(|(&sequence, &length)| {
            let settled = if sequence == position.segment {
                position.offset
            } else {
                START
            };
            length.saturating_sub(settled.max(START))
        });
    Ok(unsettled.sum())
}

/// Removes settled segments.
pub(crate) fn remove(settled: &[PathBuf]) {
    for path in settled {
        segment::remove_quietly(path);
    }
}

#[cfg(test)]
mod tests;
