//! Group commit: requests that arrive while others are being committed share the next transaction.
//!
//! A request's events are stored or queued all together or not at all, whatever shares the group. Each request gets its
//! [`Outcome`] only after the commit, or after the queue's sync.

use std::sync::Arc;

use datastorage_api::{DatabaseErrorKind, NewEvent};
use tokio::sync::{mpsc, oneshot};

use crate::availability::Availability;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::outcome::{Doubt, Outcome};
use crate::queue::{Capacity, Pushed, Queue, Write};
use crate::store::{self, Inserted, Store, StoreError};

/// A group takes no further request once it has this many events.
const GROUP_EVENTS: usize = 2000;
/// Requests that may wait for a lane.
const WAITING_REQUESTS: usize = 4096;

/// Hands events to a lane; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Writer(mpsc::Sender<WriteRequest>);

#[derive(Debug)]
struct WriteRequest {
    events: Vec<NewEvent>,
    reply: oneshot::Sender<Outcome>,
}

impl Writer {
    /// The writer of a lane, and what does the lane's work: it ends when the last writer is dropped and all requests are answered.
    pub(crate) fn new(lane: CommitLane) -> (Self, impl Future<Output = ()> + use<>) {
        let (requests, receiver) = mpsc::channel(WAITING_REQUESTS);
        (Self(requests), lane.run(receiver))
    }

    /// Stores or queues the events, all or none. Bounded by the store's and the queue's own bounds.
    pub(crate) async fn write(&self, events: Vec<NewEvent>) -> Outcome {
        let (reply, answer) = oneshot::channel();
        if self.0.try_send(WriteRequest { events, reply }).is_err() {
            let reason = format!("{WAITING_REQUESTS} requests already wait to be written");
            return Outcome::Full(reason, Doubt::None);
        }
        // A lane that ends without an answer may have sent the commit.
        answer.await.unwrap_or_else(|_| {
            Outcome::Full("the server is stopping".to_owned(), Doubt::Committed)
        })
    }
}

/// Writes one group after the other. While one is under way the next arrives.
#[derive(Debug)]
pub(crate) struct CommitLane {
    /// The worker's number, from 0.
    pub(crate) worker: usize,
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) availability: Availability,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
}

impl CommitLane {
    async fn run(self, mut requests: mpsc::Receiver<WriteRequest>) {
        while let Some(first) = requests.recv().await {
            let mut group = OpenGroup::from(first);
            group.arriving = Some(&mut requests);
            self.write(group).await;
        }
    }

    async fn write(&self, mut group: OpenGroup<'_>) {
        if self.availability.is_away() {
            group.gather();
            return self.enqueue(group.requests, Doubt::None).await;
        }
        let inserted = self.insert(&mut group).await;
        let group = group.requests;
        match inserted {
            Ok(Inserted::All) => answer(group, &Outcome::Stored),
            Err(error) if error.is_away() => {
                self.availability.mark_away(&error);
                self.enqueue(group, Doubt::of(&error)).await;
            }
            // What the schema lacks it lacks for all; but a partition is missing for some dates only.
            Err(error)
                if error.is_schema() && error.kind != DatabaseErrorKind::PartitionMissing =>
            {
                answer(group, &Outcome::Refused(error));
            }
            Err(error) if error.is_transient() && group.len() == 1 => {
                self.enqueue(group, Doubt::None).await;
            }
            refused if group.len() == 1 => answer(group, &outcome(refused)),
            // One request spoils the group: each gets its own transaction and its own answer.
            _ => self.write_one_by_one(group).await,
        }
    }

    async fn write_one_by_one(&self, group: Vec<WriteRequest>) {
        for request in group {
            let mut alone = OpenGroup::from(request);
            // Those behind one that found the database away need not wait as long as it did.
            if self.availability.is_away() {
                self.enqueue(alone.requests, Doubt::None).await;
                continue;
            }
            match self.insert(&mut alone).await {
                Err(error) if error.is_away() => {
                    self.availability.mark_away(&error);
                    self.enqueue(alone.requests, Doubt::of(&error)).await;
                }
                Err(error) if error.is_transient() => {
                    self.enqueue(alone.requests, Doubt::None).await;
                }
                result => answer(alone.requests, &outcome(result)),
            }
        }
    }

    async fn insert(&self, group: &mut OpenGroup<'_>) -> Result<Inserted, StoreError> {
        let timer = self.metrics.write_timer();
        let lane = store::Lane::Worker(self.worker);
        let result = self.store.insert_events(lane, group).await;
        timer.done(result.is_ok());
        self.metrics.group(group.requests.len(), group.events());
        result
    }

    /// Puts the events into the queue. Those in doubt too: under their keys the drain stores what is not there yet.
    async fn enqueue(&self, group: Vec<WriteRequest>, doubt: Doubt) {
        let (requests, replies): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|request| {
                (
                    request
                        .events
                        .into_iter()
                        .map(Write::from)
                        .collect::<Vec<_>>(),
                    request.reply,
                )
            })
            .unzip();
        let counts: Vec<_> = requests.iter().map(Vec::len).collect();
        let outcomes = match self.queue.push(requests, self.clock.now()).await {
            Ok(pushed) => pushed
                .into_iter()
                .zip(counts)
                .map(|(pushed, events)| self.queued(pushed, events, doubt))
                .collect(),
            Err(error) => {
                let reason = format!("the database is away and the event was not queued: {error}");
                vec![Outcome::Full(reason, doubt); replies.len()]
            }
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            send(reply, outcome);
        }
    }

    fn queued(&self, pushed: Pushed, events: usize, doubt: Doubt) -> Outcome {
        match pushed {
            Pushed::Queued => {
                self.metrics.enqueued(events);
                Outcome::Queued
            }
            Pushed::Conflict(ids) => Outcome::Conflict(ids),
            Pushed::Full => {
                let Capacity { entries, bytes } = self.queue.capacity();
                let reason = format!(
                    "the database is away and the event was not queued: the queue is full ({entries} entries or {bytes} bytes)"
                );
                Outcome::Full(reason, doubt)
            }
        }
    }
}

/// Requests that share a transaction.
struct OpenGroup<'a> {
    requests: Vec<WriteRequest>,
    /// Where more come from until the transaction takes its rows; none for a request that is written alone.
    arriving: Option<&'a mut mpsc::Receiver<WriteRequest>>,
}

impl From<WriteRequest> for OpenGroup<'_> {
    fn from(request: WriteRequest) -> Self {
        Self {
            requests: vec![request],
            arriving: None,
        }
    }
}

impl OpenGroup<'_> {
    fn events(&self) -> usize {
        self.requests
            .iter()
            .map(|request| request.events.len())
            .sum()
    }

    /// Takes in what has arrived; nothing after that.
    fn gather(&mut self) {
        let Some(arriving) = self.arriving.take() else {
            return;
        };
        let mut events = self.events();
        while events < GROUP_EVENTS
            && let Ok(request) = arriving.try_recv()
        {
            events += request.events.len();
            self.requests.push(request);
        }
    }
}

impl store::Group for OpenGroup<'_> {
    fn close(&mut self) -> Vec<&NewEvent> {
        self.gather();
        self.requests
            .iter()
            .flat_map(|request| &request.events)
            .collect()
    }
}

fn outcome(result: Result<Inserted, StoreError>) -> Outcome {
    match result {
        Ok(Inserted::All) => Outcome::Stored,
        Ok(Inserted::Conflict(ids)) => Outcome::Conflict(ids),
        Err(error) => Outcome::Refused(error),
    }
}

fn answer(group: Vec<WriteRequest>, outcome: &Outcome) {
    for request in group {
        send(request.reply, outcome.clone());
    }
}

fn send(reply: oneshot::Sender<Outcome>, outcome: Outcome) {
    // The client may have gone; what was stored stays stored.
    if reply.send(outcome).is_err() {
        tracing::debug!("a client went before its answer");
    }
}
