//! The handle that everybody shares.
//!
//! What is pushed is on the disk before the call returns. Where the directory cannot be written the queue is unavailable and
//! says why; it is opened again with the next push or read, at most once a second. A file that is damaged beyond reading is set
//! aside for a person, and the queue goes on with a new one. One that is removed while it is open takes no more: what it holds is
//! moved to a new one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datastorage_api::ParkedEntry;
use jiff::Timestamp;
use tokio::sync::Notify;
use uuid::Uuid;

use super::disk::{self, Capacity, Depth, Disk, DiskError, Note, Oldest, ParkedPage, Pushed};
use super::entry::Write;
use super::group::GroupLimit;
use super::stall::Stalls;
use crate::config::QueueConfig;

/// How long a queue that could not be opened is left alone.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// How often a failure that stays the same is logged again.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// What the name of a file that was set aside holds behind the queue's own.
const ASIDE: &str = ".damaged-";
/// How many files are set aside before the queue stays unavailable instead.
const MOST_ASIDE: u64 = 4;

/// Handle to the queue; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: QueueConfig,
    state: Mutex<State>,
    pushed: Notify,
    stalls: Stalls,
    /// Failed looks at the file, and the last one that was logged.
    failures: AtomicU64,
    said: Mutex<Option<(String, Instant)>>,
    /// The file failed within: it is looked through when it is opened again.
    suspect: AtomicBool,
    /// Entries that could not be read.
    unreadable: AtomicU64,
    /// Files in the directory that were set aside.
    aside: AtomicU64,
}

/// What went wrong with the queue's file since the start, for metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Looks at the file that failed.
    pub(crate) failures: u64,
    /// Entries that could not be read, and were parked.
    pub(crate) unreadable: u64,
    /// Damaged files that lie beside the queue.
    pub(crate) aside: u64,
}

#[derive(Debug)]
enum State {
    Open(Arc<Disk>),
    /// Nobody would find the open file after a restart: it is emptied, and takes nothing.
    Removed {
        disk: Arc<Disk>,
        reason: String,
        since: Instant,
    },
    Unavailable {
        reason: String,
        since: Instant,
    },
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
            failures: AtomicU64::new(0),
            said: Mutex::new(None),
            suspect: AtomicBool::new(false),
            unreadable: AtomicU64::new(0),
            aside: AtomicU64::new(0),
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
            .with_kept(move |disk| disk.push(&requests, now, capacity))
            .await?;
        self.0.pushed.notify_one();
        Ok(pushed)
    }

    /// The oldest pending entries with their numbers: at least one, and of more no more than `most`.
    pub(super) async fn oldest(&self, most: GroupLimit) -> Result<Oldest, QueueUnavailable> {
        let queue = self.clone();
        self.with(move |disk| match queue.kept() {
            Ok(kept) => kept.oldest(most),
            Err(_) => disk.oldest(most),
        })
        .await
    }

    /// Forgets entries that are stored.
    pub(crate) async fn remove(&self, numbers: Vec<u64>) -> Result<(), QueueUnavailable> {
        self.with(move |disk| disk.remove(&numbers)).await
    }

    /// Puts entries behind all others, where they are tried again in their turn.
    pub(super) async fn defer(&self, numbers: Vec<u64>) -> Result<(), QueueUnavailable> {
        self.with(move |disk| disk.defer(&numbers)).await
    }

    /// Sets an entry aside that the database refuses for good, or that cannot be read.
    pub(super) async fn park(&self, number: u64, note: Note) -> Result<(), QueueUnavailable> {
        self.with(move |disk| disk.park(number, &note)).await
    }

    /// An entry could not be read.
    pub(super) fn count_unreadable(&self) {
        self.0.unreadable.fetch_add(1, Ordering::Relaxed);
    }

    /// Parked entries by number, behind `after`: at most so many, and no more than fit into a page.
    pub(crate) async fn parked(
        &self,
        after: Option<u64>,
        most: usize,
    ) -> Result<ParkedPage, QueueUnavailable> {
        self.with(move |disk| disk.parked(after, most)).await
    }

    /// Forgets a parked entry for good; returns it.
    pub(crate) async fn delete(
        &self,
        number: u64,
    ) -> Result<Option<ParkedEntry>, QueueUnavailable> {
        self.with(move |disk| disk.delete(number)).await
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
        self.with_kept(disk::Disk::depth).await
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
            State::Unavailable { reason, .. } | State::Removed { reason, .. } => {
                Some(self.reason(reason))
            }
            State::Closed => Some(self.reason("it is closed")),
        }
    }

    /// What went wrong with the file since the start.
    pub(crate) fn faults(&self) -> Faults {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Faults {
            failures: read(&self.0.failures),
            unreadable: read(&self.0.unreadable),
            aside: read(&self.0.aside),
        }
    }

    /// What a person must look at, and where; none if all is well.
    pub(crate) async fn trouble(&self) -> Option<String> {
        let directory = self.0.config.directory.display();
        let parked = match self.depth().await {
            Ok(depth) => depth.parked,
            Err(error) => return Some(error.to_string()),
        };
        let aside = self.faults().aside;
        let parked = (parked > 0).then(|| {
            format!("{parked} accepted writes are parked: see GET /api/v1/queue/parked, then redrive or delete them")
        });
        let aside = (aside > 0).then(|| {
            format!("{aside} damaged files lie in {directory} and may hold accepted writes: keep and then remove them")
        });
        let all: Vec<_> = parked.into_iter().chain(aside).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Makes the file smaller when most of it is free and nobody uses it.
    pub(super) async fn shrink(&self) {
        let queue = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut state = queue.state();
            let State::Open(disk) = &mut *state else {
                return;
            };
            // Whoever uses it now holds a share of it; the next time will do.
            if let Some(Err(error)) = Arc::get_mut(disk).map(Disk::shrink) {
                *state = queue.failed(&error.to_string());
            }
        });
        if let Err(error) = done.await {
            tracing::error!(%error, "the queue's file cannot be made smaller");
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
        self.with_any(Self::disk, work).await
    }

    /// The same with a file that a restart finds.
    async fn with_kept<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, QueueUnavailable> {
        self.with_any(Self::kept, work).await
    }

    async fn with_any<T: Send + 'static>(
        &self,
        disk: fn(&Self) -> Result<Arc<Disk>, QueueUnavailable>,
        work: impl FnOnce(&Disk) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, QueueUnavailable> {
        let queue = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let disk = disk(&queue)?;
            work(&disk).map_err(|error| queue.fail(&error.to_string()))
        });
        // A panic is the library's answer to some damage.
        done.await
            .unwrap_or_else(|error| Err(self.fail(&error.to_string())))
    }

    fn disk(&self) -> Result<Arc<Disk>, QueueUnavailable> {
        let mut state = self.state();
        if matches!(&*state, State::Unavailable { since, .. } if since.elapsed() >= REOPEN_AFTER) {
            *state = self.try_open();
        }
        match &*state {
            State::Open(disk) | State::Removed { disk, .. } => Ok(Arc::clone(disk)),
            State::Unavailable { reason, .. } => Err(self.reason(reason)),
            State::Closed => Err(self.reason("it is closed")),
        }
    }

    /// The open file, if a restart would find it; a new one, a second after it was seen to be gone.
    fn kept(&self) -> Result<Arc<Disk>, QueueUnavailable> {
        let disk = self.disk()?;
        let mut state = self.state();
        match &*state {
            State::Open(disk) if disk.is_in_place() => return Ok(Arc::clone(disk)),
            State::Open(_) => {
                let reason = "its file was removed or replaced while it was in use; a new one is made in a second".to_owned();
                self.0.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    directory = %self.0.config.directory.display(),
                    "the queue's file was removed or replaced while it was in use; nothing is accepted into it, and what it holds is moved to a new one"
                );
                *state = State::Removed {
                    disk,
                    reason,
                    since: Instant::now(),
                };
            }
            State::Removed { disk, since, .. } if since.elapsed() >= REOPEN_AFTER => {
                match self.replace(disk) {
                    Ok(new) => {
                        let new = Arc::new(new);
                        *state = State::Open(Arc::clone(&new));
                        return Ok(new);
                    }
                    Err(error) => {
                        let disk = Arc::clone(disk);
                        let reason =
                            format!("its file was removed, and no new one can be made: {error}");
                        self.failed(&reason);
                        *state = State::Removed {
                            disk,
                            reason,
                            since: Instant::now(),
                        };
                    }
                }
            }
            State::Removed { .. } | State::Unavailable { .. } | State::Closed => {}
        }
        match &*state {
            State::Open(disk) => Ok(Arc::clone(disk)),
            State::Removed { reason, .. } | State::Unavailable { reason, .. } => {
                Err(self.reason(reason))
            }
            State::Closed => Err(self.reason("it is closed")),
        }
    }

    /// A new file with all that the removed one holds.
    fn replace(&self, removed: &Disk) -> Result<Disk, DiskError> {
        let new = Disk::open(&self.0.config.directory, false)?;
        new.adopt(removed)?;
        tracing::warn!(
            directory = %self.0.config.directory.display(),
            "the queue has a new file, with all that the removed one held"
        );
        Ok(new)
    }

    fn try_open(&self) -> State {
        let directory = &self.0.config.directory;
        let suspect = self.0.suspect.load(Ordering::Relaxed);
        self.0.aside.store(aside(directory), Ordering::Relaxed);
        let opened = Disk::open(directory, suspect).or_else(|error| {
            if !error.is_damage() {
                return Err(error);
            }
            self.set_aside(&error)?;
            Disk::open(directory, false)
        });
        match opened {
            Ok(disk) => {
                self.0.suspect.store(false, Ordering::Relaxed);
                State::Open(Arc::new(disk))
            }
            Err(error) => self.failed(&error.to_string()),
        }
    }

    /// Moves a file away that cannot be read; a person may find accepted writes in it.
    fn set_aside(&self, error: &DiskError) -> Result<(), DiskError> {
        let directory = &self.0.config.directory;
        let held = aside(directory);
        if held >= MOST_ASIDE {
            let full = format!(
                "{error}; {held} damaged files lie in the directory already: remove those that are done with"
            );
            return Err(DiskError::Io(std::io::Error::other(full)));
        }
        let file = Disk::file(directory);
        let mut to = file.clone().into_os_string();
        to.push(format!("{ASIDE}{}", Timestamp::now().as_millisecond()));
        std::fs::rename(&file, &to)?;
        self.0.failures.fetch_add(1, Ordering::Relaxed);
        self.0.aside.store(held + 1, Ordering::Relaxed);
        tracing::error!(%error, file = %Path::new(&to).display(), "the queue's file is damaged and set aside; accepted writes in it are not stored: send those of the time again");
        Ok(())
    }

    /// The file failed: after a failed write it wants to be opened anew.
    fn fail(&self, reason: &str) -> QueueUnavailable {
        self.0.suspect.store(true, Ordering::Relaxed);
        let failed = self.failed(reason);
        let mut state = self.state();
        if !matches!(&*state, State::Closed) {
            *state = failed;
        }
        self.reason(reason)
    }

    /// Counts a failure, and says it at first and every half minute.
    fn failed(&self, reason: &str) -> State {
        let now = Instant::now();
        self.0.failures.fetch_add(1, Ordering::Relaxed);
        let mut said = self.0.said.lock().unwrap_or_else(PoisonError::into_inner);
        let known = said
            .as_ref()
            .is_some_and(|(last, at)| last == reason && at.elapsed() < SAY_EVERY);
        if !known {
            let unavailable = self.reason(reason);
            tracing::error!(%unavailable, "no write can be queued, and none that is queued is stored, until this is mended");
            *said = Some((reason.to_owned(), now));
        }
        State::Unavailable {
            reason: reason.to_owned(),
            since: now,
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

/// How many damaged files lie in the directory.
fn aside(directory: &Path) -> u64 {
    std::fs::read_dir(directory).map_or(0, |files| {
        let names = files.flatten().map(|file| file.file_name());
        names
            .filter(|name| name.to_string_lossy().contains(ASIDE))
            .count() as u64
    })
}
