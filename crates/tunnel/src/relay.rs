//! The relay: takes transports, each of which begins or resumes a session, and opens the connections that a session asks for.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{Mutex as Turn, Semaphore, watch};
use tokio::time::timeout;

use crate::carry::carry;
use crate::handshake::{Hello, Id, Welcome, Wish};
use crate::hub::{Hub, Stream};
use crate::limits::Limits;
use crate::pump::pump;

/// Sessions at once: that of a local end, and those of its earlier lives that are not dropped yet.
const SESSIONS: usize = 8;
/// Transports at once, those included that have not said anything yet.
const TRANSPORTS: usize = 64;
/// How long a new transport has to say what it wants.
const HELLO: Duration = Duration::from_secs(5);
/// After a failed accept, as with no file descriptor left, before the next.
const PAUSE: Duration = Duration::from_millis(100);

/// A session, and the transport that it has.
#[derive(Debug)]
struct Entry {
    hub: Arc<Hub>,
    /// Counts its transports; the one that has it ends when there is another.
    latest: watch::Sender<u64>,
    /// Held by the transport that carries it.
    turn: Turn<()>,
}

/// Takes transports and keeps their sessions.
#[derive(Clone, Debug)]
pub struct Relay {
    limits: Limits,
    sessions: Arc<Mutex<HashMap<Id, Arc<Entry>>>>,
    transports: Arc<Semaphore>,
}

impl Relay {
    /// A relay without sessions.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            sessions: Arc::default(),
            transports: Arc::new(Semaphore::new(TRANSPORTS)),
        }
    }

    /// Takes the transports that come to this socket, until it is dropped.
    pub async fn serve(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((transport, _)) => {
                    // It is as good without, only slower.
                    transport.set_nodelay(true).ok();
                    let relay = self.clone();
                    tokio::spawn(async move { relay.take(transport).await });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Carries the session that a transport is for, until the transport is lost; the session then waits for another one.
    async fn take(&self, mut transport: impl AsyncRead + AsyncWrite + Unpin) {
        let Ok(_permit) = self.transports.try_acquire() else {
            return;
        };
        // What says nothing sensible is left alone: a probe of a port, or an end of another version.
        let Ok(Ok(hello)) = timeout(HELLO, Hello::read(&mut transport)).await else {
            return;
        };
        let found = match hello.wish {
            Wish::Probe => Err(Welcome::Accepted(0)),
            Wish::Begin => self.begun(hello.id).ok_or(Welcome::Full),
            Wish::Resume => self
                .sessions()
                .get(&hello.id)
                .cloned()
                .ok_or(Welcome::Unknown),
        };
        let entry = match found {
            Ok(entry) => entry,
            Err(answer) => {
                drop(timeout(HELLO, answer.write(&mut transport)).await);
                return;
            }
        };
        entry.latest.send_modify(|number| *number += 1);
        let mut latest = entry.latest.subscribe();
        let number = *latest.borrow_and_update();
        // That of before may still have the session; it is on its way out.
        let turn = entry.turn.lock().await;
        let answer = Welcome::Accepted(entry.hub.received());
        let answered = timeout(HELLO, answer.write(&mut transport)).await;
        if let Ok(Ok(())) = answered
            && entry.hub.attach(hello.received).is_ok()
        {
            tokio::select! {
                lost = carry(&entry.hub, transport, |stream, target| {
                    tokio::spawn(connect(stream, target, self.limits.connect));
                }) => drop(lost),
                _ = latest.wait_for(|latest| *latest != number) => {}
            }
        }
        drop(turn);
        let replaced = latest.wait_for(|latest| *latest != number);
        let away = hello.away.min(self.limits.away);
        if timeout(away, replaced).await.is_err() {
            self.drop_session(hello.id, &entry, number);
        }
    }

    /// The session of this name, made if it is not there; none if there are too many.
    fn begun(&self, id: Id) -> Option<Arc<Entry>> {
        let mut sessions = self.sessions();
        if let Some(entry) = sessions.get(&id) {
            return Some(Arc::clone(entry));
        }
        if sessions.len() >= SESSIONS {
            // One that has no transport is of a local end that is gone, as far as anybody knows.
            let idle = |entry: &Arc<Entry>| entry.turn.try_lock().is_ok();
            let old = sessions.iter().find(|(_, entry)| idle(entry));
            let old = old.map(|(id, _)| *id)?;
            if let Some(entry) = sessions.remove(&old) {
                entry.hub.end("the relay dropped the session for a new one");
            }
        }
        let entry = Arc::new(Entry {
            hub: Hub::new(self.limits, false),
            latest: watch::channel(0).0,
            turn: Turn::default(),
        });
        sessions.insert(id, Arc::clone(&entry));
        Some(entry)
    }

    fn drop_session(&self, id: Id, entry: &Arc<Entry>, number: u64) {
        let mut sessions = self.sessions();
        let same = sessions.get(&id).is_some_and(|it| Arc::ptr_eq(it, entry));
        if same && *entry.latest.borrow() == number {
            sessions.remove(&id);
            entry.hub.end("the local end was away for too long");
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<Id, Arc<Entry>>> {
        // A panic elsewhere leaves the map as it was last written.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to the target of a connection and moves its bytes; one that cannot be reached is reset with the reason.
async fn connect(stream: Stream, target: String, bound: Duration) {
    let connected = tokio::select! {
        connected = timeout(bound, TcpStream::connect(&target)) => connected,
        // Its client has gone meanwhile.
        () = stream.was_reset() => return,
    };
    match connected {
        Ok(Ok(socket)) => pump(stream, socket).await,
        Ok(Err(error)) => stream.reset(format!("{target}: {error}")),
        Err(_) => stream.reset(format!("{target} did not answer for {bound:?}")),
    }
}

/// Whether a relay answers at this address.
pub async fn is_ready(address: impl ToSocketAddrs) -> io::Result<()> {
    let probe = Hello {
        wish: Wish::Probe,
        id: [0; 16],
        received: 0,
        away: Duration::ZERO,
    };
    let ask = async {
        let mut transport = TcpStream::connect(address).await?;
        probe.exchange(&mut transport).await.map(drop)
    };
    timeout(HELLO, ask).await.unwrap_or_else(|_| {
        let what = format!("the relay did not answer for {HELLO:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    })
}
