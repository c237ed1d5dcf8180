//! The local end: takes connections on this machine, and keeps the session over whatever transport it can get.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::carry::carry;
use crate::handshake::{Hello, Id, Welcome, Wish};
use crate::hub::Hub;
use crate::limits::Limits;
use crate::pump::pump;

/// The first pause after an attempt that failed; each further one is twice as long, up to the limit.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long the relay has to answer on a new transport.
const WELCOME: Duration = Duration::from_secs(5);

/// What happens to the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has its first transport.
    Connected,
    /// It has lost its transport.
    Lost {
        /// Why.
        why: String,
    },
    /// There was none to get. Told once for each reason.
    Failed {
        /// Why.
        why: String,
    },
    /// It goes on.
    Resumed {
        /// How long it was away.
        away: Duration,
    },
    /// It is over, and its connections were reset; another begins.
    Dropped {
        /// Why.
        why: String,
        /// How long there has been no transport.
        away: Duration,
    },
}

/// Why there is no transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct DialError {
    /// In words.
    pub why: String,
    /// Whether the relay itself is gone for good, and the session with it.
    pub is_gone: bool,
}

impl DialError {
    /// One after which another attempt may succeed.
    pub fn new(why: impl fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            is_gone: false,
        }
    }
}

/// The present session, which those who take connections share with the one who keeps it.
type Present = Arc<Mutex<Arc<Hub>>>;

fn present(hub: &Present) -> MutexGuard<'_, Arc<Hub>> {
    hub.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The local end of sessions; dropped, it closes everything.
#[derive(Debug)]
pub struct Local {
    hub: Present,
    task: JoinHandle<()>,
}

/// A port that is forwarded; dropped, it is closed, and its connections with it.
#[derive(Debug)]
pub struct Forward(JoinHandle<()>);

impl Drop for Forward {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.task.abort();
        present(&self.hub).end("the local end was closed");
    }
}

impl Local {
    /// Begins a session on the current runtime: gets transports by `dial`, one after the other, and tells `report` what happens.
    pub fn start<D, T>(
        limits: Limits,
        dial: D,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self
    where
        D: AsyncDial<T>,
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let hub = Arc::new(Mutex::new(Hub::new(limits, true)));
        let keeper = Keeper {
            hub: Arc::clone(&hub),
            limits,
            report,
            id: rand::random(),
            is_known: false,
            away: Some(Instant::now()),
        };
        let task = tokio::spawn(keeper.keep(dial));
        Self { hub, task }
    }

    /// Forwards the connections that come to this socket to `host:port`, as the relay knows it. While there is no transport they wait.
    pub fn forward(&self, listener: TcpListener, target: impl Into<String>) -> Forward {
        let (hub, target) = (Arc::clone(&self.hub), Arc::<str>::from(target.into()));
        Forward(tokio::spawn(async move {
            // Dropped with this task, and the connections with it.
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                let Ok((socket, _)) = listener.accept().await else {
                    // As with no file descriptor left.
                    tokio::time::sleep(FIRST_PAUSE).await;
                    continue;
                };
                let hub = Arc::clone(&present(&hub));
                // Here, so that no more wait than the system itself lets wait for a program that is slow to accept.
                match hub.open(&target).await {
                    Some(stream) => {
                        connections.spawn(pump(stream, socket));
                    }
                    None => reset(&socket),
                }
            }
        }))
    }
}

fn reset(socket: &TcpStream) {
    // Without it the connection is closed all the same.
    socket.set_zero_linger().ok();
}

/// Gives transports: an async closure, or what else makes one.
pub trait AsyncDial<T>: Send + 'static {
    /// The next transport.
    fn dial(&mut self) -> impl Future<Output = Result<T, DialError>> + Send;
}

impl<F, R, T> AsyncDial<T> for F
where
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = Result<T, DialError>> + Send,
{
    fn dial(&mut self) -> impl Future<Output = Result<T, DialError>> + Send {
        self()
    }
}

/// Keeps a session after the other.
struct Keeper<R> {
    hub: Present,
    limits: Limits,
    report: R,
    id: Id,
    /// Whether the relay has welcomed the session.
    is_known: bool,
    /// Since when there is no transport.
    away: Option<Instant>,
}

impl<R: Fn(Event) + Send + Sync> Keeper<R> {
    async fn keep<D, T>(mut self, mut dial: D)
    where
        D: AsyncDial<T>,
        T: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let (mut pause, mut told) = (FIRST_PAUSE, None);
        loop {
            let failed = match self.attach(&mut dial).await {
                Ok(transport) => {
                    (pause, told) = (FIRST_PAUSE, None);
                    self.has_transport();
                    let hub = Arc::clone(&present(&self.hub));
                    // The relay opens nothing.
                    let lost = carry(&hub, transport, |_, _| {}).await;
                    self.away = Some(Instant::now());
                    (self.report)(Event::Lost {
                        why: lost.to_string(),
                    });
                    continue;
                }
                Err(failed) => failed,
            };
            let why = failed.why.clone();
            let (away, bound) = (self.is_away(), self.limits.away);
            if failed.is_gone || away >= bound {
                self.drop_session(&why, away);
            } else if told.as_ref() != Some(&why) {
                (self.report)(Event::Failed { why: why.clone() });
            }
            told = Some(why);
            tokio::time::sleep(pause.min(bound.saturating_sub(away)).max(FIRST_PAUSE)).await;
            pause = (2 * pause).min(self.limits.back_off);
        }
    }

    /// Gets a transport and attaches the session to it.
    async fn attach<D, T>(&mut self, dial: &mut D) -> Result<T, DialError>
    where
        D: AsyncDial<T>,
        T: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let left = self.limits.away.saturating_sub(self.is_away());
        let dialled = timeout(left.max(WELCOME), dial.dial()).await;
        let mut transport =
            dialled.map_err(|_| DialError::new("no transport in all that time"))??;
        let hub = Arc::clone(&present(&self.hub));
        let wish = if self.is_known {
            Wish::Resume
        } else {
            Wish::Begin
        };
        let hello = Hello {
            wish,
            id: self.id,
            received: hub.received(),
            away: self.limits.away,
        };
        let answer = timeout(WELCOME, hello.exchange(&mut transport)).await;
        let answer = answer
            .map_err(|_| DialError::new(format_args!("the relay did not answer for {WELCOME:?}")))?
            .map_err(|error| DialError::new(format_args!("the relay did not answer: {error}")))?;
        match answer {
            Welcome::Accepted(received) => match hub.attach(received) {
                Ok(()) => Ok(transport),
                Err(violation) => Err(DialError {
                    why: format!("the relay has another state of the session: {violation}"),
                    is_gone: true,
                }),
            },
            Welcome::Unknown => Err(DialError {
                why: "the relay does not know the session any more: it was started again, or did not hear of it for too long".to_owned(),
                is_gone: true,
            }),
            Welcome::Full => Err(DialError::new("the relay has as many sessions as it may")),
        }
    }

    fn has_transport(&mut self) {
        let away = self.away.take().map_or(Duration::ZERO, |at| at.elapsed());
        (self.report)(if self.is_known {
            Event::Resumed { away }
        } else {
            Event::Connected
        });
        self.is_known = true;
    }

    fn is_away(&self) -> Duration {
        self.away.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Resets the connections of the session, and begins another.
    fn drop_session(&mut self, why: &str, away: Duration) {
        let before = std::mem::replace(&mut *present(&self.hub), Hub::new(self.limits, true));
        before.end(why);
        (self.id, self.is_known) = (rand::random(), false);
        (self.report)(Event::Dropped {
            why: why.to_owned(),
            away,
        });
    }
}
