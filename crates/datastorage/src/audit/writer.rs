//! Group commit: requests that arrive while others are being committed share the next transaction.
//!
//! A request's events are stored or queued all together or not at all, whatever shares the group. Each request gets its
//! [`Outcome`] only after the commit, or after the queue's sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datastorage_api::{DatabaseErrorKind, NewEvent};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::availability::Availability;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::queue::{Pushed, Queue, Write};
use crate::store::{Inserted, Store, StoreError};

/// Transactions at the same time.
pub(crate) const LANES: usize = 2;
/// Events or requests of which one suffices, waiting, for the second lane to take them. Fewer wait for the first: one larger
/// transaction costs less than two small ones side by side.
const WORTH_A_LANE: (usize, usize) = (64, 8);
/// A group takes no further request once it has this many events.
const GROUP_EVENTS: usize = 2000;
/// Requests that may wait for a lane.
const WAITING_REQUESTS: usize = 4096;

/// What became of one request.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Committed.
    Stored,
    /// In the synced queue; the database is away.
    Queued,
    /// Nothing stored: these ids are taken by events of another time on the same UTC date (D29).
    Clash(Vec<Uuid>),
    /// Nothing stored: the database refuses it.
    Refused(StoreError),
    /// Nothing stored: the database is away and the queue cannot take it; the reason.
    Full(String),
}

/// Hands events to the lanes; clones share them.
#[derive(Debug, Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
    second: mpsc::Sender<()>,
}

#[derive(Debug)]
struct Job {
    events: Vec<NewEvent>,
    reply: oneshot::Sender<Outcome>,
}

impl Writer {
    /// Starts the lanes; they end when the last writer is dropped and all jobs are answered.
    pub fn start(
        store: &Store,
        queue: &Queue,
        availability: &Availability,
        clock: &Clock,
        metrics: &Arc<Metrics>,
    ) -> (Self, JoinSet<()>) {
        let (jobs, receiver) = mpsc::channel(WAITING_REQUESTS);
        let (second, wanted) = mpsc::channel(1);
        let waiting = Arc::new(AtomicUsize::new(0));
        let lane = Lane {
            jobs: Arc::new(Mutex::new(receiver)),
            waiting: Arc::clone(&waiting),
            store: store.clone(),
            queue: queue.clone(),
            availability: availability.clone(),
            clock: clock.clone(),
            metrics: Arc::clone(metrics),
        };
        let mut lanes = JoinSet::new();
        lanes.spawn(lane.clone().run());
        lanes.spawn(lane.run_when(wanted));
        let writer = Self {
            jobs,
            waiting,
            second,
        };
        (writer, lanes)
    }

    /// Stores or queues the events, all or none. Bounded by the store's and the queue's own bounds.
    pub async fn write(&self, events: Vec<NewEvent>) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let own = events.len();
        let waiting = self.waiting.fetch_add(own, Ordering::Relaxed) + own;
        if self.jobs.try_send(Job { events, reply }).is_err() {
            self.waiting.fetch_sub(own, Ordering::Relaxed);
            return Outcome::Full(format!(
                "{WAITING_REQUESTS} requests already wait to be written"
            ));
        }
        if worth_a_lane(waiting, WAITING_REQUESTS - self.jobs.capacity()) {
            // A full channel: the second lane has been told already.
            self.second.try_send(()).ok();
        }
        answer
            .await
            .unwrap_or_else(|_| Outcome::Full("the server is stopping".to_owned()))
    }
}

fn worth_a_lane(events: usize, requests: usize) -> bool {
    events >= WORTH_A_LANE.0 || requests >= WORTH_A_LANE.1
}

#[derive(Clone)]
struct Lane {
    jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
    /// Events among the jobs that no lane has taken.
    waiting: Arc<AtomicUsize>,
    store: Store,
    queue: Queue,
    availability: Availability,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Lane {
    async fn run(self) {
        while let Some(group) = self.next_group().await {
            self.write(group).await;
        }
    }

    /// Takes a group whenever it is told to and enough waits.
    async fn run_when(self, mut wanted: mpsc::Receiver<()>) {
        while wanted.recv().await.is_some() {
            let mut jobs = self.jobs.lock().await;
            if !worth_a_lane(self.waiting.load(Ordering::Relaxed), jobs.len()) {
                continue;
            }
            let group = self.take(Vec::new(), &mut jobs);
            drop(jobs);
            if !group.is_empty() {
                self.write(group).await;
            }
        }
    }

    /// Waits for a job and takes with it what else is there.
    async fn next_group(&self) -> Option<Vec<Job>> {
        let mut jobs = self.jobs.lock().await;
        let first = jobs.recv().await?;
        // Whoever is about to hand in a job gets to run first: fewer and larger transactions for no waiting.
        tokio::task::yield_now().await;
        Some(self.take(vec![first], &mut jobs))
    }

    fn take(&self, mut group: Vec<Job>, jobs: &mut mpsc::Receiver<Job>) -> Vec<Job> {
        let mut events = group.iter().map(|job| job.events.len()).sum();
        while events < GROUP_EVENTS {
            let Ok(job) = jobs.try_recv() else { break };
            events += job.events.len();
            group.push(job);
        }
        self.waiting.fetch_sub(events, Ordering::Relaxed);
        group
    }

    async fn write(&self, group: Vec<Job>) {
        if self.availability.is_away() {
            return self.enqueue(group).await;
        }
        match self.insert(&group).await {
            Ok(Inserted::All) => answer(group, &Outcome::Stored),
            Err(error) if error.is_away() => {
                self.availability.is_gone(&error);
                self.enqueue(group).await;
            }
            // What the schema lacks it lacks for all; but a partition is missing for some dates only.
            Err(error)
                if error.is_schema() && error.kind != DatabaseErrorKind::PartitionMissing =>
            {
                answer(group, &Outcome::Refused(error));
            }
            refused if group.len() == 1 => answer(group, &outcome(refused)),
            // One request spoils the group: each gets its own transaction and its own answer.
            _ => self.write_one_by_one(group).await,
        }
    }

    async fn write_one_by_one(&self, group: Vec<Job>) {
        for job in group {
            let job = vec![job];
            match self.insert(&job).await {
                Err(error) if error.is_away() => self.enqueue(job).await,
                result => answer(job, &outcome(result)),
            }
        }
    }

    async fn insert(&self, group: &[Job]) -> Result<Inserted, StoreError> {
        let events: Vec<_> = group.iter().flat_map(|job| &job.events).collect();
        self.metrics.group(group.len(), events.len());
        let timer = self.metrics.write_timer();
        let result = self.store.insert_events(&events).await;
        timer.done(result.is_ok());
        result
    }

    async fn enqueue(&self, group: Vec<Job>) {
        let (requests, replies): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|job| {
                (
                    job.events.into_iter().map(Write::from).collect::<Vec<_>>(),
                    job.reply,
                )
            })
            .unzip();
        let counts: Vec<_> = requests.iter().map(Vec::len).collect();
        let outcomes = match self.queue.push(requests, self.clock.now()).await {
            Ok(pushed) => pushed
                .into_iter()
                .zip(counts)
                .map(|(pushed, events)| self.queued(pushed, events))
                .collect(),
            Err(error) => vec![Outcome::Full(error.to_string()); replies.len()],
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            tell(reply, outcome);
        }
    }

    fn queued(&self, pushed: Pushed, events: usize) -> Outcome {
        match pushed {
            Pushed::Queued => {
                self.metrics.enqueued(events);
                Outcome::Queued
            }
            Pushed::Clash(ids) => Outcome::Clash(ids),
            Pushed::Full => {
                let (entries, bytes) = self.queue.limits();
                Outcome::Full(format!(
                    "the queue is full ({entries} entries or {bytes} bytes)"
                ))
            }
        }
    }
}

fn outcome(result: Result<Inserted, StoreError>) -> Outcome {
    match result {
        Ok(Inserted::All) => Outcome::Stored,
        Ok(Inserted::Clash(ids)) => Outcome::Clash(ids),
        Err(error) => Outcome::Refused(error),
    }
}

fn answer(group: Vec<Job>, outcome: &Outcome) {
    for job in group {
        tell(job.reply, outcome.clone());
    }
}

fn tell(reply: oneshot::Sender<Outcome>, outcome: Outcome) {
    // The client may have gone; what was stored stays stored.
    if reply.send(outcome).is_err() {
        tracing::debug!("a client went before its answer");
    }
}
