//! Writes what is queued to the database, in order, when the database is back.

use std::time::Duration;

use datastorage_api::{DatabaseErrorKind, NewEvent, NotificationAudit};
use tokio::sync::watch;

use super::disk::Note;
use super::entry::{Entry, Write};
use super::group::GroupLimit;
use super::handle::{Queue, QueueUnavailable};
use crate::availability::Availability;
use crate::clock::Clock;
use crate::store::{Inserted, Lane, Recorded, Store, StoreError};

/// How often the queue is looked at when nobody says that something was pushed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Waits after a failure grow from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Why an event is parked that the database did not refuse itself.
const EVENT_TAKEN: &str = "the event_id is taken by an event of the same UTC date with another timestamp or other content";
/// The same for a notification record.
const NOTIFICATION_TAKEN: &str = "the notification_id is taken by another record";

/// The task that empties the queue.
#[derive(Debug)]
pub(crate) struct Drain {
    /// What it empties.
    pub(crate) queue: Queue,
    /// Where to.
    pub(crate) store: Store,
    /// Whether the database is there; this task finds out when it is back.
    pub(crate) availability: Availability,
    /// Dates parked entries.
    pub(crate) clock: Clock,
}

/// Why a group could not be written now.
enum Stop {
    Store(StoreError),
    /// The queue has said so itself.
    Queue,
}

impl From<QueueUnavailable> for Stop {
    fn from(_: QueueUnavailable) -> Self {
        Self::Queue
    }
}

impl Drain {
    /// Runs until `stop` turns true; an entry is removed only after its commit.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut wait = BACKOFF.0;
        let mut limit = GroupLimit::FULL;
        loop {
            let written = self.step(&mut limit).await;
            if written.is_ok() {
                wait = BACKOFF.0;
                self.queue.stalls().clear();
            }
            let pause = match written {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK_EVERY,
                Err(stopped) => {
                    self.report(&stopped).await;
                    wait = (wait * 2).min(BACKOFF.1);
                    wait
                }
            };
            let idle = pause == LOOK_EVERY && !self.availability.is_away();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.queue.pushed(), if idle => {}
                () = self.availability.changed_to_away(), if idle => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Writes one group within `limit`, which it halves after a timeout; false when there is nothing to do.
    async fn step(&self, limit: &mut GroupLimit) -> Result<bool, Stop> {
        if self.availability.is_away() {
            self.store.ping().await.map_err(Stop::Store)?;
            self.availability.mark_available();
        }
        let oldest = self.queue.oldest(*limit).await?;
        for (number, error) in &oldest.unreadable {
            tracing::error!(number, %error, "a queued write cannot be read and is parked as it is; see GET /api/v1/queue/parked");
            self.queue.count_unreadable();
            self.park(*number, error.to_string(), None).await?;
        }
        let entries = oldest.entries;
        if entries.is_empty() {
            if oldest.unreadable.is_empty() {
                self.queue.shrink().await;
            }
            return Ok(!oldest.unreadable.is_empty());
        }
        let numbers: Vec<_> = entries.iter().map(|(number, _)| *number).collect();
        let result = self.write(entries).await;
        match &result {
            Ok(()) => limit.grow(),
            Err(Stop::Store(error)) if error.kind == DatabaseErrorKind::Timeout => {
                if let [alone] = numbers[..] {
                    // It cannot get smaller; those behind it can pass.
                    self.queue.defer(vec![alone]).await?;
                }
                limit.halve(numbers.len());
            }
            Err(_) => {}
        }
        result.map(|()| true)
    }

    async fn write(&self, entries: Vec<(u64, Entry)>) -> Result<(), Stop> {
        let (mut events, mut notifications) = (Vec::new(), Vec::new());
        for (number, entry) in entries {
            match entry.write {
                Write::AuditEvent(event) => events.push((number, event)),
                Write::Notification(record) => notifications.push((number, record)),
            }
        }
        self.write_events(&events).await?;
        self.write_notifications(notifications).await
    }

    /// Writes the events; halves a group that is refused until the event at fault is alone. One that is refused for good is
    /// parked; one that may succeed later goes behind the others, if any of these is stored meanwhile.
    async fn write_events(&self, events: &[(u64, NewEvent)]) -> Result<(), Stop> {
        let mut todo = vec![events];
        let mut deferred: Option<(u64, StoreError)> = None;
        let mut stored = false;
        while let Some(group) = todo.pop().filter(|group| !group.is_empty()) {
            let events: Vec<&NewEvent> = group.iter().map(|(_, event)| event).collect();
            match self.insert(&events).await {
                Ok(Inserted::All) => {
                    let numbers = group.iter().map(|(number, _)| *number).collect();
                    self.queue.remove(numbers).await?;
                    stored = true;
                }
                Err(error) if waits(&error) => return Err(Stop::Store(error)),
                refused => {
                    if let [(number, _)] = group {
                        match refused {
                            // Two in a row: it is not the events.
                            Err(error) if error.is_transient() && deferred.is_some() => {
                                return Err(Stop::Store(error));
                            }
                            Err(error) if error.is_transient() => deferred = Some((*number, error)),
                            Err(error) => {
                                self.refuse(*number, error.message, error.sqlstate).await?;
                            }
                            Ok(_) => self.refuse(*number, EVENT_TAKEN.to_owned(), None).await?,
                        }
                    } else {
                        let (first, second) = group.split_at(group.len() / 2);
                        todo.extend([second, first]);
                    }
                }
            }
        }
        match deferred {
            None => Ok(()),
            Some((number, error)) => {
                if stored {
                    self.queue.defer(vec![number]).await?;
                }
                Err(Stop::Store(error))
            }
        }
    }

    /// Writes notification records, which are few, one by one.
    async fn write_notifications(
        &self,
        notifications: Vec<(u64, NotificationAudit)>,
    ) -> Result<(), Stop> {
        for (number, record) in notifications {
            match self.store.insert_notification(&record).await {
                Ok(Recorded::New(_) | Recorded::Repeat) => self.queue.remove(vec![number]).await?,
                Ok(Recorded::Taken) => {
                    self.refuse(number, NOTIFICATION_TAKEN.to_owned(), None)
                        .await?;
                }
                Err(error) if waits(&error) || error.is_transient() => {
                    return Err(Stop::Store(error));
                }
                Err(error) => self.refuse(number, error.message, error.sqlstate).await?,
            }
        }
        Ok(())
    }

    /// Inserts; a missing partition is created once where it may be.
    async fn insert(&self, mut events: &[&NewEvent]) -> Result<Inserted, StoreError> {
        match self.store.insert_events(Lane::Drain, &mut events).await {
            Err(error) if error.kind == DatabaseErrorKind::PartitionMissing => {
                if let Err(error) = self.store.ensure_partitions(self.clock.now()).await {
                    tracing::warn!(%error, "partitions cannot be created");
                }
                self.store.insert_events(Lane::Drain, &mut events).await
            }
            result => result,
        }
    }

    async fn refuse(
        &self,
        number: u64,
        reason: String,
        sqlstate: Option<String>,
    ) -> Result<(), QueueUnavailable> {
        tracing::error!(
            number,
            reason,
            sqlstate,
            "a queued write is refused and parked; see GET /api/v1/queue/parked"
        );
        self.park(number, reason, sqlstate).await
    }

    async fn park(
        &self,
        number: u64,
        reason: String,
        sqlstate: Option<String>,
    ) -> Result<(), QueueUnavailable> {
        let note = Note {
            at: self.clock.now(),
            reason,
            sqlstate,
        };
        self.queue.park(number, note).await
    }

    async fn report(&self, stopped: &Stop) {
        let error = match stopped {
            Stop::Store(error) => error,
            Stop::Queue => return,
        };
        if error.is_away() {
            self.availability.mark_away(error);
        }
        if self
            .queue
            .depth()
            .await
            .is_ok_and(|depth| depth.pending == 0)
        {
            return self.queue.stalls().clear();
        }
        let sqlstate = error.sqlstate.as_deref().unwrap_or("none");
        let reason = format!("{error} (relation {}, SQLSTATE {sqlstate})", error.relation);
        // What one event meets is said, and is no reason to call the instance unready.
        self.queue.stalls().note(&reason, !error.is_transient());
    }
}

/// Whether the write can succeed as it is once the database or its schema is there.
fn waits(error: &StoreError) -> bool {
    error.is_away() || (error.is_schema() && error.kind != DatabaseErrorKind::PartitionMissing)
}
