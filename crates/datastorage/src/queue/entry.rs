//! How an entry is written in the queue's file: a format version, a checksum, and JSON.

use datastorage_api::time::utc_date;
use datastorage_api::{NewEvent, NotificationAudit};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// The format that is written. Any change of what [`Entry`] reads is a new one.
const FORMAT: u8 = 1;
/// What the JSON begins with that was written before there was a version.
const BARE: u8 = b'{';
/// Bytes of the CRC-32 that follows the version.
const CHECKSUM: usize = 4;

/// A write that waits for the database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Write {
    /// A row of `audit_events`.
    AuditEvent(NewEvent),
    /// A row of `notification_audit`.
    Notification(NotificationAudit),
}

impl Write {
    /// The table it goes to.
    pub(crate) fn table(&self) -> &'static str {
        match self {
            Self::AuditEvent(_) => "audit_events",
            Self::Notification(_) => "notification_audit",
        }
    }

    pub(super) fn payload(&self) -> serde_json::Result<Box<RawValue>> {
        match self {
            Self::AuditEvent(event) => to_raw_value(event),
            Self::Notification(record) => to_raw_value(record),
        }
    }

    /// Key and time by which a repeat is known while it waits (D29). A notification's repeat is known when it is stored.
    pub(super) fn key(&self) -> Option<(Key, i64)> {
        match self {
            Self::AuditEvent(event) => Some((key(event), event.event_timestamp.as_microsecond())),
            Self::Notification(_) => None,
        }
    }
}

impl From<NewEvent> for Write {
    fn from(event: NewEvent) -> Self {
        Self::AuditEvent(event)
    }
}

impl From<NotificationAudit> for Write {
    fn from(record: NotificationAudit) -> Self {
        Self::Notification(record)
    }
}

/// Event id and UTC date, as days: the key of D29.
pub(super) type Key = (u128, i32);

/// The key of an event.
pub(super) fn key(event: &NewEvent) -> Key {
    let date = utc_date(event.event_timestamp);
    let days = date
        .duration_since(jiff::civil::date(1970, 1, 1))
        .as_hours()
        / 24;
    (
        event.event_id.as_u128(),
        i32::try_from(days).unwrap_or(i32::MAX),
    )
}

/// A write and when it was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When it was accepted with a 202.
    pub(crate) queued_at: Timestamp,
    /// What is to be written.
    pub(crate) write: Write,
}

/// Why the bytes of an entry are none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the entry is in format {0}, which this version does not know")]
    Format(u8),
    #[error("the entry is damaged: its checksum does not fit")]
    Checksum,
    #[error("the entry is not readable: {0}")]
    Json(#[from] serde_json::Error),
}

/// The bytes of an entry.
pub(super) fn encode(queued_at: Timestamp, write: &Write) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Borrowed<'a> {
        queued_at: Timestamp,
        write: &'a Write,
    }
    let json = serde_json::to_vec(&Borrowed { queued_at, write })?;
    let mut bytes = Vec::with_capacity(1 + CHECKSUM + json.len());
    bytes.push(FORMAT);
    bytes.extend(crc32fast::hash(&json).to_le_bytes());
    bytes.extend(json);
    Ok(bytes)
}

/// Reads what [`encode`] wrote, or the version before it.
pub(super) fn decode(bytes: &[u8]) -> Result<Entry, Unreadable> {
    let json = match bytes.split_first() {
        Some((&BARE, _)) => bytes,
        Some((&FORMAT, rest)) => match rest.split_first_chunk::<CHECKSUM>() {
            Some((sum, json)) if crc32fast::hash(json).to_le_bytes() == *sum => json,
            _ => return Err(Unreadable::Checksum),
        },
        Some((&format, _)) => return Err(Unreadable::Format(format)),
        None => return Err(Unreadable::Checksum),
    };
    Ok(serde_json::from_slice(json)?)
}

#[cfg(test)]
mod tests {
    use datastorage_api::parse_notification;

    use super::*;

    fn entry() -> Entry {
        let body = r#"{"remediation_id": "r", "notification_id": "n", "recipient": "a@b.c", "channel": "email",
            "message_summary": "m", "status": "sent", "sent_at": "2026-01-02T03:04:05Z"}"#;
        let queued_at = "2026-01-02T03:05:00Z".parse().expect("a time");
        let record = parse_notification(body.as_bytes(), queued_at).expect("a record");
        Entry {
            queued_at,
            write: Write::from(record),
        }
    }

    #[test]
    fn an_entry_is_read_back_also_in_the_format_without_a_version() {
        let entry = entry();
        let bytes = encode(entry.queued_at, &entry.write).expect("bytes");
        assert_eq!(decode(&bytes).expect("an entry"), entry);
        let bare = serde_json::to_vec(&entry).expect("JSON");
        assert_eq!(decode(&bare).expect("an entry"), entry);
    }

    #[test]
    fn every_changed_bit_and_every_lost_end_is_seen() {
        let entry = entry();
        let bytes = encode(entry.queued_at, &entry.write).expect("bytes");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            decode(&damaged).expect_err(&format!("bit {bit} is another"));
        }
        for length in 0..bytes.len() {
            decode(&bytes[..length]).expect_err(&format!("{length} bytes are no entry"));
        }
    }

    #[test]
    fn an_entry_of_a_newer_format_is_named_as_one() {
        let error = decode(&[9, 1, 2, 3]).expect_err("newer");
        assert!(error.to_string().contains("format 9"), "{error}");
    }
}
