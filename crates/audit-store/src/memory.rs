//! The buffer of a memory-only store: a bounded queue with the interface of the journal.

use std::collections::VecDeque;

use crate::{StoreError, batch::BatchBuilder, frame::MAX_PAYLOAD};

/// Bytes of all events together, whatever their number.
const MAX_BYTES: usize = 256 << 20;

/// Events that wait, oldest first.
#[derive(Debug)]
pub(crate) struct Memory {
    capacity: usize,
    bytes: usize,
    events: VecDeque<(u64, Box<[u8]>)>,
    buffer: Vec<u8>,
}

impl Memory {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            bytes: 0,
            events: VecDeque::new(),
            buffer: Vec::new(),
        }
    }

    pub(crate) fn append(
        &mut self,
        accepted_us: u64,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.buffer.clear();
        write(&mut self.buffer)?;
        let length = self.buffer.len();
        if length > MAX_PAYLOAD {
            return Err(StoreError::TooLarge {
                bytes: length,
                limit: MAX_PAYLOAD,
            });
        }
        if self.events.len() >= self.capacity || self.bytes + length > MAX_BYTES {
            return Err(StoreError::BufferFull {
                capacity: self.capacity,
            });
        }
        self.bytes += length;
        self.events
            .push_back((accepted_us, self.buffer.as_slice().into()));
        Ok(())
    }

    /// Copies the oldest events into `batch`; they stay until [`Memory::settle`].
    pub(crate) fn read(&self, batch: &mut BatchBuilder) {
        for (accepted_us, payload) in &self.events {
            if !batch.has_room(payload.len()) {
                break;
            }
            batch.push(*accepted_us, payload, None);
        }
    }

    /// Forgets the oldest `events`.
    pub(crate) fn settle(&mut self, events: usize) {
        for (_, payload) in self.events.drain(..events.min(self.events.len())) {
            self.bytes -= payload.len();
        }
    }
}
