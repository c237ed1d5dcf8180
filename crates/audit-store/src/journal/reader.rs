//! Reads a journal's frames in order, over segment borders and damaged places.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{
    frame::{self, Decoded, HEADER, MAX_FRAME},
    journal::segment::{self, Position, START},
};

/// Bytes asked of the system at once.
const CHUNK: usize = 512 << 10;

/// Bytes in which the frame behind a damaged one is whole.
const WINDOW: usize = 2 * MAX_FRAME;

/// How far a segment goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Offset behind its last frame.
    pub(crate) end: u64,
    /// The segment after it.
    pub(crate) next: Option<u64>,
}

/// What comes next in the journal.
#[derive(Debug)]
pub(crate) enum Step {
    /// An event, its payload a range for [`Reader::payload`] that holds until the next call.
    Frame {
        accepted_us: u64,
        payload: Range<usize>,
    },
    /// Bytes of `segment` that are not there, or that no checksum vouches for.
    Damage(Damage),
    /// Nothing yet.
    End,
}

/// A part of a segment that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The start of an event at the segment's end, as a killed process leaves it: it was never accepted.
    pub(crate) torn: bool,
}

/// A place in the journal and the bytes around it: memory is bounded by one chunk and one frame.
#[derive(Debug)]
pub(crate) struct Reader {
    directory: PathBuf,
    position: Position,
    file: Option<File>,
    buffer: Vec<u8>,
    consumed: usize,
}

impl Reader {
    /// Starts at `position`.
    pub(crate) fn new(directory: &Path, position: Position) -> Self {
        let position = Position {
            offset: position.offset.max(START),
            ..position
        };
        Self {
            directory: directory.to_owned(),
            position,
            file: None,
            buffer: Vec::new(),
            consumed: 0,
        }
    }

    /// Returns the place of the next frame.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Returns the bytes of a frame that [`Reader::step`] just gave.
    pub(crate) fn payload(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Takes one step; `extent` says how far a segment goes at the time of the call.
    pub(crate) fn step(&mut self, extent: impl Fn(u64) -> Extent) -> io::Result<Step> {
        let step = self.peek(extent)?;
        if let Step::Frame { payload, .. } = &step {
            self.advance(payload);
        }
        Ok(step)
    }

    /// Takes the frame with `payload` that [`Reader::peek`] just gave.
    pub(crate) fn advance(&mut self, payload: &Range<usize>) {
        self.skip(payload.end - self.consumed);
    }

    /// Looks at the next frame without taking it; damage is passed at once.
    pub(crate) fn peek(&mut self, extent: impl Fn(u64) -> Extent) -> io::Result<Step> {
        loop {
            if let Decoded::Frame {
                accepted_us,
                payload,
            } = frame::decode(&self.buffer[self.consumed..])
            {
                let start = self.consumed + HEADER;
                return Ok(Step::Frame {
                    accepted_us,
                    payload: start..start + payload.len(),
                });
            }
            let Extent { end, next } = extent(self.position.segment);
            let held = self.buffer.len() - self.consumed;
            let unread = end.saturating_sub(self.position.offset + held as u64);
            if unread > 0 && held < WINDOW {
                if !self.fill(unread)? {
                    return Ok(self.skip_rest(unread));
                }
            } else if held > 0 {
                return Ok(self.skip_damage(unread));
            } else if let Some(next) = next {
                self.enter(next);
            } else {
                return Ok(Step::End);
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.consumed += bytes;
        self.position.offset += bytes as u64;
    }

    fn skip_damage(&mut self, unread: u64) -> Step {
        let Position { segment, offset } = self.position;
        let held = &self.buffer[self.consumed..];
        let next = frame::resync(held);
        // A frame may begin in what is held and end in what is not.
        let rest = if unread > 0 {
            held.len().saturating_sub(MAX_FRAME).max(1)
        } else {
            held.len()
        };
        let torn = next.is_none() && unread == 0 && frame::decode(held) == Decoded::Incomplete;
        let bytes = next.unwrap_or(rest);
        self.skip(bytes);
        Step::Damage(Damage {
            segment,
            offset,
            bytes: bytes as u64,
            torn,
        })
    }

    /// Passes what should be there and is not: the file was removed or cut short.
    fn skip_rest(&mut self, unread: u64) -> Step {
        let Position { segment, offset } = self.position;
        self.skip(self.buffer.len() - self.consumed);
        self.position.offset += unread;
        Step::Damage(Damage {
            segment,
            offset,
            bytes: self.position.offset - offset,
            torn: false,
        })
    }

    fn enter(&mut self, segment: u64) {
        let directory = std::mem::take(&mut self.directory);
        *self = Self::new(
            &directory,
            Position {
                segment,
                offset: START,
            },
        );
    }

    /// Reads on; false when the file has nothing more.
    fn fill(&mut self, unread: u64) -> io::Result<bool> {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let held = self.buffer.len();
        let wanted = usize::try_from(unread).unwrap_or(CHUNK).min(CHUNK);
        let file = match &mut self.file {
            Some(file) => file,
            none => match segment::open(&self.directory, self.position.segment) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                file => none.insert(file?),
            },
        };
        self.buffer.resize(held + wanted, 0);
        let read = file.read_at(&mut self.buffer[held..], self.position.offset + held as u64);
        self.buffer
            .truncate(held + read.as_ref().copied().unwrap_or_default());
        Ok(read? > 0)
    }
}
