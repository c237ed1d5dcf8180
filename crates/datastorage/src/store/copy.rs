//! PostgreSQL's binary form of an event's values, and rows of them for COPY (manual, COPY, "Binary Format"), many to a message.

use std::error::Error;

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::tables::{EVENT_COLUMNS, Value};

/// Signature, flags, and the length of a header extension, which is empty.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Takes the place of the next row's number of columns.
const TRAILER: i16 = -1;
/// The version of jsonb's binary form, which goes before the text.
const JSONB_VERSION: u8 = 1;
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
    /// Begins a row, whose columns follow in the order of [`EVENT_COLUMNS`].
    pub(super) fn begin(&mut self) {
        let columns = i16::try_from(EVENT_COLUMNS.len()).unwrap_or(i16::MAX);
        self.0.put_i16(columns);
    }

    /// Adds the next column of the row.
    pub(super) fn push(&mut self, value: &Value<'_>) {
        let at = self.0.len();
        // The length of NULL, which no value follows.
        self.0.put_i32(-1);
        if let IsNull::No = write(value, &mut self.0) {
            // A request's body is shorter than i32 goes; were it not, PostgreSQL would refuse the row.
            let length = i32::try_from(self.0.len() - at - 4).unwrap_or(i32::MAX);
            self.0[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Begins a column of JSON, of which so many bytes follow in parts.
    pub(super) fn begin_json(&mut self, length: usize) {
        self.0
            .put_i32(i32::try_from(length + 1).unwrap_or(i32::MAX));
        self.0.put_u8(JSONB_VERSION);
    }

    /// Adds a part of a column.
    pub(super) fn push_part(&mut self, part: &[u8]) {
        self.0.put_slice(part);
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
}

/// Appends the binary form of a value, the same in a row of COPY and in a parameter.
fn write(value: &Value<'_>, bytes: &mut BytesMut) -> IsNull {
    match value {
        Value::Null => return IsNull::Yes,
        Value::Uuid(id) => bytes.put_slice(id.as_bytes()),
        Value::Text(text) => bytes.put_slice(text.as_bytes()),
        Value::Time(time) => bytes.put_i64(since_2000(*time)),
        // Timestamps are far from the ends of a date's range.
        Value::DateOf(time) => {
            bytes.put_i32(i32::try_from(since_2000(*time).div_euclid(DAY)).unwrap_or(i32::MAX));
        }
        Value::Json(json) => {
            bytes.put_u8(JSONB_VERSION);
            bytes.put_slice(json.get().as_bytes());
        }
        Value::Integer(number) => bytes.put_i32(*number),
    }
    IsNull::No
}

/// Microseconds.
fn since_2000(time: Timestamp) -> i64 {
    time.as_microsecond() - EPOCH
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        _: &Type,
        bytes: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(write(self, bytes))
    }

    /// The statements cast their parameters to the columns' types.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
