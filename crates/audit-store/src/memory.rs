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

    /// Appends events, all or none.
    pub(crate) fn append<W>(
        &mut self,
        events: impl Iterator<Item = (u64, W)>,
    ) -> Result<(), StoreError>
    where
        W: FnOnce(&mut Vec<u8>) -> Result<(), StoreError>,
    {
        let (held, mut bytes) = (self.events.len(), self.bytes);
        for (accepted_us, write) in events {
            let added = self.payload(write).and_then(|payload| {
                bytes += payload.len();
                if self.events.len() >= self.capacity || bytes > MAX_BYTES {
                    return Err(StoreError::BufferFull {
                        capacity: self.capacity,
                    });
                }
                self.events.push_back((accepted_us, payload));
                Ok(())
            });
            added.inspect_err(|_| self.events.truncate(held))?;
        }
        self.bytes = bytes;
        Ok(())
    }

    fn payload(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<Box<[u8]>, StoreError> {
        self.buffer.clear();
        write(&mut self.buffer)?;
        let bytes = self.buffer.len();
        if bytes > MAX_PAYLOAD {
            return Err(StoreError::TooLarge {
                bytes,
                limit: MAX_PAYLOAD,
            });
        }
        Ok(self.buffer.as_slice().into())
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
