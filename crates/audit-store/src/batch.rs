//! A batch on its way: the body of the request, and where each event lies in it.

use std::ops::Range;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::journal::Position;

/// Bytes of one request's body; an event is smaller, so one always fits.
const MAX_BYTES: usize = 4 << 20;

/// One event of a batch.
#[derive(Debug)]
struct Item {
    range: Range<usize>,
    accepted_us: u64,
    /// The place behind it in the journal.
    after: Option<Position>,
}

/// Collects events into one JSON array.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    max_events: usize,
    body: Vec<u8>,
    items: Vec<Item>,
}

/// Consecutive events.
#[derive(Debug)]
pub(crate) struct Batch {
    body: Bytes,
    items: Vec<Item>,
}

impl BatchBuilder {
    pub(crate) fn new(max_events: usize) -> Self {
        Self {
            max_events,
            body: Vec::new(),
            items: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns whether an event of `length` bytes may join.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.is_empty()
            || (self.items.len() < self.max_events && self.body.len() + length < MAX_BYTES)
    }

    pub(crate) fn push(&mut self, accepted_us: u64, payload: &[u8], after: Option<Position>) {
        self.body
            .push(if self.items.is_empty() { b'[' } else { b',' });
        let start = self.body.len();
        self.body.extend_from_slice(payload);
        self.items.push(Item {
            range: start..self.body.len(),
            accepted_us,
            after,
        });
    }

    pub(crate) fn build(mut self) -> Batch {
        self.body.push(b']');
        Batch {
            body: self.body.into(),
            items: self.items,
        }
    }
}

impl Batch {
    /// Number of events.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns the request's body for a part of the events.
    pub(crate) fn body(&self, part: Range<usize>) -> Bytes {
        if part == (0..self.len()) {
            return self.body.clone();
        }
        let items = &self.items[part];
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            return Bytes::from_static(b"[]");
        };
        let events = &self.body[first.range.start..last.range.end];
        [b"[", events, b"]"].concat().into()
    }

    /// Returns the ids of a part of the events, in order.
    pub(crate) fn event_ids(&self, part: Range<usize>) -> Vec<Option<Uuid>> {
        part.map(|index| event_id(self.event(index))).collect()
    }

    /// Returns one event's JSON.
    pub(crate) fn event(&self, index: usize) -> &[u8] {
        &self.body[self.items[index].range.clone()]
    }

    /// Returns when an event was accepted.
    pub(crate) fn accepted_us(&self, index: usize) -> u64 {
        self.items[index].accepted_us
    }

    /// Returns the place in the journal behind an event.
    pub(crate) fn after(&self, index: usize) -> Option<Position> {
        self.items[index].after
    }
}

/// Returns the id that an event's JSON holds, if it holds one.
pub(crate) fn event_id(event: &[u8]) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Key {
        event_id: Option<Uuid>,
    }
    serde_json::from_slice::<Key>(event).ok()?.event_id
}

/// Returns the time that an event's JSON holds.
pub(crate) fn event_timestamp(event: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Time {
        event_timestamp: Timestamp,
    }
    Some(serde_json::from_slice::<Time>(event).ok()?.event_timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_batch_is_an_array_of_its_events() {
        let mut builder = BatchBuilder::new(3);
        for event in ["{\"a\":1}", "{}", "{\"b\":[2]}"] {
            assert!(builder.has_room(event.len()));
            builder.push(0, event.as_bytes(), None);
        }
        assert!(!builder.has_room(1));
        let batch = builder.build();
        assert_eq!(batch.body(0..3), "[{\"a\":1},{},{\"b\":[2]}]");
        assert_eq!(batch.body(1..3), "[{},{\"b\":[2]}]");
        assert_eq!(batch.body(2..3), "[{\"b\":[2]}]");
        assert_eq!(batch.event(0), b"{\"a\":1}");
    }

    #[test]
    fn a_batch_ends_before_its_body_grows_too_long() {
        let mut builder = BatchBuilder::new(1000);
        let event = vec![b' '; 1 << 20];
        let mut events = 0;
        while builder.has_room(event.len()) {
            builder.push(0, &event, None);
            events += 1;
        }
        assert_eq!(events, 3);
    }
}
