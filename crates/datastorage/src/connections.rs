//! The open connections of clients: so many and no more, and whose time is up when another one comes.
//!
//! A new client is not refused for one that does nothing: the connection that waits longest for its client is closed to make room,
//! first among those between two requests, then among those whose body is still arriving. One that the server works for stays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// What a connection waits for; the first gives way first.
const NEXT_REQUEST: u8 = 0;
const BODY: u8 = 1;
const SERVER: u8 = 2;

/// How often the log says again that there is no room.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// All open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    started: Instant,
    open: Mutex<Open>,
    closed: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: HashMap<u64, Arc<Client>>,
    said: Option<Instant>,
}

#[derive(Debug)]
struct Client {
    waits_for: AtomicU8,
    /// Milliseconds after the start at which it began to.
    since: AtomicU64,
    close: Arc<Notify>,
}

/// How many connections there are and were, for metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clients {
    /// Open now.
    pub(crate) open: usize,
    /// Closed to make room for others.
    pub(crate) closed: u64,
    /// Closed at once, since the server worked for all others.
    pub(crate) refused: u64,
}

/// An open connection; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    all: Arc<Connections>,
    number: u64,
    client: Arc<Client>,
}

/// A request's connection; in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Asking(Arc<Connection>);

impl Connections {
    /// For at most so many.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            started: Instant::now(),
            open: Mutex::default(),
            closed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Counts a new connection, and closes another for it if it is one too many; none where the server works for all of them.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Arc<Connection>> {
        let mut open = self.open();
        if open.by_number.len() >= self.most && !self.close_one(&mut open) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let number = open.next;
        open.next += 1;
        let client = Arc::new(Client {
            waits_for: AtomicU8::new(NEXT_REQUEST),
            since: AtomicU64::new(self.now()),
            close: Arc::default(),
        });
        open.by_number.insert(number, Arc::clone(&client));
        Some(Arc::new(Connection {
            all: Arc::clone(self),
            number,
            client,
        }))
    }

    /// The system has no room for another: one ends, if there is any that waits for its client.
    pub(crate) fn make_room(&self) {
        self.close_one(&mut self.open());
    }

    /// How many there are and were.
    pub(crate) fn clients(&self) -> Clients {
        Clients {
            open: self.open().by_number.len(),
            closed: self.closed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn close_one(&self, open: &mut Open) -> bool {
        let mut waiting = Vec::with_capacity(open.by_number.len());
        for (number, client) in &open.by_number {
            let waits_for = client.waits_for.load(Ordering::Relaxed);
            if waits_for != SERVER {
                waiting.push((waits_for, client.since.load(Ordering::Relaxed), *number));
            }
        }
        if open.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            open.said = Some(Instant::now());
            tracing::warn!(
                open = open.by_number.len(),
                "as many connections are open as there may be; the one that waits longest for its client is closed for each new one: see server.max_connections"
            );
        }
        let longest = waiting.into_iter().min();
        let client = longest.and_then(|(_, _, number)| open.by_number.remove(&number));
        if let Some(client) = &client {
            client.close.notify_one();
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        client.is_some()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Notified when the connection has to end.
    pub(crate) fn close(&self) -> Arc<Notify> {
        Arc::clone(&self.client.close)
    }

    /// A request begins, with a body or without.
    pub(crate) fn asked(self: &Arc<Self>, has_body: bool) -> Asking {
        self.waits_for(if has_body { BODY } else { SERVER });
        Asking(Arc::clone(self))
    }

    /// The request is answered.
    pub(crate) fn answered(&self) {
        self.waits_for(NEXT_REQUEST);
    }

    fn waits_for(&self, what: u8) {
        self.client.since.store(self.all.now(), Ordering::Relaxed);
        self.client.waits_for.store(what, Ordering::Relaxed);
    }
}

impl Asking {
    /// A part of the body came.
    pub(crate) fn body_moved(&self) {
        self.0.waits_for(BODY);
    }

    /// All of the body is there.
    pub(crate) fn body_read(&self) {
        self.0.waits_for(SERVER);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.open().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(connection: &Connection) -> bool {
        !connection
            .all
            .open()
            .by_number
            .contains_key(&connection.number)
    }

    #[test]
    fn the_one_that_waits_longest_for_its_client_makes_room_and_none_that_the_server_works_for() {
        let all = Connections::new(3);
        let three: Vec<_> = (0..3).map(|_| all.admit().expect("room")).collect();
        let _asking = three[0].asked(false);
        let arriving = three[1].asked(true);
        let fourth = all.admit().expect("the idle one makes room");
        assert!(closed(&three[2]) && !closed(&three[1]));
        let _working = fourth.asked(false);
        let fifth = all.admit().expect("the slow body makes room");
        assert!(closed(&three[1]));
        arriving.body_read();
        let _working = fifth.asked(false);
        assert!(all.admit().is_none(), "the server works for all three");
        let clients = all.clients();
        assert_eq!((clients.open, clients.closed, clients.refused), (3, 2, 1));
        fifth.answered();
        drop(all.admit().expect("what was answered makes room"));
        assert_eq!(all.clients().open, 2);
    }
}
