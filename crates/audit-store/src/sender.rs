//! The sender: reads the backlog in order, one batch on its way at a time, and retries until it is stored.

use std::{
    io,
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use datastorage_api::time;
use datastorage_client::{Client, Error, Written};
use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use serde_json::value::RawValue;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    Config,
    batch::{Batch, BatchBuilder, event_timestamp},
    config::Backoff,
    journal::{
        self, Left, Position,
        cursor::Cursor,
        reader::{Reader, Step},
    },
    metrics::{Metrics, Snapshot},
    parked::{ParkedEvent, Parking},
    recovery,
    shared::{Queue, Shared},
};

/// The reading side of a journal.
#[derive(Debug)]
pub(crate) struct JournalSide {
    pub(crate) reader: Reader,
    pub(crate) cursor: Cursor,
    pub(crate) parking: Parking,
    /// What is to be counted before anything is sent.
    pub(crate) left: Option<Left>,
}

/// Sends what is accepted.
pub(crate) struct Sender {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: Client,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    /// None for a memory-only store.
    pub(crate) journal: Option<JournalSide>,
    /// When the oldest waiting event was accepted, as far as the sender knows.
    pub(crate) oldest_us: Option<u64>,
}

/// Longest time that an event whose time is ahead, and all behind it, wait for that time to come.
const WORTH_WAITING: SignedDuration = SignedDuration::from_hours(24);

/// What became of one request.
enum Outcome {
    Stored,
    /// Data Storage holds it in its queue (D28); it is sent again until it is committed.
    Queued,
    /// The events are at fault: another try cannot succeed.
    Rejected(Error),
    /// Anything else may pass.
    Failed(Error),
}

/// Which events to send.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    /// Whole batches.
    Whole,
    /// All that is accepted by now.
    All,
}

impl Sender {
    /// Sends until the store stops.
    pub(crate) async fn run(mut self) {
        let mut stopping = self.shared.stopping.subscribe();
        let mut tick = interval(self.config.flush_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.shared);
        if let Some(left) = self.journal.as_mut().and_then(|side| side.left.take()) {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => {}
                oldest_us = recovery::count(&shared, left) => self.oldest_us = oldest_us,
            }
            self.publish();
        }
        loop {
            let extent = tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => break,
                () = shared.urgent.notified() => Extent::All,
                () = shared.full.notified() => Extent::Whole,
                _ = tick.tick() => Extent::All,
            };
            // Cutting a request short is harmless: what it carried is not settled, and is sent again by the next start.
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => break,
                () = self.send(extent) => {}
            }
            self.publish();
        }
        self.publish();
    }

    async fn send(&mut self, extent: Extent) {
        let target = self.shared.lock().accepted;
        while let Some(accepted) = self.due(extent, target) {
            match self.read() {
                // At the end of the store the journal is closed under the sender's feet.
                Ok(batch) if batch.len() == 0 && self.shared.is_stopped() => return,
                Ok(batch) if batch.len() == 0 => self.write_off(accepted),
                Ok(batch) => self.deliver(&batch).await,
                Err(error) => {
                    tracing::error!(%error, "cannot read the audit journal; its events stay there and are tried again");
                    return;
                }
            }
            self.publish();
        }
    }

    /// Returns how many events are accepted by now, if there is something to send.
    fn due(&self, extent: Extent, target: u64) -> Option<u64> {
        let backlog = self.shared.lock();
        let wanted = self.shared.wanted.load(Ordering::Relaxed);
        let due = match extent {
            _ if backlog.settled < wanted => true,
            Extent::Whole => backlog.waiting() >= self.config.batch_size as u64,
            Extent::All => backlog.settled < target,
        };
        due.then_some(backlog.accepted)
    }

    /// Gives up what cannot be read though it was accepted: the disk, or someone, damaged the journal meanwhile.
    fn write_off(&mut self, accepted: u64) {
        let mut backlog = self.shared.lock();
        let lost = accepted.saturating_sub(backlog.settled);
        backlog.settled += lost;
        drop(backlog);
        tracing::error!(
            events = lost,
            "AUDIT DATA LOSS: accepted events cannot be read back from the journal; what is left of its damaged files is kept"
        );
        self.shared
            .progress
            .send_modify(|report| report.lost += lost);
    }

    fn read(&mut self) -> io::Result<Batch> {
        let mut batch = BatchBuilder::new(self.config.batch_size);
        match &mut self.journal {
            Some(side) => read_journal(&self.shared, &mut side.reader, &mut batch)?,
            None => {
                if let Queue::Memory(memory) = &self.shared.lock().queue {
                    memory.read(&mut batch);
                }
            }
        }
        Ok(batch.build())
    }

    /// Delivers a batch: a refused part is halved until the bad event is alone, parts stay in order.
    async fn deliver(&mut self, batch: &Batch) {
        let whole = 0..batch.len();
        let mut parts = vec![whole];
        let mut attempt = 0;
        while let Some(part) = parts.pop() {
            self.oldest_us = Some(batch.accepted_us(part.start));
            let failed = match self.request(batch, part.clone()).await {
                Outcome::Stored => {
                    self.settle(batch, &part, |report| report.stored += part.len() as u64);
                    None
                }
                Outcome::Rejected(_) if part.len() > 1 => {
                    let middle = part.start + part.len() / 2;
                    parts.extend([middle..part.end, part.start..middle]);
                    None
                }
                Outcome::Rejected(error) => self.park(batch, &part, error).err(),
                Outcome::Queued => {
                    self.shared
                        .progress
                        .send_modify(|report| report.queued = part.len() as u64);
                    Some(None)
                }
                Outcome::Failed(error) => Some(Some(error)),
            };
            match failed {
                None => attempt = 0,
                Some(error) => {
                    parts.push(part);
                    attempt += 1;
                    self.back_off(attempt, error).await;
                }
            }
        }
        self.oldest_us = None;
    }

    async fn request(&self, batch: &Batch, part: Range<usize>) -> Outcome {
        let started = Instant::now();
        let events = part.len();
        let answer = self
            .client
            .create_audit_events_batch_json(
                batch.body(part.clone()),
                &batch.event_ids(part.clone()),
            )
            .await;
        self.metrics.request(started.elapsed());
        match answer {
            Ok(Written::Committed(_)) => Outcome::Stored,
            Ok(Written::Queued(_)) => Outcome::Queued,
            Err(error) if is_verdict(&error, events) => {
                if events == 1 && passes_with_time(&error, batch.event(part.start)) {
                    Outcome::Failed(error)
                } else {
                    Outcome::Rejected(error)
                }
            }
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Moves the cursor behind `part`.
    fn settle(
        &mut self,
        batch: &Batch,
        part: &Range<usize>,
        count: impl FnOnce(&mut crate::Report),
    ) {
        let after = batch.after(part.end - 1);
        if let (Some(side), Some(after)) = (&self.journal, after)
            && let Err(error) = side.cursor.store(after)
        {
            // An old cursor costs a repeat after a restart, which Data Storage recognises (D29).
            tracing::warn!(%error, "cannot move the audit journal's cursor");
        }
        let mut backlog = self.shared.lock();
        backlog.settled += part.len() as u64;
        let files = match (&mut backlog.queue, after) {
            (Queue::Journal(journal), Some(after)) => journal.settle(after),
            (Queue::Memory(memory), _) => {
                memory.settle(part.len());
                Vec::new()
            }
            _ => Vec::new(),
        };
        drop(backlog);
        journal::remove(&files);
        self.shared.progress.send_modify(|report| {
            report.queued = 0;
            if report.blocked_by.take().is_some() {
                tracing::info!("Data Storage takes audit events again");
            }
            count(report);
        });
    }

    /// Puts one refused event aside, so that those behind it are stored. A memory-only store has no place for it.
    fn park(
        &mut self,
        batch: &Batch,
        part: &Range<usize>,
        error: Error,
    ) -> Result<(), Option<Error>> {
        tracing::error!(%error, "Data Storage refuses an audit event for good");
        if let Some(side) = &mut self.journal {
            let parked = ParkedEvent {
                parked_at: Timestamp::now(),
                reason: error.to_string(),
                problem: error.problem().map(|problem| problem.details.clone()),
                event: as_json(batch.event(part.start)),
            };
            if let Err(cause) = side.parking.park(&parked) {
                tracing::error!(error = %cause, "cannot put a refused audit event aside; the events behind it wait");
                return Err(Some(error));
            }
            let too_old = error
                .problem()
                .is_some_and(|problem| problem.details.is_only_of_time(time::TOO_OLD));
            self.settle(batch, part, |report| {
                report.parked += 1;
                report.too_old += u64::from(too_old);
            });
        } else {
            self.settle(batch, part, |report| report.lost += 1);
        }
        Ok(())
    }

    /// Waits before the next attempt; a flush or close cuts the wait short.
    async fn back_off(&self, attempt: u32, error: Option<Error>) {
        let asked = error
            .as_ref()
            .and_then(|error| error.problem()?.retry_after);
        let pause = pause(self.config.backoff, attempt, asked);
        if let Some(error) = error {
            self.shared.failed_requests.fetch_add(1, Ordering::Relaxed);
            if attempt == 1 {
                tracing::warn!(%error, "Data Storage does not take audit events; they wait and are sent again");
            }
            self.shared
                .progress
                .send_modify(|report| report.blocked_by = Some(Arc::new(error)));
        }
        self.publish();
        tokio::select! {
            () = sleep(pause) => {}
            () = self.shared.urgent.notified() => {}
        }
    }

    fn publish(&self) {
        let mut backlog = self.shared.lock();
        let accepted = backlog.accepted;
        let waiting = backlog.waiting();
        let journal_bytes = backlog.journal().map(|journal| journal.bytes());
        drop(backlog);
        let report = crate::Report {
            journalled: waiting,
            ..self.shared.progress.borrow().clone()
        };
        self.metrics.publish(&Snapshot {
            accepted,
            refused: self.shared.refused.load(Ordering::Relaxed),
            failed_requests: self.shared.failed_requests.load(Ordering::Relaxed),
            journal_bytes,
            oldest_us: self.oldest_us.filter(|_| waiting > 0),
            report,
        });
    }
}

/// Whether the answer judges the events, so that sending them again unchanged cannot help.
///
/// Other client errors, such as 401, 403, 404 or 429, are about who calls, an address, a permission or a rate, which someone can put right while the events wait; so does
/// a 400 without a problem document, which Data Storage never sends. A proxy's limit on the body, though, is one that halving gets under; one event alone waits.
fn is_verdict(error: &Error, events: usize) -> bool {
    match error.problem() {
        Some(problem) => matches!(problem.status, 400 | 409 | 413 | 422),
        None => error.status() == Some(413) && events > 1,
    }
}

/// Whether the event is refused for nothing but a time ahead of the server's clock, and that time comes soon enough to be waited for, as its
/// place in the order wants. Otherwise one event of a clock that was a year ahead would hold up all that come after it.
fn passes_with_time(error: &Error, event: &[u8]) -> bool {
    let ahead = error
        .problem()
        .is_some_and(|problem| problem.details.is_only_of_time(time::AHEAD));
    ahead && event_timestamp(event).is_some_and(|at| at <= Timestamp::now() + WORTH_WAITING)
}

/// Returns the time before attempt `attempt + 1`, at least what the server asked for.
fn pause(backoff: Backoff, attempt: u32, asked: Option<Duration>) -> Duration {
    let doubled = backoff
        .first
        .saturating_mul(1 << attempt.saturating_sub(1).min(20))
        .min(backoff.longest);
    let jittered = doubled.mul_f64(rand::rng().random_range(0.5..=1.0));
    jittered.max(asked.unwrap_or_default().min(backoff.longest))
}

fn read_journal(shared: &Shared, reader: &mut Reader, batch: &mut BatchBuilder) -> io::Result<()> {
    let extent = |segment| {
        let mut backlog = shared.lock();
        backlog
            .journal()
            .map_or(journal::reader::Extent { end: 0, next: None }, |journal| {
                journal.extent(segment)
            })
    };
    loop {
        let before: Position = reader.position();
        let step = match reader.peek(extent) {
            // What was read before the error is sent; the reader is behind it.
            Err(_) if !batch.is_empty() => return Ok(()),
            step => step?,
        };
        match step {
            Step::Frame {
                accepted_us,
                payload,
            } => {
                if !batch.has_room(payload.len()) {
                    return Ok(());
                }
                reader.advance(&payload);
                batch.push(
                    accepted_us,
                    reader.payload(payload),
                    Some(reader.position()),
                );
            }
            Step::Damage(damage) => {
                if let Some(journal) = shared.lock().journal() {
                    journal.note_damage(damage);
                }
            }
            Step::End => return Ok(()),
        }
        debug_assert!(reader.position() > before, "reading goes forward");
    }
}

fn as_json(event: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(event).into_owned();
    RawValue::from_string(text).unwrap_or_default()
}

/// Watches for the end of a thread: every sender of the channel is gone.
pub(crate) async fn ended(mut alive: watch::Receiver<()>) {
    while alive.changed().await.is_ok() {}
}
