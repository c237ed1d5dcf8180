//! Clients that write audit events all the time, and the account of what became of the acknowledged ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::events::{minimal, with};
use crate::{postgres, wait};

/// Between two tries of a request that was not acknowledged: a pace, since a server that is away answers at once.
const PACE: Duration = Duration::from_millis(5);
/// How often the account is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Clients that write until they are stopped, and the answers they got.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Correlation ids, which no two events share, by the status that acknowledged them.
    committed: Mutex<Vec<String>>,
    queued: Mutex<Vec<String>>,
    acknowledged: AtomicUsize,
}

/// What became of the acknowledged events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Events acknowledged by a 201.
    pub committed: usize,
    /// Events acknowledged by a 202.
    pub queued: usize,
    /// Events that a 201 acknowledged and the table does not hold.
    pub lost_committed: usize,
    /// The same by a 202.
    pub lost_queued: usize,
    /// Events that the table holds more than once, acknowledged or not.
    pub doubled: usize,
}

impl Load {
    /// Starts `clients` that send batches of the `sizes` in turn by `post`, which gives the status, none when there was no answer.
    /// Even clients give ids and repeat what got no answer; odd ones give none and do not.
    ///
    /// Panics in a client, and so in [`Load::settle`], for a status other than 201, 202 and 503.
    pub fn start<F>(
        clients: usize,
        sizes: &'static [usize],
        post: impl Fn(Vec<Value>) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Option<u16>> + Send,
    {
        let shared = Arc::new(Shared::default());
        let mut running = JoinSet::new();
        for number in 0..clients {
            let (shared, post) = (Arc::clone(&shared), post.clone());
            running.spawn(async move { client(number, sizes, &shared, post).await });
        }
        Self {
            shared,
            clients: running,
        }
    }

    /// Events acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Returns when so many more events are acknowledged.
    pub async fn more(&self, events: usize, deadline: Duration) {
        self.grown("acknowledged", events, deadline, || self.acknowledged())
            .await;
    }

    /// Returns when so many more events are acknowledged by a 202.
    pub async fn more_queued(&self, events: usize, deadline: Duration) {
        let queued = || lock(&self.shared.queued).len();
        self.grown("queued", events, deadline, queued).await;
    }

    async fn grown(&self, how: &str, events: usize, deadline: Duration, now: impl Fn() -> usize) {
        let goal = now() + events;
        let what = format!("{events} more events to be {how}");
        wait::until(&what, deadline, async || match now() {
            now if now >= goal => Ok(()),
            now => Err(format!("{now} of {goal}")),
        })
        .await;
    }

    /// Stops the clients and compares the answers they got with the table in the database of `url`. Events that are not there yet
    /// are waited for while more arrive, and for `patience` after the last one did.
    pub async fn settle(self, url: &str, patience: Duration) -> Account {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.clients.join_all().await;
        let committed = lock(&self.shared.committed).clone();
        let queued = lock(&self.shared.queued).clone();
        let mut last = (usize::MAX, Instant::now());
        loop {
            let stored = stored(url).await;
            let absent = |ids: &[String]| ids.iter().filter(|id| !stored.contains_key(*id)).count();
            let account = Account {
                committed: committed.len(),
                queued: queued.len(),
                lost_committed: absent(&committed),
                lost_queued: absent(&queued),
                doubled: stored.values().filter(|count| **count != 1).count(),
            };
            let missing = account.lost_committed + account.lost_queued;
            if missing < last.0 {
                last = (missing, Instant::now());
            }
            if missing == 0 || last.1.elapsed() > patience {
                return account;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn stored(url: &str) -> BTreeMap<String, i64> {
    let client = postgres::connect(url).await;
    let rows = client
        .query(
            "SELECT correlation_id, count(*) FROM audit_events GROUP BY 1",
            &[],
        )
        .await
        .expect("the table can be read");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn client<F>(number: usize, sizes: &[usize], shared: &Shared, post: impl Fn(Vec<Value>) -> F)
where
    F: Future<Output = Option<u16>>,
{
    let keyed = number.is_multiple_of(2);
    for (round, size) in sizes.iter().cycle().enumerate() {
        let ids: Vec<_> = (0..*size)
            .map(|part| format!("load-{number}-{round}-{part}"))
            .collect();
        let event = |id: &String| {
            let event = minimal("workflow.started", "workflow", "success", id);
            if keyed {
                with(event, json!({"event_id": uuid::Uuid::now_v7()}))
            } else {
                event
            }
        };
        let batch: Vec<_> = ids.iter().map(event).collect();
        loop {
            if shared.stop.load(Ordering::SeqCst) {
                return;
            }
            let acknowledged = match post(batch.clone()).await {
                Some(201) => &shared.committed,
                Some(202) => &shared.queued,
                // Whether it was stored is not known: only an event with an id may be sent again.
                None if !keyed => break,
                None | Some(503) if keyed => {
                    tokio::time::sleep(PACE).await;
                    continue;
                }
                Some(503) => {
                    tokio::time::sleep(PACE).await;
                    break;
                }
                status => panic!("client {number} got {status:?}"),
            };
            shared.acknowledged.fetch_add(ids.len(), Ordering::SeqCst);
            lock(acknowledged).extend(ids);
            break;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
