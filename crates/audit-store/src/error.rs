//! Why a store cannot be opened, an event is not accepted, or a close lost something.

use std::{io, path::PathBuf};

use datastorage_api::FieldErrors;
use uuid::Uuid;

use crate::Report;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings are wrong.
    #[error("audit store settings: {0}")]
    Config(String),
    /// The journal's directory cannot be used.
    #[error("cannot use the audit journal in {directory}: {cause}; give a directory that this user may write, on a disk with space", directory = directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Another store works on the journal.
    #[error("the audit journal in {directory} is in use by process {holder}; give each process a directory of its own", directory = directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// Process id of the holder, as it wrote it.
        holder: String,
    },
    /// A file in the journal's directory is in another format.
    #[error("{path} is not a journal of this version; move it away, or read it with the version that wrote it", path = path.display())]
    ForeignFormat {
        /// The file.
        path: PathBuf,
    },
    /// The address cannot be used.
    #[error(transparent)]
    Client(#[from] datastorage_client::Error),
    /// The system gives no thread.
    #[error("cannot start the audit store's thread: {0}; check the process limits")]
    Thread(io::Error),
}

/// Why an event was not accepted, or in one case ([`StoreError::NotSynced`]) what acceptance does not cover.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The event breaks the contract; Data Storage would refuse it.
    #[error("the audit event breaks the contract: {0}")]
    Invalid(FieldErrors),
    /// The event is too long.
    #[error(
        "the audit event takes {bytes} bytes, at most {limit} are accepted; shorten event_data"
    )]
    TooLarge {
        /// Bytes of the event.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
    /// The journal cannot be written, for example because the disk is full or read-only.
    #[error("cannot write the audit journal in {directory}: {cause}; free space or make it writable, and emit again", directory = directory.display())]
    Journal {
        /// The journal's directory.
        directory: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The journal has reached its bound.
    #[error("the audit journal in {directory} holds its bound of {limit} bytes; find out why Data Storage does not accept the events", directory = directory.display())]
    JournalFull {
        /// The journal's directory.
        directory: PathBuf,
        /// Its bound in bytes.
        limit: u64,
    },
    /// The buffer of a memory-only store is full.
    #[error(
        "the memory-only audit buffer holds its bound of {capacity} events; use a journal to keep more"
    )]
    BufferFull {
        /// Most events.
        capacity: usize,
    },
    /// The store is closed.
    #[error("the audit store is closed")]
    Closed,
    /// [`crate::Store::durable`] on a memory-only store.
    #[error("a memory-only audit store cannot make an event durable; use a journal")]
    NoJournal,
    /// The event is accepted and in the journal, but not known to survive a crash of the machine.
    #[error("audit event {event_id} is accepted, but its journal is not synced to disk: {reason}")]
    NotSynced {
        /// The accepted event.
        event_id: Uuid,
        /// What is in the way.
        reason: String,
    },
}

/// What a close could not keep.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// A memory-only store ended with events that are not stored, or a journal was damaged while it was in use.
    #[error("AUDIT DATA LOSS: the audit store lost {} events{}", report.lost, report.blocked())]
    Lost {
        /// The counts.
        report: Report,
    },
}
