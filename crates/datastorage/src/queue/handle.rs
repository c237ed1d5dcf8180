//! The handle that everybody shares.
//!
//! What is pushed is on the disk before the call returns. Where the directory cannot be written the queue is unavailable and
//! says why; it is opened again with the next push or read, at most once a second.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datastorage_api::{NewEvent, NotificationAudit, ParkedEntry};
use jiff::Timestamp;
use tokio::sync::Notify;
use uuid::Uuid;

use super::disk::{self, Capacity, Depth, Disk, DiskError, Entry, Pushed, Write};
use super::group::GroupLimit;
use super::stall::Stalls;
use crate::config::QueueConfig;

/// How long a queue that could not be opened is left alone.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// Handle to the queue; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: QueueConfig,
    state: Mutex<State>,
    pushed: Notify,
    stalls: Stalls,
}

#[derive(Debug)]
enum State {
    Open(Arc<Disk>),
    Unavailable { reason: String, since: Instant },
    Closed,
}

/// The queue cannot be used now; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the queue in {} is not available: {reason}", .directory.display())]
pub(crate) struct QueueUnavailable {
    directory: PathBuf,
    reason: String,
}

impl Queue {
    /// Opens the queue; where that fails it starts unavailable.
    pub(crate) fn open(config: QueueConfig) -> Self {
        let queue = Self(Arc::new(Shared {
            config,
            state: Mutex::new(State::Closed),
            pushed: Notify::new(),
            stalls: Stalls::default(),
        }));
        let state = queue.try_open();
        *queue.state() = state;
        queue
    }

    /// Puts the writes of several requests into the queue in one synced step; each request's all or none.
    pub(crate) async fn push(
        &self,
        requests: Vec<Vec<Write>>,
        now: Timestamp,
    ) -> Result<Vec<Pushed>, QueueUnavailable> {
        let capacity = self.capacity();
        let pushed = self
            .with(move |disk| disk.push(&requests, now, capacity))
            .await?;
        self.0.pushed.notify_one();
        Ok(pushed)
    }

    /// The oldest pending entries with their numbers: at least one, and of more no more than `most`.
    pub(super) async fn oldest(
        &self,
        most: GroupLimit,
    ) -> Result<Vec<(u64, Entry)>, QueueUnavailable> {
        self.with(move |disk| disk.oldest(most)).await
    }

    /// Forgets entries that are stored.
    pub(crate) async fn remove(&self, numbers: Vec<u64>) -> Result<(), QueueUnavailable> {
        self.with(move |disk| disk.remove(&numbers)).await
    }

    /// Puts entries behind all others, where they are tried again in their turn.
    pub(super) async fn defer(&self, numbers: Vec<u64>) -> Result<(), QueueUnavailable> {
        self.with(move |disk| disk.defer(&numbers)).await
    }

    /// Sets an entry aside that the database refuses for good.
    pub(crate) async fn park(
        &self,
        number: u64,
        reason: String,
        sqlstate: Option<String>,
        now: Timestamp,
    ) -> Result<(), QueueUnavailable> {
        self.with(move |disk| disk.park(number, &reason, sqlstate.as_deref(), now))
            .await
    }

    /// The oldest parked entries, and how many there are in all.
    pub(crate) async fn parked(
        &self,
        most: usize,
    ) -> Result<(Vec<ParkedEntry>, u64), QueueUnavailable> {
        self.with(move |disk| disk.parked(most)).await
    }

    /// Puts every parked entry back at the end of the queue; returns how many.
    pub(crate) async fn redrive(&self) -> Result<u64, QueueUnavailable> {
        let count = self.with(Disk::redrive).await?;
        self.0.pushed.notify_one();
        Ok(count)
    }

    /// Whether an event with that id waits in the queue.
    pub(crate) async fn holds_event(&self, id: Uuid) -> Result<bool, QueueUnavailable> {
        self.with(move |disk| disk.holds_event(id)).await
    }

    /// What the queue holds.
    pub(crate) async fn depth(&self) -> Result<Depth, QueueUnavailable> {
        self.with(disk::Disk::depth).await
    }

    /// How much the queue takes.
    pub(crate) fn capacity(&self) -> Capacity {
        Capacity {
            entries: self.0.config.max_entries,
            bytes: self.0.config.max_bytes,
        }
    }

    /// Returns when something was pushed since the last call.
    pub(crate) async fn pushed(&self) {
        self.0.pushed.notified().await;
    }

    /// What the drain says of its work.
    pub(super) fn stalls(&self) -> &Stalls {
        &self.0.stalls
    }

    /// Whether what waits has not been stored for so long that it is no passing failure.
    pub(crate) fn is_stalled(&self) -> bool {
        self.0.stalls.is_lasting()
    }

    /// Why the queue cannot be used, if it cannot.
    pub(crate) fn unavailable(&self) -> Option<QueueUnavailable> {
        match &*self.state() {
            State::Open(_) => None,
            State::Unavailable { reason, .. } => Some(self.reason(reason)),
            State::Closed => Some(self.reason("it is closed")),
        }
    }

    /// Closes the file; later calls find the queue unavailable.
    pub(crate) fn close(&self) {
        *self.state() = State::Closed;
    }

    /// Runs `work` off the runtime's threads, since it waits for the disk.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, QueueUnavailable> {
        let queue = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let disk = queue.disk()?;
            work(&disk).map_err(|error| {
                // After a failed write redb wants to be opened anew.
                *queue.state() = State::Unavailable {
                    reason: error.to_string(),
                    since: Instant::now(),
                };
                queue.reason(&error.to_string())
            })
        });
        done.await
            .unwrap_or_else(|error| Err(self.reason(&error.to_string())))
    }

    fn disk(&self) -> Result<Arc<Disk>, QueueUnavailable> {
        let mut state = self.state();
        if matches!(&*state, State::Unavailable { since, .. } if since.elapsed() >= REOPEN_AFTER) {
            *state = self.try_open();
        }
        match &*state {
            State::Open(disk) => Ok(Arc::clone(disk)),
            State::Unavailable { reason, .. } => Err(self.reason(reason)),
            State::Closed => Err(self.reason("it is closed")),
        }
    }

    fn try_open(&self) -> State {
        match Disk::open(&self.0.config.directory) {
            Ok(disk) => State::Open(Arc::new(disk)),
            Err(error) => State::Unavailable {
                reason: error.to_string(),
                since: Instant::now(),
            },
        }
    }

    fn reason(&self, reason: &str) -> QueueUnavailable {
        QueueUnavailable {
            directory: self.0.config.directory.clone(),
            reason: reason.to_owned(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
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
