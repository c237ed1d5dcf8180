//! One dedicated connection: opened patiently, used by the simple protocol, and never left behind.
//!
//! Everything goes through the simple protocol: an extended-protocol statement inside a transaction keeps a snapshot open,
//! and a peer's CREATE INDEX CONCURRENTLY waits for that snapshot for ever.

use std::future::Future;
use std::io::Cursor;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryFutureExt};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, NoTls, SimpleQueryMessage};
use tokio_util::task::TaskTracker;

use crate::config::{ByteStream, Config, Target};
use crate::error::{Error, chain};
use crate::ledger;
use crate::names::Names;
use crate::report::Event;
use crate::rows::Rows;

/// One attempt to connect; more than a handshake over a slow tunnel or on a busy machine needs.
const ATTEMPT: Duration = Duration::from_secs(10);
/// First and longest pause between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// A server that was waited for must be the same one after this long: container images start PostgreSQL once to set it up
/// and once more to serve.
const SETTLED: Duration = Duration::from_millis(200);
/// How long a server that has just come up may still lack its roles and databases.
const SETUP: Duration = Duration::from_secs(2);
/// How long the end of a cancelled session is waited for.
const CLEANUP: Duration = Duration::from_secs(2);

/// What every run of this crate shares: its settings, its clock, the stage it is in, and the clean-up it owes.
pub struct Run {
    /// Its settings.
    pub config: Config,
    started: Instant,
    stage: Mutex<String>,
    cleanup: TaskTracker,
}

impl Run {
    /// Runs `work` until it ends, the deadline passes or the caller cancels; in the latter cases only after the sessions
    /// that it held are closed and their statements ended.
    pub async fn bounded<T, F: Future<Output = Result<T, Error>>>(
        config: &Config,
        work: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, Error> {
        let run = Arc::new(Self {
            config: config.clone(),
            started: Instant::now(),
            stage: Mutex::new("starting".to_owned()),
            cleanup: TaskTracker::new(),
        });
        let outcome = {
            let work = pin!(work(Arc::clone(&run)));
            tokio::select! {
                biased;
                () = run.config.cancel.cancelled() => Err(Error::Cancelled { stage: run.stage() }),
                outcome = work => outcome,
                () = tokio::time::sleep_until(run.deadline()) => {
                    Err(Error::DeadlineExceeded { deadline: config.deadline, stage: run.stage() })
                }
            }
        };
        run.cleanup.close();
        if timeout(CLEANUP, run.cleanup.wait()).await.is_err() {
            tracing::warn!(target: "migrator", "a cancelled session did not end within {CLEANUP:?}; the server ends it when it next looks at its socket");
        }
        outcome
    }

    /// Whether a plan with this hash is what the caller approved, if it approved one.
    pub(crate) fn approve(&self, hash: &str) -> Result<(), Error> {
        match &self.config.plan_hash {
            Some(expected) if expected.is_empty() || !hash.starts_with(expected.as_str()) => {
                Err(Error::PlanChanged {
                    expected: expected.clone(),
                    found: hash.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn enter(&self, stage: impl Into<String>) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage.into();
    }

    pub(crate) fn stage(&self) -> String {
        self.stage
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.started + self.config.deadline
    }

    /// Time left, less what reporting the failure needs: a wait that ends of itself says more than a cut one.
    pub(crate) fn left(&self) -> Duration {
        self.deadline()
            .saturating_duration_since(Instant::now())
            .saturating_sub(Duration::from_millis(100))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// An open connection. Dropping it in the middle of a statement cancels the statement and closes the connection.
pub struct Session {
    run: Arc<Run>,
    target: Target,
    client: Option<Client>,
    driver: Option<JoinHandle<()>>,
    cancel: CancelToken,
    /// Whether a statement may still run.
    busy: AtomicBool,
    /// The server process that the login named; a pooler names one of its own making.
    pub(crate) backend_pid: i32,
}

impl Session {
    /// Statements that set a session up as this crate's own that change something.
    pub fn settings(&self) -> String {
        format!(
            "{}; {}",
            ledger::settings(self.names()),
            ledger::NOTICE_GONE_CLIENT
        )
    }

    /// What the run calls its own things.
    pub(crate) fn names(&self) -> &Names {
        &self.run.config.names
    }

    /// Connects to the run's database, waiting for the server as long as the deadline allows.
    pub async fn open(run: &Arc<Run>) -> Result<Self, Error> {
        Self::open_on(run, &run.config.target).await
    }

    /// Connects once, without waiting for a server that is not ready; what it said and its SQLSTATE, if it has none.
    pub async fn open_once(run: &Arc<Run>) -> Result<Self, (Option<SqlState>, String)> {
        run.enter("connecting");
        let bound = ATTEMPT.min(run.left());
        match timeout(bound, Self::connect(run, &run.config.target)).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(failure)) => {
                let code = match &failure {
                    Failure::Postgres(error) => error.code().cloned(),
                    _ => None,
                };
                Err((code, failure.to_string()))
            }
            Err(_) => Err((
                None,
                format!("no answer within {:.1} s", bound.as_secs_f64()),
            )),
        }
    }

    pub(crate) async fn open_on(run: &Arc<Run>, target: &Target) -> Result<Self, Error> {
        let address = target.address();
        target.settings()?;
        let (mut pause, mut waited) = (PAUSES.0, None);
        loop {
            run.enter(format!("connecting to {address}"));
            let attempt = timeout(ATTEMPT.min(run.left()), Self::connect(run, target)).await;
            let last = match attempt {
                Ok(Ok(session)) if waited.is_none() => return Ok(session),
                Ok(Ok(session)) => match session.settle(run, target).await {
                    Ok(session) => return Ok(session),
                    Err(error) => error.to_string(),
                },
                Ok(Err(failure)) => {
                    let settling = waited.is_some_and(|since: Instant| since.elapsed() < SETUP);
                    if let Some(error) = failure.lasting(target, settling) {
                        return Err(error);
                    }
                    failure.to_string()
                }
                Err(_) => format!(
                    "no answer within {:.1} s",
                    ATTEMPT.min(run.left()).as_secs_f64()
                ),
            };
            if waited.is_none() {
                run.config.emit(&Event::WaitingForServer {
                    address: address.clone(),
                    last: last.clone(),
                });
                waited = Some(Instant::now());
            }
            if run.left() <= pause {
                return Err(Error::PostgresNotReady {
                    address,
                    waited: run.elapsed(),
                    last,
                });
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Holds a fresh connection and looks again with another: both must see the same server.
    async fn settle(self, run: &Arc<Run>, target: &Target) -> Result<Self, Failure> {
        let first = self.postmaster().await?;
        sleep(SETTLED).await;
        let again = Self::connect(run, target).await?;
        let second = again.postmaster().await?;
        again.close().await;
        if first == second && self.postmaster().await? == first {
            Ok(self)
        } else {
            Err(Failure::Other(
                "the server restarted while it was being set up".to_owned(),
            ))
        }
    }

    async fn postmaster(&self) -> Result<String, Failure> {
        let rows = self
            .client()
            .simple_query("SELECT pg_postmaster_start_time()")
            .await
            .map_err(Failure::Postgres)?;
        Ok(rows
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .unwrap_or_default())
    }

    async fn connect(run: &Arc<Run>, target: &Target) -> Result<Self, Failure> {
        let settings = target
            .settings()
            .map_err(|error| Failure::Other(error.to_string()))?;
        let stream = dial(target).await.map_err(Failure::Io)?;
        let (client, mut connection) = settings
            .connect_raw(stream, NoTls)
            .await
            .map_err(Failure::Postgres)?;
        let driver = tokio::spawn(async move {
            while let Some(message) =
                futures_util::future::poll_fn(|context| connection.poll_message(context)).await
            {
                if let Err(error) = message {
                    tracing::debug!(target: "migrator", "connection ended: {}", chain(&error));
                    return;
                }
            }
        });
        let cancel = client.cancel_token();
        let backend_pid = backend_pid_of(&cancel).await.map_err(Failure::Postgres)?;
        Ok(Self {
            run: Arc::clone(run),
            target: target.clone(),
            client: Some(client),
            driver: Some(driver),
            cancel,
            busy: AtomicBool::new(false),
            backend_pid,
        })
    }

    fn client(&self) -> &Client {
        // Taken only by `close` and `drop`, which end the session's life.
        self.client.as_ref().expect("an open session has a client")
    }

    /// Sends one message of one or more statements; returns each statement's rows. `stage` says what it is for.
    pub async fn query(&self, stage: &str, sql: &str) -> Result<Vec<Rows>, Error> {
        self.run.enter(stage);
        self.try_query(sql)
            .await
            .map_err(|error| self.explain(&error, stage))
    }

    /// As [`Session::query`], with the failure as it came.
    pub async fn try_query(&self, sql: &str) -> Result<Vec<Rows>, tokio_postgres::Error> {
        let mut done = Vec::new();
        self.stream(sql, |rows| done.push(rows))
            .await
            .map(|()| done)
    }

    /// Like [`Session::try_query`], reporting each statement as it ends: what was reported before an error did happen.
    pub(crate) async fn stream(
        &self,
        sql: &str,
        mut each: impl FnMut(Rows),
    ) -> Result<(), tokio_postgres::Error> {
        self.busy.store(true, Ordering::Relaxed);
        let outcome = self.receive(sql, &mut each).await;
        self.busy.store(false, Ordering::Relaxed);
        outcome
    }

    async fn receive(
        &self,
        sql: &str,
        each: &mut impl FnMut(Rows),
    ) -> Result<(), tokio_postgres::Error> {
        let mut messages = pin!(self.client().simple_query_raw(sql).await?);
        let mut rows = Vec::new();
        while let Some(message) = messages.next().await {
            match message? {
                SimpleQueryMessage::Row(row) => rows.push(row),
                SimpleQueryMessage::CommandComplete(_) => each(std::mem::take(&mut rows)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Runs a COPY FROM STDIN with these rows, in the text format or what the statement says.
    pub(crate) async fn copy_in(
        &self,
        statement: &str,
        rows: &str,
    ) -> Result<(), tokio_postgres::Error> {
        self.busy.store(true, Ordering::Relaxed);
        let copying = async {
            let mut sink = pin!(self.client().copy_in(statement).await?);
            sink.send(Cursor::new(rows.as_bytes().to_vec())).await?;
            sink.finish().await
        };
        let outcome = copying.await;
        self.busy.store(false, Ordering::Relaxed);
        outcome.map(drop)
    }

    /// A failure of [`Session::try_query`] as this crate reports it.
    pub fn explain(&self, error: &tokio_postgres::Error, stage: &str) -> Error {
        Error::from_server(error, stage, &self.target.address())
    }

    /// Ends the session and waits until the server knows.
    pub async fn close(mut self) {
        drop(self.client.take());
        if let Some(driver) = self.driver.take() {
            let abort = driver.abort_handle();
            if timeout(CLEANUP, driver).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (Some(client), Some(driver)) = (self.client.take(), self.driver.take()) else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return; // The socket closes with the runtime, and client_connection_check_interval does the rest.
        }
        // A pooler may have given the process of an idle session to somebody else, who is not to be cancelled.
        let busy = self.busy.load(Ordering::Relaxed);
        let (cancel, target) = (self.cancel.clone(), self.target.clone());
        self.run.cleanup.spawn(async move {
            let abort = driver.abort_handle();
            let ended = async {
                if busy
                    && let Ok(stream) = dial(&target).await
                    && let Err(error) = cancel.cancel_query_raw(stream, NoTls).await
                {
                    tracing::debug!(target: "migrator", "cancel request: {}", chain(&error));
                }
                drop(client);
                driver.await
            };
            if timeout(CLEANUP, ended).await.is_err() {
                abort.abort();
            }
        });
    }
}

/// Why one attempt to connect failed.
#[derive(Debug)]
enum Failure {
    Io(std::io::Error),
    Postgres(tokio_postgres::Error),
    Other(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Postgres(error) => f.write_str(
                &error
                    .as_db_error()
                    .map_or_else(|| chain(error), |server| server.message().to_owned()),
            ),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Failure {
    /// The error to end with, unless another attempt may succeed. A server that is `settling` may still be making its
    /// roles and databases.
    fn lasting(&self, target: &Target, settling: bool) -> Option<Error> {
        let Self::Postgres(error) = self else {
            return None;
        };
        let Some(server) = error.as_db_error() else {
            let configuration = error.to_string().contains("invalid configuration");
            return configuration.then(|| Error::InvalidUrl {
                reason: chain(error),
            });
        };
        let (address, message) = (target.address(), server.message().to_owned());
        let code = server.code();
        if *code == SqlState::TOO_MANY_CONNECTIONS || crate::error::is_disconnect(code) || settling
        {
            return None;
        }
        Some(match code.code() {
            "3D000" => Error::NoSuchDatabase {
                address,
                database: target.database(),
            },
            sqlstate if sqlstate.starts_with("28") => Error::AuthFailed {
                address,
                user: target.user(),
                sqlstate: sqlstate.to_owned(),
                message,
            },
            _ => Error::from_server(error, &format!("connecting to {address}"), &address),
        })
    }
}

/// The process that a cancel request names: its packet is length, code, process id and secret
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
async fn backend_pid_of(cancel: &CancelToken) -> Result<i32, tokio_postgres::Error> {
    let (near, mut far) = tokio::io::duplex(64);
    cancel.cancel_query_raw(near, NoTls).await?;
    let mut packet = [0; 12];
    // The packet is there, whole; a shorter one would name nobody.
    let read = far.read_exact(&mut packet).await;
    let [.., a, b, c, d] = packet;
    Ok(read.map_or(0, |_| i32::from_be_bytes([a, b, c, d])))
}

/// Opens a stream to the first host that answers.
async fn dial(target: &Target) -> std::io::Result<Box<dyn ByteStream>> {
    if let Some(dialer) = &target.dialer {
        return dialer().await;
    }
    let settings = target.settings().map_err(std::io::Error::other)?;
    let ports = settings.get_ports();
    let mut last = std::io::Error::other("the URL names no host");
    for (index, host) in settings.get_hosts().iter().enumerate() {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let attempt = match host {
            Host::Tcp(name) => tcp(name, port).await,
            #[cfg(unix)]
            Host::Unix(directory) => {
                tokio::net::UnixStream::connect(directory.join(format!(".s.PGSQL.{port}")))
                    .map_ok(|stream| Box::new(stream) as Box<dyn ByteStream>)
                    .await
            }
        };
        match attempt {
            Ok(opened) => return Ok(opened),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn tcp(host: &str, port: u16) -> std::io::Result<Box<dyn ByteStream>> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}
