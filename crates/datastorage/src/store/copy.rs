//! Rows of events in COPY's binary format (PostgreSQL manual, COPY, "Binary Format"), many to a message.

use bytes::{BufMut, Bytes, BytesMut};
use datastorage_api::NewEvent;
use uuid::Uuid;

/// Signature, flags, and the length of a header extension, which is empty.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Takes the place of the next row's number of columns.
const TRAILER: i16 = -1;
const COLUMNS: i16 = 19;
/// Microseconds from 1970 to 2000, where PostgreSQL's times begin.
const EPOCH: i64 = 946_684_800_000_000;
const DAY: i64 = 86_400_000_000;

/// The bytes of rows that were not sent yet.
pub(super) struct Rows(BytesMut);

impl Default for Rows {
    /// No row yet.
    fn default() -> Self {
        let mut bytes = BytesMut::with_capacity(16 << 10);
        bytes.put_slice(HEADER);
        Self(bytes)
    }
}

impl Rows {
    /// Adds a row, its columns in the order of the statement.
    pub(super) fn push(&mut self, event: &NewEvent) {
        let time = event.event_timestamp.as_microsecond() - EPOCH;
        // The date in UTC (D25); timestamps are far from the ends of its range.
        let date = i32::try_from(time.div_euclid(DAY)).unwrap_or(i32::MAX);
        self.0.put_i16(COLUMNS);
        self.uuid(event.event_id);
        self.text(&event.event_version);
        self.value(&time.to_be_bytes());
        self.value(&date.to_be_bytes());
        self.text(&event.event_type);
        self.text(event.event_category.as_str());
        self.text(&event.event_action);
        self.text(event.event_outcome.as_str());
        self.text(&event.actor_type);
        self.text(&event.actor_id);
        self.text(&event.resource_type);
        self.text(&event.resource_id);
        self.text(&event.correlation_id);
        self.optional(event.parent_event_id, Self::uuid);
        self.optional(event.namespace.as_deref(), Self::text);
        self.optional(event.cluster_name.as_deref(), Self::text);
        self.jsonb(event.event_data.as_str());
        self.text(&event.severity);
        self.optional(event.duration_ms, |rows, number| {
            rows.value(&number.to_be_bytes());
        });
    }

    /// Bytes that wait to be sent.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What waits to be sent; further rows may follow.
    pub(super) fn take(&mut self) -> Bytes {
        self.0.split().freeze()
    }

    /// The rest, with the mark that no row follows.
    pub(super) fn finish(mut self) -> Bytes {
        self.0.put_i16(TRAILER);
        self.0.freeze()
    }

    fn value(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.put_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.value(text.as_bytes());
    }

    fn uuid(&mut self, id: Uuid) {
        self.value(id.as_bytes());
    }

    /// The format's version, 1, goes before the text.
    fn jsonb(&mut self, json: &str) {
        self.length(json.len() + 1);
        self.0.put_u8(1);
        self.0.put_slice(json.as_bytes());
    }

    /// NULL is a length of -1.
    fn optional<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => put(self, value),
            None => self.0.put_i32(-1),
        }
    }

    /// A request's body is shorter than i32 goes; were it not, PostgreSQL would refuse the row.
    fn length(&mut self, bytes: usize) {
        self.0.put_i32(i32::try_from(bytes).unwrap_or(i32::MAX));
    }
}
