//! The queue's file: redb tables for what waits, what is parked, and which events are waiting.
//!
//! Nothing here fails because of what one entry says: its bytes are moved as they are, and read only to be written or shown.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use datastorage_api::{NewEvent, ParkedEntry, limits};
use jiff::Timestamp;
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::entry::{Entry, Key, Unreadable, Write, decode, encode, key};
use super::group::GroupLimit;
use super::repeat::{Likeness, likeness};

/// Number, ascending in the order of acceptance, to the bytes of an entry.
const PENDING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pending");
/// The same bytes of what is parked, and [`Note`] as JSON.
const PARKED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("parked_entries");
const NOTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("parked_notes");
/// Key of a pending event to its time in microseconds and its number.
const KEYS: TableDefinition<'_, Key, (i64, u64)> = TableDefinition::new("keys");
/// Figures that must not be computed from all entries: next number, bytes pending, bytes parked.
const FIGURES: TableDefinition<'_, &str, u64> = TableDefinition::new("figures");

/// Tables of the file before entries had a version: entries and notes in one, and keys without numbers.
const OLD_PARKED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("parked");
const OLD_EVENTS: TableDefinition<'_, Key, i64> = TableDefinition::new("events");

/// Memory that redb may use; its default is a gibibyte.
const CACHE_BYTES: usize = 4 << 20;
/// A file is made smaller beyond this, when it holds less than a quarter of itself.
const WORTH_SHRINKING: u64 = 4 << 20;
/// Entries that are looked at for the age of the oldest one that can be read.
const LOOKED_AT: usize = 100;
/// Bytes of entries in one page of what is parked, which is read into memory twice; a single entry may be larger.
const PAGE_BYTES: usize = limits::PAGE_BYTES / 2;

/// Why and when an entry was parked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) at: Timestamp,
    pub(super) reason: String,
    pub(super) sqlstate: Option<String>,
}

/// What became of one request's writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// All are on the disk, or were before.
    Queued,
    /// None fits: the queue is full.
    Full,
    /// None was queued: these ids wait with another time on the same UTC date or with other content (D29).
    Conflict(Vec<Uuid>),
}

/// How much the queue takes, parked entries included: it is full at either.
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
    /// Entries that the database refused, or that cannot be read.
    pub(crate) parked: u64,
    /// Bytes of these.
    pub(crate) parked_bytes: u64,
    /// Bytes of the file.
    pub(crate) file_bytes: u64,
    /// When the oldest pending entry was accepted.
    pub(crate) oldest: Option<Timestamp>,
}

/// The oldest pending entries.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    pub(super) entries: Vec<(u64, Entry)>,
    /// Those among them that cannot be read.
    pub(super) unreadable: Vec<(u64, Unreadable)>,
}

/// A page of parked entries.
#[derive(Debug, Default)]
pub(crate) struct ParkedPage {
    /// By number.
    pub(crate) entries: Vec<ParkedEntry>,
    /// How many are parked in all.
    pub(crate) total: u64,
    /// Whether some follow.
    pub(crate) has_more: bool,
}

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Storage(#[from] redb::Error),
    #[error("an entry cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl DiskError {
    /// Whether the file is no queue, or one that cannot be mended.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Storage(redb::Error::Corrupted(_)) => true,
            Self::Storage(redb::Error::Io(error)) => matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        }
    }
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
    CommitError,
    CompactionError
);

#[derive(Debug)]
pub(super) struct Disk {
    database: Database,
    file: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Disk {
    /// Where the queue of a directory is.
    pub(super) fn file(directory: &Path) -> PathBuf {
        directory.join("queue.redb")
    }

    /// Opens or makes the file; `suspect` looks through all of it for damage.
    pub(super) fn open(directory: &Path, suspect: bool) -> Result<Self, DiskError> {
        std::fs::create_dir_all(directory)?;
        let file = Self::file(directory);
        let mut database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&file)?;
        if suspect {
            database.check_integrity()?;
        }
        let write = database.begin_write()?;
        write.open_table(PENDING)?;
        write.open_table(PARKED)?;
        write.open_table(NOTES)?;
        write.open_table(KEYS)?;
        write.open_table(FIGURES)?;
        bring_up_to_date(&write)?;
        write.commit()?;
        let mut disk = Self {
            database,
            identity: identity(&file),
            file,
        };
        disk.shrink()?;
        Ok(disk)
    }

    /// Whether the file that is written is still the one that a restart would find.
    pub(super) fn is_in_place(&self) -> bool {
        self.identity.is_some() && identity(&self.file) == self.identity
    }

    /// Takes over all that `other` holds, behind its own.
    pub(super) fn adopt(&self, other: &Self) -> Result<(), DiskError> {
        let read = other.database.begin_read()?;
        let transaction = self.database.begin_write()?;
        {
            let mut tail = Tail::of(&transaction)?;
            // So that no number means two entries.
            let next = figure(&read.open_table(FIGURES)?, "next")?;
            tail.next = tail.next.max(next);
            for row in read.open_table(PENDING)?.iter()? {
                let bytes = row?.1;
                tail.append(bytes.value(), key_of(bytes.value()))?;
            }
            for row in read.open_table(PARKED)?.iter()? {
                let (number, bytes) = row?;
                tail.parked_bytes += bytes.value().len() as u64;
                tail.parked.insert(number.value(), bytes.value())?;
            }
            for row in read.open_table(NOTES)?.iter()? {
                let (number, note) = row?;
                tail.notes.insert(number.value(), note.value())?;
            }
            tail.finish()?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Gives the file's free space back, if that is most of it.
    pub(super) fn shrink(&mut self) -> Result<(), DiskError> {
        let depth = self.depth()?;
        let held = depth.bytes + depth.parked_bytes;
        if depth.file_bytes > WORTH_SHRINKING && held < depth.file_bytes / 4 {
            self.database.compact()?;
        }
        Ok(())
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

    pub(super) fn oldest(&self, most: GroupLimit) -> Result<Oldest, DiskError> {
        let pending = self.database.begin_read()?.open_table(PENDING)?;
        let mut oldest = Oldest::default();
        let mut held = 0;
        for row in pending.iter()?.take(most.entries) {
            let (number, bytes) = row?;
            let (number, bytes) = (number.value(), bytes.value());
            held += bytes.len();
            if held > most.bytes && held > bytes.len() {
                break;
            }
            match decode(bytes) {
                Ok(entry) => oldest.entries.push((number, entry)),
                Err(error) => oldest.unreadable.push((number, error)),
            }
        }
        Ok(oldest)
    }

    pub(super) fn remove(&self, numbers: &[u64]) -> Result<(), DiskError> {
        let transaction = self.database.begin_write()?;
        {
            let mut tail = Tail::of(&transaction)?;
            for number in numbers {
                tail.take(*number)?;
            }
            tail.finish()?;
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn defer(&self, numbers: &[u64]) -> Result<(), DiskError> {
        let transaction = self.database.begin_write()?;
        {
            let mut tail = Tail::of(&transaction)?;
            for number in numbers {
                if let Some(bytes) = tail.take(*number)? {
                    tail.append(&bytes, key_of(&bytes))?;
                }
            }
            tail.finish()?;
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn park(&self, number: u64, note: &Note) -> Result<(), DiskError> {
        let transaction = self.database.begin_write()?;
        {
            let mut tail = Tail::of(&transaction)?;
            if let Some(bytes) = tail.take(number)? {
                tail.parked_bytes += bytes.len() as u64;
                tail.parked.insert(number, bytes.as_slice())?;
                tail.notes
                    .insert(number, serde_json::to_vec(note)?.as_slice())?;
            }
            tail.finish()?;
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn parked(&self, after: Option<u64>, most: usize) -> Result<ParkedPage, DiskError> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(PARKED)?;
        let notes = transaction.open_table(NOTES)?;
        let mut page = ParkedPage {
            total: table.len()?,
            ..ParkedPage::default()
        };
        let Some(first) = after.map_or(Some(0), |after| after.checked_add(1)) else {
            return Ok(page);
        };
        let mut held = 0;
        for row in table.range(first..)? {
            let (number, bytes) = row?;
            held += bytes.value().len();
            if page.entries.len() == most || (held > PAGE_BYTES && !page.entries.is_empty()) {
                page.has_more = true;
                break;
            }
            let number = number.value();
            let note = notes.get(number)?;
            page.entries.push(shown(
                number,
                bytes.value(),
                note.as_ref().map(redb::AccessGuard::value),
            )?);
        }
        Ok(page)
    }

    /// Takes a parked entry out for good.
    pub(super) fn delete(&self, number: u64) -> Result<Option<ParkedEntry>, DiskError> {
        let transaction = self.database.begin_write()?;
        let mut deleted = None;
        {
            let mut tail = Tail::of(&transaction)?;
            let bytes = tail.parked.remove(number)?.map(|row| row.value().to_vec());
            let note = tail.notes.remove(number)?.map(|row| row.value().to_vec());
            if let Some(bytes) = bytes {
                tail.parked_bytes = tail.parked_bytes.saturating_sub(bytes.len() as u64);
                deleted = Some(shown(number, &bytes, note.as_deref())?);
            }
            tail.finish()?;
        }
        transaction.commit()?;
        Ok(deleted)
    }

    pub(super) fn redrive(&self) -> Result<u64, DiskError> {
        let transaction = self.database.begin_write()?;
        let mut count = 0;
        {
            let mut tail = Tail::of(&transaction)?;
            loop {
                let Some(bytes) = tail
                    .parked
                    .pop_first()?
                    .map(|(_, row)| row.value().to_vec())
                else {
                    break;
                };
                // What was accepted once is taken back whatever the bound.
                tail.append(&bytes, key_of(&bytes))?;
                count += 1;
            }
            while tail.notes.pop_first()?.is_some() {}
            tail.parked_bytes = 0;
            tail.finish()?;
        }
        transaction.commit()?;
        Ok(count)
    }

    pub(super) fn holds_event(&self, id: Uuid) -> Result<bool, DiskError> {
        let keys = self.database.begin_read()?.open_table(KEYS)?;
        let id = id.as_u128();
        Ok(keys
            .range((id, i32::MIN)..=(id, i32::MAX))?
            .next()
            .is_some())
    }

    pub(super) fn depth(&self) -> Result<Depth, DiskError> {
        let transaction = self.database.begin_read()?;
        let pending = transaction.open_table(PENDING)?;
        let mut oldest = None;
        for row in pending.iter()?.take(LOOKED_AT) {
            if let Ok(entry) = decode(row?.1.value()) {
                oldest = Some(entry.queued_at);
                break;
            }
        }
        let figures = transaction.open_table(FIGURES)?;
        Ok(Depth {
            pending: pending.len()?,
            bytes: figure(&figures, "bytes")?,
            parked: transaction.open_table(PARKED)?.len()?,
            parked_bytes: figure(&figures, "parked_bytes")?,
            file_bytes: std::fs::metadata(&self.file).map_or(0, |file| file.len()),
            oldest,
        })
    }
}

/// Which file of the system a path leads to.
fn identity(file: &Path) -> Option<(u64, u64)> {
    let file = std::fs::metadata(file).ok()?;
    Some((file.dev(), file.ino()))
}

fn figure(
    figures: &impl ReadableTable<&'static str, u64>,
    name: &'static str,
) -> Result<u64, DiskError> {
    Ok(figures.get(name)?.map_or(0, |figure| figure.value()))
}

/// The key and time in an entry's bytes, if it has one and can be read.
fn key_of(bytes: &[u8]) -> Option<(Key, i64)> {
    decode(bytes).ok()?.write.key()
}

/// A parked entry as it is shown: by its parts, or raw if it cannot be read.
fn shown(id: u64, bytes: &[u8], note: Option<&[u8]>) -> Result<ParkedEntry, DiskError> {
    let note = note.and_then(|note| serde_json::from_slice::<Note>(note).ok());
    let note = note.unwrap_or_else(|| Note {
        at: Timestamp::UNIX_EPOCH,
        reason: "why it was parked cannot be read".to_owned(),
        sqlstate: None,
    });
    let entry = decode(bytes).ok();
    let raw = entry
        .is_none()
        .then(|| String::from_utf8_lossy(bytes).into_owned());
    let payload = entry.as_ref().map(|entry| entry.write.payload());
    Ok(ParkedEntry {
        id,
        table: entry.as_ref().map(|entry| entry.write.table().to_owned()),
        queued_at: entry.as_ref().map(|entry| entry.queued_at),
        parked_at: note.at,
        reason: note.reason,
        sqlstate: note.sqlstate,
        payload: payload.transpose()?,
        raw,
    })
}

/// Takes the tables over that a version before this one wrote.
fn bring_up_to_date(transaction: &WriteTransaction) -> Result<(), DiskError> {
    #[derive(Deserialize)]
    struct OldParked<'a> {
        #[serde(borrow)]
        entry: &'a serde_json::value::RawValue,
        #[serde(flatten)]
        note: Note,
    }
    let names: Vec<_> = transaction
        .list_tables()?
        .map(|table| redb::TableHandle::name(&table).to_owned())
        .collect();
    let holds = |name: &str| names.iter().any(|held| held == name);
    if holds("parked") {
        let mut tail = Tail::of(transaction)?;
        for row in transaction.open_table(OLD_PARKED)?.iter()? {
            let (number, bytes) = row?;
            let bytes = bytes.value();
            let (entry, note) = match serde_json::from_slice::<OldParked<'_>>(bytes) {
                Ok(old) => (old.entry.get().as_bytes(), old.note),
                Err(error) => (
                    bytes,
                    Note {
                        at: Timestamp::now(),
                        reason: Unreadable::from(error).to_string(),
                        sqlstate: None,
                    },
                ),
            };
            tail.parked_bytes += entry.len() as u64;
            tail.parked.insert(number.value(), entry)?;
            tail.notes
                .insert(number.value(), serde_json::to_vec(&note)?.as_slice())?;
        }
        tail.finish()?;
        transaction.delete_table(OLD_PARKED)?;
    }
    if holds("events") {
        let pending = transaction.open_table(PENDING)?;
        let mut keys = transaction.open_table(KEYS)?;
        for row in pending.iter()? {
            let (number, bytes) = row?;
            if let Some((key, time)) = key_of(bytes.value()) {
                keys.insert(key, (time, number.value()))?;
            }
        }
        transaction.delete_table(OLD_EVENTS)?;
    }
    Ok(())
}

/// The queue within one transaction.
struct Tail<'t> {
    pending: redb::Table<'t, u64, &'static [u8]>,
    parked: redb::Table<'t, u64, &'static [u8]>,
    notes: redb::Table<'t, u64, &'static [u8]>,
    keys: redb::Table<'t, Key, (i64, u64)>,
    figures: redb::Table<'t, &'static str, u64>,
    next: u64,
    bytes: u64,
    parked_bytes: u64,
}

impl<'t> Tail<'t> {
    fn of(transaction: &'t WriteTransaction) -> Result<Self, DiskError> {
        let figures = transaction.open_table(FIGURES)?;
        Ok(Self {
            next: figure(&figures, "next")?,
            bytes: figure(&figures, "bytes")?,
            parked_bytes: figure(&figures, "parked_bytes")?,
            pending: transaction.open_table(PENDING)?,
            parked: transaction.open_table(PARKED)?,
            notes: transaction.open_table(NOTES)?,
            keys: transaction.open_table(KEYS)?,
            figures,
        })
    }

    fn push(
        &mut self,
        writes: &[Write],
        now: Timestamp,
        capacity: Capacity,
    ) -> Result<Pushed, DiskError> {
        let mut fresh = Vec::new();
        let mut bytes = 0;
        let mut conflicts = Vec::new();
        // Those of this request, by key: the second of two is held against the first as if that were queued.
        let mut own: HashMap<Key, &NewEvent> = HashMap::new();
        for write in writes {
            if let Write::AuditEvent(event) = write {
                let key = key(event);
                let known = match own.get(&key) {
                    Some(first) => Some(likeness(first, event)),
                    None => self.known(key, event)?,
                };
                match known {
                    Some(Likeness::Same) => continue,
                    Some(Likeness::Other) => {
                        conflicts.push(event.event_id);
                        continue;
                    }
                    Some(Likeness::Unsure) | None => own.insert(key, event),
                };
            }
            let entry = encode(now, write)?;
            bytes += entry.len() as u64;
            fresh.push((entry, write.key()));
        }
        if !conflicts.is_empty() {
            return Ok(Pushed::Conflict(conflicts));
        }
        let entries = self.pending.len()? + self.parked.len()? + fresh.len() as u64;
        let bytes = self.bytes + self.parked_bytes + bytes;
        if !fresh.is_empty() && (entries > capacity.entries || bytes > capacity.bytes) {
            return Ok(Pushed::Full);
        }
        for (entry, key) in fresh {
            self.append(&entry, key)?;
        }
        Ok(Pushed::Queued)
    }

    /// How `event` relates to the one that waits under its key; none waits, or it cannot be read.
    fn known(&self, key: Key, event: &NewEvent) -> Result<Option<Likeness>, DiskError> {
        let Some((time, number)) = self.keys.get(key)?.map(|row| row.value()) else {
            return Ok(None);
        };
        if time != event.event_timestamp.as_microsecond() {
            return Ok(Some(Likeness::Other));
        }
        let entry = self.pending.get(number)?.map(|row| decode(row.value()));
        Ok(match entry {
            Some(Ok(Entry {
                write: Write::AuditEvent(queued),
                ..
            })) => Some(likeness(&queued, event)),
            _ => None,
        })
    }

    /// Puts an entry behind all others.
    fn append(&mut self, entry: &[u8], key: Option<(Key, i64)>) -> Result<(), DiskError> {
        self.pending.insert(self.next, entry)?;
        if let Some((key, time)) = key {
            self.keys.insert(key, (time, self.next))?;
        }
        self.next += 1;
        self.bytes += entry.len() as u64;
        Ok(())
    }

    /// Takes a pending entry out.
    fn take(&mut self, number: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(bytes) = self.pending.remove(number)?.map(|row| row.value().to_vec()) else {
            return Ok(None);
        };
        self.bytes = self.bytes.saturating_sub(bytes.len() as u64);
        match decode(&bytes).map(|entry| entry.write.key()) {
            Ok(None) => {}
            Ok(Some((key, _))) => {
                let own = self
                    .keys
                    .get(key)?
                    .is_some_and(|row| row.value().1 == number);
                if own {
                    self.keys.remove(key)?;
                }
            }
            // Its key is not known.
            Err(_) => self.keys.retain(|_, (_, held)| held != number)?,
        }
        Ok(Some(bytes))
    }

    fn finish(mut self) -> Result<(), DiskError> {
        self.figures.insert("next", self.next)?;
        self.figures.insert("bytes", self.bytes)?;
        self.figures.insert("parked_bytes", self.parked_bytes)?;
        Ok(())
    }
}
