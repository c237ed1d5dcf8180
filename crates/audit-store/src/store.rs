//! The store: what an emitting service calls.

use std::{
    io,
    path::PathBuf,
    slice,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use datastorage_api::FieldErrors;
use datastorage_client::Client;
use jiff::Timestamp;
use tokio::{
    runtime::{self, Handle},
    sync::watch,
    time::timeout,
};
use uuid::Uuid;

use crate::{
    CloseError, Config, Event, Mode, OpenError, ParkedEvent, Recovered, Report, StoreError,
    config::buffer_size,
    journal::{Journal, Opened},
    memory::Memory,
    metrics::Metrics,
    parked::{self, Parking},
    sender::{JournalSide, Sender, ended},
    shared::{Queue, Shared, Synced},
    stamp::now_micros,
    sync::{self, SyncFiles},
};

/// Most of a close's time that is kept for the last fsync.
const MOST_FOR_DISK: Duration = Duration::from_secs(1);
/// Least time for the threads to end, however little a close is given.
const LEAST_FOR_DISK: Duration = Duration::from_millis(100);

/// A buffered audit store; share it by reference or `Arc`. Its threads end with [`Store::close`] or when it is dropped.
///
/// It needs no runtime of its caller: the sender has its own, and the futures here run on any executor.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    directory: Option<PathBuf>,
    batch_size: u64,
    runtime: Handle,
    alive: watch::Receiver<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Opens a store that sends to the Data Storage at `base_url`, such as `http://datastorage:8080`; nothing needs to be reachable yet.
    ///
    /// What an earlier process left in the journal is counted and sent first, in the background.
    pub fn open(base_url: &str, config: Config) -> Result<Self, OpenError> {
        Self::open_with(base_url, config, sync::to_disk)
    }

    fn open_with(base_url: &str, config: Config, sync: SyncFiles) -> Result<Self, OpenError> {
        if let Some(faults) = config.faults() {
            return Err(OpenError::Config(faults));
        }
        let client = Client::with_access(base_url, &config.access)?;
        let client = client.with_deadline(config.request_deadline);
        match config.mode.clone() {
            Mode::Memory { events } => {
                let shared = Shared::new(Queue::Memory(Memory::new(events)));
                let metrics = Metrics::new(&config.service, events);
                let sender = |shared| Sender {
                    shared,
                    client,
                    config,
                    metrics,
                    journal: None,
                    oldest_us: None,
                };
                Self::start(shared, None, sender, sync)
            }
            Mode::Journal(settings) => {
                let Opened {
                    journal,
                    reader,
                    cursor,
                    left,
                } = Journal::open(&settings)?;
                let directory = settings.directory.clone();
                let parking = Parking::open(&directory).map_err(|cause| OpenError::Directory {
                    directory: directory.clone(),
                    cause,
                })?;
                let shared = Shared::new(Queue::Journal(journal));
                let metrics = Metrics::new(&config.service, buffer_size(&config.service));
                let side = Some(JournalSide {
                    reader,
                    cursor,
                    parking,
                    left: Some(left),
                });
                let sender = |shared| Sender {
                    shared,
                    client,
                    config,
                    metrics,
                    journal: side,
                    oldest_us: None,
                };
                Self::start(
                    shared,
                    Some((directory, settings.sync_interval)),
                    sender,
                    sync,
                )
            }
        }
    }

    fn start(
        shared: Shared,
        journal: Option<(PathBuf, Duration)>,
        sender: impl FnOnce(Arc<Shared>) -> Sender,
        sync: SyncFiles,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(shared);
        let sender = sender(Arc::clone(&shared));
        let batch_size = sender.config.batch_size as u64;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(OpenError::Thread)?;
        let (handle, (signal, alive)) = (runtime.handle().clone(), watch::channel(()));
        let mut threads = Vec::new();
        let sends = signal.clone();
        threads.push(spawn("audit-sender", move || {
            runtime.block_on(sender.run());
            drop(sends);
        })?);
        let directory = journal.as_ref().map(|(directory, _)| directory.clone());
        let interval = journal.map_or(Duration::MAX, |(_, interval)| interval);
        let syncs = Arc::clone(&shared);
        let syncer = spawn("audit-sync", move || {
            sync::run(&syncs, interval, sync);
            drop(signal);
        });
        threads.push(syncer.inspect_err(|_| shared.stop())?);
        Ok(Self {
            shared,
            directory,
            batch_size,
            runtime: handle,
            alive,
            threads: Mutex::new(threads),
        })
    }

    /// Accepts an event and returns its id: when this returns, a killed process no longer loses it (D32).
    ///
    /// It never waits for the network, and never panics, before, during or after a close.
    ///
    /// # Errors
    /// The event was not accepted, and is as if never emitted.
    pub fn store(&self, event: impl Into<Event>) -> Result<Uuid, StoreError> {
        let mut event = event.into();
        self.accept(slice::from_mut(&mut event))?;
        Ok(event.event_id())
    }

    /// Accepts an event and waits until it also survives a crash of the machine, at most until `deadline` has passed.
    ///
    /// # Errors
    /// As for [`Store::store`]; after [`StoreError::NotSynced`] the event is accepted all the same.
    pub async fn durable(
        &self,
        event: impl Into<Event>,
        deadline: Duration,
    ) -> Result<Uuid, StoreError> {
        let mut event = event.into();
        self.accept_durably(slice::from_mut(&mut event), deadline)
            .await?;
        Ok(event.event_id())
    }

    /// As [`Store::durable`], for several events, all or none; returns their ids in order.
    ///
    /// # Errors
    /// As for [`Store::durable`]; none is accepted if one is refused.
    pub async fn durable_batch(
        &self,
        mut events: Vec<Event>,
        deadline: Duration,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.accept_durably(&mut events, deadline).await?;
        Ok(events.iter().map(Event::event_id).collect())
    }

    async fn accept_durably(
        &self,
        events: &mut [Event],
        deadline: Duration,
    ) -> Result<(), StoreError> {
        if self.directory.is_none() {
            return Err(StoreError::NoJournal);
        }
        let number = self.accept(events)?;
        let failure = |synced: &Synced| {
            synced
                .failed
                .as_ref()
                .filter(|(through, _)| *through >= number)
                .map(|(_, reason)| reason.to_string())
        };
        let covered = move |synced: &Synced| {
            synced.through >= number
                || synced
                    .failed
                    .as_ref()
                    .is_some_and(|(through, _)| *through >= number)
        };
        let synced = self
            .wait(self.shared.synced.subscribe(), deadline, covered)
            .await;
        let reason = match synced {
            Some(synced) if synced.through >= number && failure(&synced).is_none() => {
                return Ok(());
            }
            Some(synced) => failure(&synced).unwrap_or_else(|| "the store ended".to_owned()),
            None => format!("no fsync ended within {deadline:?}"),
        };
        Err(StoreError::NotSynced {
            event_id: events.first().map(Event::event_id).unwrap_or_default(),
            reason,
        })
    }

    /// Sends all that is accepted by now, at once and in order, and returns when it is settled or `deadline` has passed.
    pub async fn flush(&self, deadline: Duration) -> Report {
        let started = Instant::now();
        self.recovered(deadline).await;
        let target = self.shared.lock().accepted;
        let shared = Arc::clone(&self.shared);
        self.shared.wanted.fetch_max(target, Ordering::Relaxed);
        self.shared.urgent.notify_one();
        let settled = move |_: &Report| shared.lock().settled >= target;
        let left = deadline.saturating_sub(started.elapsed());
        self.wait(self.shared.progress.subscribe(), left, settled)
            .await;
        self.shared.report()
    }

    /// Ends acceptance, sends what it can within `deadline`, and stops. What the journal still holds is sent by the next start.
    ///
    /// A part of the time is kept for the disk: it returns in time also where an fsync does not end, and leaves that to the system.
    /// A second call reports the same.
    ///
    /// # Errors
    /// Events are lost: of a memory-only store, or by damage to the journal.
    pub async fn close(&self, deadline: Duration) -> Result<Report, CloseError> {
        let started = Instant::now();
        self.shared.lock().closed = true;
        if !self.shared.is_stopped() {
            let for_disk = MOST_FOR_DISK.min(deadline / 4);
            self.flush(deadline.saturating_sub(for_disk)).await;
        }
        self.shared.stop();
        let left = deadline.saturating_sub(started.elapsed());
        if !ended_within(self.alive.clone(), left.max(LEAST_FOR_DISK)).await {
            tracing::warn!(
                "the audit journal is not synced to disk by the end of its close; its events survive the end of this process, but maybe not a crash of the machine"
            );
            // Nobody is to wait for it later, either.
            self.threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
        let mut report = self.shared.report();
        if self.directory.is_none() {
            report.lost += std::mem::take(&mut report.journalled);
        }
        if report.lost > 0 {
            Err(CloseError::Lost { report })
        } else {
            Ok(report)
        }
    }

    /// Returns what became of the accepted events so far.
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// Returns what an earlier process left in the journal, once all of it is counted; none when `deadline` has passed before.
    pub async fn recovered(&self, deadline: Duration) -> Option<Recovered> {
        self.wait(self.shared.counted.subscribe(), deadline, |counted| {
            *counted
        })
        .await?;
        Some(*self.shared.recovered.borrow())
    }

    /// Reads the events that Data Storage refused for good, of earlier processes too, oldest first.
    pub fn parked(&self) -> io::Result<Vec<ParkedEvent>> {
        self.directory
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), parked::read)
    }

    /// Accepts all of `events`, or none, and returns the number of the last among the accepted ones.
    fn accept(&self, events: &mut [Event]) -> Result<u64, StoreError> {
        self.append(events).inspect_err(|_| {
            self.shared
                .refused
                .fetch_add(events.len() as u64, Ordering::Relaxed);
        })
    }

    fn append(&self, events: &mut [Event]) -> Result<u64, StoreError> {
        let mut backlog = self.shared.lock();
        if backlog.closed {
            return Err(StoreError::Closed);
        }
        let now = now_micros();
        for event in &mut *events {
            let stamp = backlog.stamper.at(now);
            event
                .complete(stamp.id, from_micros(stamp.micros), from_micros(now))
                .map_err(StoreError::Invalid)?;
        }
        let was_synced = backlog
            .journal()
            .is_some_and(|journal| !journal.is_unsynced());
        let before = backlog.waiting();
        backlog.append(events.iter().map(|event| {
            (now, |out: &mut Vec<u8>| {
                serde_json::to_writer(out, &event.request)
                    .map_err(|_| StoreError::Invalid(FieldErrors::default()))
            })
        }))?;
        let (number, waiting) = (backlog.accepted, backlog.waiting());
        drop(backlog);
        if was_synced {
            self.shared.unsynced.notify_one();
        }
        if waiting / self.batch_size > before / self.batch_size {
            self.shared.full.notify_one();
        }
        Ok(number)
    }

    /// Waits for a value on the store's own timer, so that any executor will do; returns none when `deadline` has passed.
    async fn wait<T: Clone + Send + Sync + 'static>(
        &self,
        mut watched: watch::Receiver<T>,
        deadline: Duration,
        wanted: impl FnMut(&T) -> bool + Send + 'static,
    ) -> Option<T> {
        let waiting = self.runtime.spawn(async move {
            let value = timeout(deadline, watched.wait_for(wanted))
                .await
                .ok()?
                .ok()?;
            Some(value.clone())
        });
        waiting.await.ok().flatten()
    }
}

impl Drop for Store {
    /// Stops without sending; a journal keeps what is accepted.
    fn drop(&mut self) {
        self.shared.stop();
        for thread in std::mem::take(
            self.threads
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner),
        ) {
            if thread.join().is_err() {
                tracing::error!(
                    "a thread of the audit store panicked, which is a defect; accepted events are in the journal"
                );
            }
        }
        let report = self.shared.report();
        if self.directory.is_none() && report.journalled + report.lost > 0 {
            tracing::error!(
                events = report.journalled + report.lost,
                "AUDIT DATA LOSS: a memory-only audit store ended with events that are not stored"
            );
        }
    }
}

/// Waits for the end of the store's threads, at most for `time`; the store's own timer has ended with them.
async fn ended_within(alive: watch::Receiver<()>, time: Duration) -> bool {
    let (cancel, cancelled) = mpsc::channel::<()>();
    let (ringing, alarm) = watch::channel(());
    let clock = spawn("audit-close", move || {
        // Rung when the time is over, or nobody waits any more.
        drop((cancelled.recv_timeout(time), ringing));
    });
    if clock.is_err() {
        return false;
    }
    let ended = tokio::select! {
        biased;
        () = ended(alive) => true,
        () = ended(alarm) => false,
    };
    drop(cancel);
    ended
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(OpenError::Thread)
}

fn from_micros(micros: u64) -> Timestamp {
    i64::try_from(micros)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, sync::OnceLock};

    use datastorage_api::{EventCategory, EventOutcome};

    use super::*;

    /// A disk that does not answer for as long as this is not set.
    static DISK: OnceLock<()> = OnceLock::new();

    fn never(files: &[Arc<File>]) -> io::Result<()> {
        DISK.wait();
        sync::to_disk(files)
    }

    #[tokio::test]
    async fn a_close_keeps_its_deadline_on_a_disk_that_does_not_answer() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = Config::for_service("test", directory.path());
        let store = Store::open_with("http://127.0.0.1:9", config, never).expect("opened");
        let event = Event::new(
            EventCategory::Workflow,
            "workflow.started",
            EventOutcome::Success,
            "c",
        );
        store.store(event).expect("accepted");
        let closing = async {
            let report = store.close(Duration::from_millis(200)).await;
            let report = report.expect("a journal loses nothing");
            assert_eq!(report.journalled, 1);
            drop(store);
        };
        timeout(Duration::from_secs(30), closing)
            .await
            .expect("close and drop return while the disk hangs");
        DISK.set(()).expect("set once");
    }
}
