//! The queue's file: redb tables for what waits, what is parked, and which events are waiting.

use std::path::Path;

use datastorage_api::time::utc_date;
use datastorage_api::{NewEvent, NotificationAudit, ParkedEntry};
use jiff::Timestamp;
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::group::GroupLimit;

/// Number, ascending in the order of acceptance, to [`Entry`] as JSON.
const PENDING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pending");
/// The same for entries that the database refused, as [`Parked`].
const PARKED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("parked");
/// (Event id, UTC date as days) of the pending events to their time in microseconds: the key of D29.
const EVENTS: TableDefinition<'_, (u128, i32), i64> = TableDefinition::new("events");
/// Figures that must not be computed from all entries: next number, bytes pending.
const FIGURES: TableDefinition<'_, &str, u64> = TableDefinition::new("figures");

/// Memory that redb may use; its default is a gibibyte.
const CACHE_BYTES: usize = 4 << 20;

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

    fn payload(&self) -> serde_json::Result<Box<RawValue>> {
        match self {
            Self::AuditEvent(event) => to_raw_value(event),
            Self::Notification(record) => to_raw_value(record),
        }
    }

    /// Key and time by which a repeat is known while it waits (D29). A notification's repeat is known when it is stored.
    fn key(&self) -> Option<((u128, i32), i64)> {
        match self {
            Self::AuditEvent(event) => Some((key(event), event.event_timestamp.as_microsecond())),
            Self::Notification(_) => None,
        }
    }
}

/// A write and when it was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When it was accepted with a 202.
    pub(crate) queued_at: Timestamp,
    /// What is to be written.
    pub(crate) write: Write,
}

#[derive(Serialize, Deserialize)]
struct Parked {
    entry: Entry,
    at: Timestamp,
    reason: String,
    sqlstate: Option<String>,
}

/// What became of one request's writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// All are on the disk, or were before.
    Queued,
    /// None fits: the queue is full.
    Full,
    /// None was queued: these ids wait with another time on the same UTC date (D29).
    Conflict(Vec<Uuid>),
}

/// How much the queue takes: it is full at either.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) entries: u64,
    /// Bytes of entries.
    pub(crate) bytes: u64,
}

/// What the queue holds, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Entries that wait for the database.
    pub(crate) pending: u64,
    /// Bytes of these.
    pub(crate) bytes: u64,
    /// Entries that the database refused.
    pub(crate) parked: u64,
    /// When the oldest pending entry was accepted.
    pub(crate) oldest: Option<Timestamp>,
}

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Storage(#[from] redb::Error),
    #[error("an entry is not readable: {0}")]
    Entry(#[from] serde_json::Error),
}

/// Each step of redb has an error type of its own; all convert into the general one.
macro_rules! storage_error {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for DiskError {
            fn from(error: redb::$error) -> Self {
                Self::Storage(error.into())
            }
        })*
    };
}
storage_error!(
    DatabaseError,
    TransactionError,
    TableError,
    StorageError,
    CommitError
);

#[derive(Debug)]
pub(super) struct Disk {
    database: Database,
}

impl Disk {
    pub(super) fn open(directory: &Path) -> Result<Self, DiskError> {
        std::fs::create_dir_all(directory)?;
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(directory.join("queue.redb"))?;
        let write = database.begin_write()?;
        write.open_table(PENDING)?;
        write.open_table(PARKED)?;
        write.open_table(EVENTS)?;
        write.open_table(FIGURES)?;
        write.commit()?;
        Ok(Self { database })
    }

    /// See [`super::handle::Queue::push`].
    pub(super) fn push(
        &self,
        requests: &[Vec<Write>],
        now: Timestamp,
        capacity: Capacity,
    ) -> Result<Vec<Pushed>, DiskError> {
        let transaction = self.database.begin_write()?;
        let mut outcomes = Vec::with_capacity(requests.len());
        {
            let mut tail = Tail::of(&transaction)?;
            for writes in requests {
                outcomes.push(tail.push(writes, now, capacity)?);
            }
            tail.finish()?;
        }
        transaction.commit()?;
        Ok(outcomes)
    }

    pub(super) fn oldest(&self, most: GroupLimit) -> Result<Vec<(u64, Entry)>, DiskError> {
        let pending = self.database.begin_read()?.open_table(PENDING)?;
        let mut entries = Vec::new();
        let mut held = 0;
        for row in pending.iter()?.take(most.entries) {
            let (number, bytes) = row?;
            held += bytes.value().len();
            if held > most.bytes && !entries.is_empty() {
                break;
            }
            entries.push((number.value(), serde_json::from_slice(bytes.value())?));
        }
        Ok(entries)
    }

    pub(super) fn remove(&self, numbers: &[u64]) -> Result<(), DiskError> {
        let transaction = self.database.begin_write()?;
        for number in numbers {
            take(&transaction, *number)?;
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn defer(&self, numbers: &[u64]) -> Result<(), DiskError> {
        let transaction = self.database.begin_write()?;
        for number in numbers {
            if let Some(entry) = take(&transaction, *number)? {
                let mut tail = Tail::of(&transaction)?;
                tail.append(&entry)?;
                tail.finish()?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn park(
        &self,
        number: u64,
        reason: &str,
        sqlstate: Option<&str>,
        now: Timestamp,
    ) -> Result<(), DiskError> {
        let transaction = self.database.begin_write()?;
        if let Some(entry) = take(&transaction, number)? {
            let parked = Parked {
                entry,
                at: now,
                reason: reason.to_owned(),
                sqlstate: sqlstate.map(ToOwned::to_owned),
            };
            transaction
                .open_table(PARKED)?
                .insert(number, serde_json::to_vec(&parked)?.as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn parked(&self, most: usize) -> Result<(Vec<ParkedEntry>, u64), DiskError> {
        let table = self.database.begin_read()?.open_table(PARKED)?;
        let mut entries = Vec::new();
        for row in table.iter()?.take(most) {
            let (number, bytes) = row?;
            let parked: Parked = serde_json::from_slice(bytes.value())?;
            entries.push(ParkedEntry {
                id: number.value(),
                table: parked.entry.write.table().to_owned(),
                queued_at: parked.entry.queued_at,
                parked_at: parked.at,
                reason: parked.reason,
                sqlstate: parked.sqlstate,
                payload: parked.entry.write.payload()?,
            });
        }
        Ok((entries, table.len()?))
    }

    pub(super) fn redrive(&self) -> Result<u64, DiskError> {
        let transaction = self.database.begin_write()?;
        let mut count = 0;
        {
            let mut parked = transaction.open_table(PARKED)?;
            let mut tail = Tail::of(&transaction)?;
            while let Some((_, bytes)) = parked.pop_first()? {
                let entry = serde_json::from_slice::<Parked>(bytes.value())?.entry;
                // What was accepted once is taken back whatever the bound.
                tail.append(&entry)?;
                count += 1;
            }
            tail.finish()?;
        }
        transaction.commit()?;
        Ok(count)
    }

    pub(super) fn holds_event(&self, id: Uuid) -> Result<bool, DiskError> {
        let events = self.database.begin_read()?.open_table(EVENTS)?;
        let id = id.as_u128();
        Ok(events
            .range((id, i32::MIN)..=(id, i32::MAX))?
            .next()
            .is_some())
    }

    pub(super) fn depth(&self) -> Result<Depth, DiskError> {
        let transaction = self.database.begin_read()?;
        let pending = transaction.open_table(PENDING)?;
        let oldest = match pending.first()? {
            Some((_, bytes)) => Some(serde_json::from_slice::<Entry>(bytes.value())?.queued_at),
            None => None,
        };
        let bytes = transaction
            .open_table(FIGURES)?
            .get("bytes")?
            .map_or(0, |bytes| bytes.value());
        Ok(Depth {
            pending: pending.len()?,
            bytes,
            parked: transaction.open_table(PARKED)?.len()?,
            oldest,
        })
    }
}

/// The end of the queue within one transaction.
struct Tail<'t> {
    pending: redb::Table<'t, u64, &'static [u8]>,
    events: redb::Table<'t, (u128, i32), i64>,
    figures: redb::Table<'t, &'static str, u64>,
    next: u64,
    bytes: u64,
}

impl<'t> Tail<'t> {
    fn of(transaction: &'t WriteTransaction) -> Result<Self, DiskError> {
        let figures = transaction.open_table(FIGURES)?;
        let next = figures.get("next")?.map_or(0, |next| next.value());
        let bytes = figures.get("bytes")?.map_or(0, |bytes| bytes.value());
        Ok(Self {
            pending: transaction.open_table(PENDING)?,
            events: transaction.open_table(EVENTS)?,
            figures,
            next,
            bytes,
        })
    }

    fn push(
        &mut self,
        writes: &[Write],
        now: Timestamp,
        capacity: Capacity,
    ) -> Result<Pushed, DiskError> {
        let mut fresh = Vec::new();
        let mut conflicts = Vec::new();
        for write in writes {
            let Write::AuditEvent(event) = write else {
                fresh.push(write);
                continue;
            };
            match self.events.get(key(event))?.map(|time| time.value()) {
                Some(time) if time == event.event_timestamp.as_microsecond() => {}
                Some(_) => conflicts.push(event.event_id),
                None => fresh.push(write),
            }
        }
        if !conflicts.is_empty() {
            return Ok(Pushed::Conflict(conflicts));
        }
        let entries = fresh.len() as u64;
        if self.pending.len()? + entries > capacity.entries
            || (entries > 0 && self.bytes >= capacity.bytes)
        {
            return Ok(Pushed::Full);
        }
        for write in fresh {
            self.append(&Entry {
                queued_at: now,
                write: write.clone(),
            })?;
        }
        Ok(Pushed::Queued)
    }

    fn append(&mut self, entry: &Entry) -> Result<(), DiskError> {
        let bytes = serde_json::to_vec(entry)?;
        self.pending.insert(self.next, bytes.as_slice())?;
        if let Some((key, time)) = entry.write.key() {
            self.events.insert(key, time)?;
        }
        self.next += 1;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<(), DiskError> {
        self.figures.insert("next", self.next)?;
        self.figures.insert("bytes", self.bytes)?;
        Ok(())
    }
}

/// Takes a pending entry out.
fn take(transaction: &WriteTransaction, number: u64) -> Result<Option<Entry>, DiskError> {
    let mut pending = transaction.open_table(PENDING)?;
    let Some(bytes) = pending.remove(number)?.map(|bytes| bytes.value().to_vec()) else {
        return Ok(None);
    };
    let entry: Entry = serde_json::from_slice(&bytes)?;
    if let Some((key, _)) = entry.write.key() {
        transaction.open_table(EVENTS)?.remove(key)?;
    }
    let mut figures = transaction.open_table(FIGURES)?;
    let left = figures
        .get("bytes")?
        .map_or(0, |held| held.value())
        .saturating_sub(bytes.len() as u64);
    figures.insert("bytes", left)?;
    Ok(Some(entry))
}

fn key(event: &NewEvent) -> (u128, i32) {
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
