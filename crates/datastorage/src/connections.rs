//! The open connections of clients: so many and no more, and whose time is up when another one comes.
//!
//! A new client is not refused for one that does nothing: a connection that waits for its client is closed to make room. First those
//! whose body comes too slowly, then probes, which ask again, then those between two requests, then bodies that keep their pace; of
//! each the one that waits longest. One that the server works for stays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pace::Pace;

/// How far a body may fall behind its pace before its connection is the first to give way.
const GRACE: Duration = Duration::from_secs(1);
/// How often the log says again that there is no room.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// All open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
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
    state: Mutex<State>,
    close: Arc<Notify>,
}

/// What a connection waits for, and since when.
#[derive(Debug, Clone, Copy)]
enum State {
    NextRequest(Instant),
    /// The rest of a body, as fast as it comes.
    Body(Instant, Pace),
    /// The answer to a probe, which is asked again soon.
    Probe(Instant),
    Server,
}

impl State {
    /// Who gives way before whom: the least first; none for one that the server works for.
    fn rank(self, now: Instant) -> Option<(u8, Instant)> {
        match self {
            Self::Body(since, pace) if pace.slow_from() <= now => Some((0, since)),
            Self::Probe(since) => Some((1, since)),
            Self::NextRequest(since) => Some((2, since)),
            Self::Body(since, _) => Some((3, since)),
            Self::Server => None,
        }
    }
}

/// What a request has the server wait or work for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A body that is still to come.
    WithBody,
    /// One of the health checks.
    Probe,
    /// Anything else.
    Other,
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
            state: Mutex::new(State::NextRequest(Instant::now())),
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
        if open.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            open.said = Some(Instant::now());
            tracing::warn!(
                open = open.by_number.len(),
                "as many connections are open as there may be; the one that waits longest for its client is closed for each new one: see server.max_connections"
            );
        }
        let now = Instant::now();
        let waiting = open.by_number.iter().filter_map(|(number, client)| {
            let rank = client.state().rank(now)?;
            Some((rank, *number))
        });
        let first = waiting.min();
        let client = first.and_then(|(_, number)| open.by_number.remove(&number));
        if let Some(client) = &client {
            client.close.notify_one();
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        client.is_some()
    }

    /// Ends all that wait for their clients: a shutdown has no time for them.
    pub(crate) fn close_waiting(&self) {
        let now = Instant::now();
        for client in self.open().by_number.values() {
            if client.state().rank(now).is_some() {
                client.close.notify_one();
            }
        }
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

    /// A request begins.
    pub(crate) fn asked(self: &Arc<Self>, kind: Kind) -> Asking {
        let now = Instant::now();
        self.client.set(match kind {
            Kind::WithBody => State::Body(now, Pace::new(GRACE)),
            Kind::Probe => State::Probe(now),
            Kind::Other => State::Server,
        });
        Asking(Arc::clone(self))
    }

    /// The request is answered.
    pub(crate) fn answered(&self) {
        self.client.set(State::NextRequest(Instant::now()));
    }
}

impl Client {
    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

impl Asking {
    /// So many bytes of the body came.
    pub(crate) fn body_moved(&self, bytes: usize) {
        let state = &self.0.client.state;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Body(_, pace) = &mut *state {
            pace.moved(bytes);
        }
    }

    /// All of the body is there.
    pub(crate) fn body_read(&self) {
        self.0.client.set(State::Server);
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

    #[tokio::test(start_paused = true)]
    async fn the_one_that_waits_longest_for_its_client_makes_room_and_none_that_the_server_works_for()
     {
        let all = Connections::new(3);
        let three: Vec<_> = (0..3).map(|_| all.admit().expect("room")).collect();
        let _asking = three[0].asked(Kind::Other);
        let arriving = three[1].asked(Kind::WithBody);
        let fourth = all.admit().expect("the idle one makes room");
        assert!(closed(&three[2]) && !closed(&three[1]));
        let _working = fourth.asked(Kind::Other);
        let fifth = all.admit().expect("the body makes room");
        assert!(closed(&three[1]));
        arriving.body_read();
        let _working = fifth.asked(Kind::Other);
        assert!(all.admit().is_none(), "the server works for all three");
        let clients = all.clients();
        assert_eq!((clients.open, clients.closed, clients.refused), (3, 2, 1));
        fifth.answered();
        drop(all.admit().expect("what was answered makes room"));
        assert_eq!(all.clients().open, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_gives_way_before_a_client_between_two_requests_and_one_that_flows_after_it()
     {
        let all = Connections::new(3);
        let three: Vec<_> = (0..3).map(|_| all.admit().expect("room")).collect();
        let idle = &three[0];
        let (drips, flows) = (
            three[1].asked(Kind::WithBody),
            three[2].asked(Kind::WithBody),
        );
        for _ in 0..20 {
            tokio::time::advance(Duration::from_millis(100)).await;
            drips.body_moved(1);
            flows.body_moved(64 << 10);
        }
        let fourth = all.admit().expect("the one that drips makes room");
        assert!(closed(&three[1]) && !closed(idle) && !closed(&three[2]));
        let _probe = fourth.asked(Kind::Probe);
        let _fifth = all.admit().expect("the probe makes room");
        assert!(closed(&fourth) && !closed(idle));
        let _sixth = all.admit().expect("the idle one makes room");
        assert!(closed(idle) && !closed(&three[2]));
    }
}
