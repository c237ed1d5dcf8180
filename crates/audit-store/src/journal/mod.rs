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
        reader::{Extent, Reader, Step},
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
    /// Sum of the ends.
    bytes: u64,
    /// Number of the next segment.
    next: u64,
    /// The last segment, once this start has begun one.
    file: Option<Arc<File>>,
    /// Segments kept as evidence when they are settled, because not all of them could be read.
    damaged: BTreeSet<u64>,
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
}

/// An opened journal and its reading side.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) journal: Journal,
    pub(crate) reader: Reader,
    pub(crate) cursor: Cursor,
    pub(crate) recovered: Recovered,
    /// When the oldest unsettled event was accepted.
    pub(crate) oldest_us: Option<u64>,
}

impl Journal {
    /// Opens the journal in `config.directory`, making it if needed, and counts what is left to send.
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
        let (cursor, position) = Cursor::open(directory).map_err(failed)?;
        let mut segments = segment::list(directory)?;
        let next = segments
            .last_key_value()
            .map_or(0, |(&last, _)| last)
            .max(position.segment)
            + 1;
        segments.retain(|&sequence, &mut length| {
            let live = Position {
                segment: sequence,
                offset: length.max(START),
            } > position;
            if !live {
                segment::remove_quietly(&segment::path(directory, sequence));
            }
            live
        });
        let mut journal = Self {
            directory: directory.clone(),
            segment_bytes: config.segment_bytes,
            max_bytes: config.max_bytes,
            bytes: segments.values().sum(),
            segments,
            next,
            file: None,
            damaged: BTreeSet::new(),
            buffer: Vec::new(),
            unsynced: Vec::new(),
            _lock: lock,
        };
        let (recovered, oldest_us) = journal.scan(position).map_err(failed)?;
        Ok(Opened {
            reader: journal.reader(position),
            journal,
            cursor,
            recovered,
            oldest_us,
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

    /// Begins a segment. A number is never used twice, so one attempt that failed half-way is not in the way of the next.
    fn begin_segment(&mut self) -> io::Result<Arc<File>> {
        let sequence = self.next;
        self.next += 1;
        let directory = File::open(&self.directory)?;
        let file = Arc::new(segment::create(&self.directory, sequence)?);
        self.unsynced.push(Arc::new(directory));
        self.file = Some(Arc::clone(&file));
        self.segments.insert(sequence, START);
        self.bytes += START;
        Ok(file)
    }

    /// Returns how far `segment` goes now.
    pub(crate) fn extent(&self, segment: u64) -> Extent {
        Extent {
            end: self.segments.get(&segment).copied().unwrap_or_default(),
            next: self
                .segments
                .range(segment + 1..)
                .next()
                .map(|(&next, _)| next),
        }
    }

    /// Forgets the segments wholly before `position` and returns their files, which the caller removes with [`remove`] once the cursor is there.
    pub(crate) fn settle(&mut self, position: Position) -> Vec<Settled> {
        let live = self.segments.split_off(&position.segment);
        let settled = std::mem::replace(&mut self.segments, live);
        self.bytes -= settled.values().sum::<u64>();
        let keep = |sequence| self.damaged.contains(&sequence);
        settled
            .into_keys()
            .map(|sequence| Settled {
                path: segment::path(&self.directory, sequence),
                keep: keep(sequence),
            })
            .collect()
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

    /// Notes that a part of `segment` cannot be read.
    pub(crate) fn note_damage(&mut self, segment: u64, offset: u64, bytes: u64) {
        let path = segment::path(&self.directory, segment);
        tracing::error!(path = %path.display(), offset, bytes, "journal bytes without a valid checksum; a torn tail was never accepted, anything else is damage by the disk");
        self.damaged.insert(segment);
    }

    /// Returns number and end of the last segment.
    fn last(&self) -> (u64, u64) {
        self.segments
            .last_key_value()
            .map_or((0, START), |(&sequence, &end)| (sequence, end))
    }

    fn reader(&self, position: Position) -> Reader {
        let first = self
            .segments
            .first_key_value()
            .map_or(position.segment, |(&first, _)| first);
        let position = if first == position.segment {
            position
        } else {
            Position {
                segment: first,
                offset: START,
            }
        };
        Reader::new(&self.directory, position)
    }

    fn scan(&mut self, position: Position) -> io::Result<(Recovered, Option<u64>)> {
        let mut reader = self.reader(position);
        let (mut recovered, mut oldest_us) = (Recovered::default(), None);
        loop {
            match reader.step(|segment| self.extent(segment))? {
                Step::Frame { accepted_us, .. } => {
                    recovered.events += 1;
                    oldest_us.get_or_insert(accepted_us);
                }
                Step::Damage {
                    segment,
                    offset,
                    bytes,
                } => {
                    recovered.damaged_bytes += bytes;
                    self.note_damage(segment, offset, bytes);
                }
                Step::End => return Ok((recovered, oldest_us)),
            }
        }
    }
}

/// Returns the bytes of events in the journal at `directory` that are neither stored nor parked, without opening or locking it: zero means that
/// there is nothing to open it for.
///
/// # Errors
/// The directory cannot be read, or holds another format.
pub fn unsettled_bytes(directory: &Path) -> Result<u64, OpenError> {
    let position = Cursor::read(directory);
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

/// A segment that holds nothing to send.
#[derive(Debug)]
pub(crate) struct Settled {
    path: PathBuf,
    keep: bool,
}

/// Removes settled segments, or puts them aside where a part of them could not be read.
pub(crate) fn remove(settled: &[Settled]) {
    for Settled { path, keep } in settled {
        if *keep {
            put_aside(path);
        } else {
            segment::remove_quietly(path);
        }
    }
}

fn put_aside(path: &Path) {
    let aside = path.with_extension("damaged");
    if let Err(error) = fs::rename(path, &aside) {
        tracing::warn!(path = %path.display(), %error, "cannot put a damaged journal segment aside");
    }
}

#[cfg(test)]
mod tests;
