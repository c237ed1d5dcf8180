//! One dedicated connection: opened patiently, used by the simple protocol, and never left behind.
//!
//! Everything goes through the simple protocol: an extended-protocol statement inside a transaction keeps a snapshot open,
//! and a peer's CREATE INDEX CONCURRENTLY waits for that snapshot for ever.

use std::convert::Infallible;
use std::future::Future;
use std::io::Cursor;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, SimpleQueryMessage, SimpleQueryRow};
use tokio_util::task::TaskTracker;

use crate::blocked;
use crate::config::Config;
use crate::dial::{self, Connector, HandshakeError, Stream};
use crate::error::{Error, chain};
use crate::ledger;
use crate::names::Names;
use crate::report::{Blocker, Event};
use crate::rows::Rows;
use crate::target::{Place, Target};

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
    /// Who was last seen to hold what a statement waits for, and in which stage.
    blocked: Mutex<Option<(String, Blocker)>>,
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
            blocked: Mutex::new(None),
            cleanup: TaskTracker::new(),
        });
        let outcome = {
            let work = pin!(work(Arc::clone(&run)));
            tokio::select! {
                biased;
                () = run.config.cancel.cancelled() => Err(Error::Cancelled { stage: run.stage() }),
                outcome = work => outcome,
                () = tokio::time::sleep_until(run.deadline()) => {
                    Err(run.late())
                }
            }
        };
        let outcome = outcome.map_err(|error| error.blocked_by(run.blocker().as_ref()));
        run.cleanup.close();
        if timeout(CLEANUP, run.cleanup.wait()).await.is_err() {
            tracing::warn!(target: "migrator", "a cancelled session did not end within {CLEANUP:?}; the server ends it when it next looks at its socket");
        }
        outcome
    }

    /// Whether a plan with this hash is what the caller approved, if it approved one.
    pub(crate) fn approve(&self, hash: &str) -> Result<(), Error> {
        match &self.config.plan_hash {
            // As many characters as a plan prints of it, at least.
            Some(expected) if expected.len() < 12 || !hash.starts_with(expected.as_str()) => {
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

    /// The deadline passed.
    fn late(&self) -> Error {
        Error::DeadlineExceeded {
            deadline: self.config.deadline,
            stage: self.stage(),
            blocker: self.blocker().map(Box::new),
        }
    }

    fn blocker(&self) -> Option<Blocker> {
        let seen = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().map(|(_, blocker)| blocker.clone())
    }

    fn see_blocker(&self, blocker: Blocker) {
        self.config.emit(&Event::WaitingForTable(blocker.clone()));
        let seen = Some((self.stage(), blocker));
        *self.blocked.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// Forgets who was waited for in this stage.
    fn unblocked(&self) {
        let stage = self.stage();
        let mut seen = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_some_and(|(of, _)| *of == stage) {
            *seen = None;
        }
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
}

/// An open connection. Dropping it in the middle of a statement cancels the statement and closes the connection.
pub struct Session {
    run: Arc<Run>,
    target: Target,
    /// The host of the target that it is connected to.
    place: Option<Place>,
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

    /// Connects once, without waiting for a server that is not ready.
    pub async fn open_once(run: &Arc<Run>) -> Result<Self, Error> {
        let target = &run.config.target;
        run.enter("connecting");
        let began = Instant::now();
        Self::connect(run, target, ATTEMPT)
            .await
            .map_err(|failure| {
                let lasting = failure.lasting(target, false);
                lasting.unwrap_or_else(|| failure.not_ready(target.address(), began.elapsed()))
            })
    }

    pub(crate) async fn open_on(run: &Arc<Run>, target: &Target) -> Result<Self, Error> {
        let address = target.address();
        target.settings()?;
        let (mut pause, mut waited) = (PAUSES.0, None);
        let mut last: Option<Failure> = None;
        let began = Instant::now();
        let left = || {
            let patience = target.patience();
            let patience = patience.map(|all| all.saturating_sub(began.elapsed()));
            patience.map_or(run.left(), |patience| patience.min(run.left()))
        };
        loop {
            run.enter(format!("connecting to {address}"));
            let attempt = Self::connect(run, target, ATTEMPT.min(left())).await;
            let failure = match attempt {
                Ok(session) if waited.is_none() => return Ok(session),
                Ok(session) => match session.settle(run, target).await {
                    Ok(session) => return Ok(session),
                    Err(failure) => failure,
                },
                Err(failure) => {
                    let settling = waited.is_some_and(|since: Instant| since.elapsed() < SETUP);
                    if let Some(error) = failure.lasting(target, settling) {
                        return Err(error);
                    }
                    if matches!(failure, Failure::WrongServer(_)) {
                        return Err(failure.not_ready(address, began.elapsed()));
                    }
                    failure
                }
            };
            // The last of the time is too short for an answer, and says less than what came before.
            let said = match (last.take(), failure) {
                (Some(earlier), Failure::Silent(_)) => earlier,
                (_, failure) => failure,
            };
            if waited.is_none() {
                run.config.emit(&Event::WaitingForServer {
                    address: address.clone(),
                    last: said.to_string(),
                });
                waited = Some(Instant::now());
            }
            if left() <= pause {
                return Err(said.not_ready(address, began.elapsed()));
            }
            last = Some(said);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Holds a fresh connection and looks again with another: both must see the same server.
    async fn settle(self, run: &Arc<Run>, target: &Target) -> Result<Self, Failure> {
        let first = self.postmaster().await?;
        sleep(SETTLED).await;
        let again = Self::connect(run, target, ATTEMPT).await?;
        let second = again.postmaster().await?;
        again.close().await;
        if first == second && self.postmaster().await? == first {
            Ok(self)
        } else {
            Err(Failure::Unfit(
                "the server restarted while it was being set up".to_owned(),
            ))
        }
    }

    async fn postmaster(&self) -> Result<String, Failure> {
        let row = self.ask("SELECT pg_postmaster_start_time()").await;
        let row = row.map_err(Failure::Postgres)?;
        Ok(row
            .and_then(|row| row.get(0).map(str::to_owned))
            .unwrap_or_default())
    }

    /// The first row of a query about the server itself.
    async fn ask(&self, sql: &str) -> Result<Option<SimpleQueryRow>, tokio_postgres::Error> {
        let messages = self.client().simple_query(sql).await?;
        Ok(messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        }))
    }

    /// Connects once to the first host that will have it, within `bound`.
    async fn connect(run: &Arc<Run>, target: &Target, bound: Duration) -> Result<Self, Failure> {
        let places = target.places();
        if target.dialer.is_some() || places.is_empty() {
            return Self::connect_within(run, target, None, bound).await;
        }
        let bound = bound / u32::try_from(places.len()).unwrap_or(1);
        let mut last = Failure::Silent(bound);
        for place in &places {
            match Self::connect_within(run, target, Some(place), bound).await {
                Err(failure) if failure.is_of_this_host() => last = failure,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    async fn connect_within(
        run: &Arc<Run>,
        target: &Target,
        place: Option<&Place>,
        bound: Duration,
    ) -> Result<Self, Failure> {
        let bound = bound.min(run.left());
        let connecting = async {
            let mode = target.driver_mode(place);
            let mut outcome = Self::connect_to(run, target, place, mode).await;
            // As libpq has it: where TLS is only preferred, a server that refuses the login with it may take it without.
            if mode == SslMode::Prefer
                && matches!(&outcome, Err(failure) if failure.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION))
                && let Ok(session) = Self::connect_to(run, target, place, SslMode::Disable).await
            {
                outcome = Ok(session);
            }
            let session = outcome?;
            session.suits(target).await?;
            Ok(session)
        };
        timeout(bound, connecting)
            .await
            .unwrap_or(Err(Failure::Silent(bound)))
    }

    /// Whether the server is what `target_session_attrs` asks for.
    async fn suits(&self, target: &Target) -> Result<(), Failure> {
        let settings = target
            .settings()
            .map_err(|error| Failure::Unfit(error.to_string()))?;
        let (asked, read_only) = match settings.get_target_session_attrs() {
            TargetSessionAttrs::ReadWrite => ("read-write", "off"),
            TargetSessionAttrs::ReadOnly => ("read-only", "on"),
            _ => return Ok(()),
        };
        let row = self.ask("SHOW transaction_read_only").await;
        let row = row.map_err(Failure::Postgres)?;
        match row.as_ref().and_then(|row| row.get(0)) {
            Some(found) if found == read_only => Ok(()),
            _ => Err(Failure::WrongServer(format!(
                "target_session_attrs={asked} is asked for, and the server is not"
            ))),
        }
    }

    async fn connect_to(
        run: &Arc<Run>,
        target: &Target,
        place: Option<&Place>,
        mode: SslMode,
    ) -> Result<Self, Failure> {
        let settings = target
            .settings()
            .map_err(|error| Failure::Unfit(error.to_string()))?;
        let mut settings = settings.clone();
        settings.ssl_mode(mode);
        let stream = dial::open(target, place).await.map_err(Failure::Io)?;
        let (client, mut connection) = settings
            .connect_raw(stream, Connector::to(target, place))
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
            place: place.cloned(),
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
        let before = self.run.stage();
        self.run.enter(stage);
        let outcome = self.try_query(sql).await;
        let rows = outcome.map_err(|error| self.explain(&error, stage))?;
        self.run.enter(before);
        Ok(rows)
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
        let outcome = tokio::select! {
            biased;
            outcome = self.receive(sql, &mut each) => outcome,
            never = self.watch() => match never {},
        };
        self.busy.store(false, Ordering::Relaxed);
        if outcome.is_ok() {
            self.run.unblocked();
        }
        outcome
    }

    /// Says, over a second connection, who holds what a statement of this one waits for.
    async fn watch(&self) -> Infallible {
        sleep(blocked::SILENCE).await;
        let mut second = None;
        loop {
            if second.is_none() {
                second = Self::connect(&self.run, &self.target, ATTEMPT).await.ok();
            }
            if let Some(session) = &second {
                match session.ask(&blocked::who(self.backend_pid)).await {
                    Ok(Some(row)) => self.run.see_blocker(blocked::read(&row)),
                    Ok(None) => self.run.unblocked(),
                    Err(_) => second = None,
                }
            }
            sleep(blocked::PAUSE).await;
        }
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
        let place = self.place.take();
        self.run.cleanup.spawn(async move {
            let abort = driver.abort_handle();
            let ended = async {
                if busy
                    && let Ok(stream) = dial::open(&target, place.as_ref()).await
                    && let connector = Connector::to(&target, place.as_ref())
                    && let Err(error) = cancel.cancel_query_raw(stream, connector).await
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
    /// Nothing came within this time.
    Silent(Duration),
    /// The server is not the kind that `target_session_attrs` asks for.
    WrongServer(String),
    /// The server does not stay as it is.
    Unfit(String),
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
            Self::Silent(bound) => write!(f, "no answer within {:.1} s", bound.as_secs_f64()),
            Self::WrongServer(text) | Self::Unfit(text) => f.write_str(text),
        }
    }
}

impl Failure {
    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the next host may be better: this one does not answer, starts or stops, has no free connection, or is not what is
    /// meant. A refused login is refused by all.
    fn is_of_this_host(&self) -> bool {
        match self.code() {
            Some(code) => may_pass(code),
            None => self.handshake().is_none() && !self.is_configuration(),
        }
    }

    fn is_configuration(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.to_string().contains("invalid configuration"))
    }

    /// Why there is no TLS as it is asked for, where another attempt would end alike.
    fn handshake(&self) -> Option<String> {
        let Self::Postgres(error) = self else {
            return None;
        };
        let source = std::error::Error::source(error)?;
        let refused = match source.downcast_ref::<HandshakeError>() {
            Some(HandshakeError(error)) => matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput
            ),
            None => error.to_string().contains("TLS handshake"),
        };
        refused.then(|| chain(source))
    }

    /// The error to end with, unless another attempt may succeed. A server that is `settling` may still be making its
    /// roles and databases.
    fn lasting(&self, target: &Target, settling: bool) -> Option<Error> {
        let Self::Postgres(error) = self else {
            return None;
        };
        let address = target.address();
        if let Some(message) = self.handshake() {
            return Some(Error::TlsRefused {
                address,
                ssl_mode: target.ssl_mode().to_owned(),
                message,
            });
        }
        let refused = |sqlstate: &str, message: String| Error::AuthFailed {
            address: target.address(),
            user: target.user(),
            sqlstate: sqlstate.to_owned(),
            message,
        };
        let Some(server) = error.as_db_error() else {
            let text = chain(error);
            if text.contains("password missing") {
                let message = "the server asks for a password, and none was given";
                return Some(refused("28P01", message.to_owned()));
            }
            if text.contains("authentication error") {
                return Some(refused("28000", text));
            }
            return self
                .is_configuration()
                .then_some(Error::InvalidUrl { reason: text });
        };
        let (message, code) = (server.message().to_owned(), server.code());
        if may_pass(code) || settling {
            return None;
        }
        Some(match code.code() {
            "3D000" => Error::NoSuchDatabase {
                address,
                database: target.database(),
            },
            sqlstate if sqlstate.starts_with("28") => refused(sqlstate, message),
            _ => Error::from_server(error, &format!("connecting to {address}"), &address),
        })
    }

    /// The error of a server that did not get ready within `waited`.
    fn not_ready(&self, address: String, waited: Duration) -> Error {
        let last = self.to_string();
        match self.code() {
            Some(&SqlState::TOO_MANY_CONNECTIONS) => Error::ConnectionsExhausted {
                address,
                waited,
                message: last,
            },
            _ => Error::PostgresNotReady {
                address,
                waited,
                last,
            },
        }
    }
}

/// Whether a server that refuses a connection with this code may take one later.
fn may_pass(code: &SqlState) -> bool {
    *code == SqlState::TOO_MANY_CONNECTIONS || crate::error::is_disconnect(code)
}

/// The process that a cancel request names: its packet is length, code, process id and secret, and a request for TLS may precede it
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
async fn backend_pid_of(cancel: &CancelToken) -> Result<i32, tokio_postgres::Error> {
    let (near, mut far) = tokio::io::duplex(64);
    // What agrees to TLS, where it is asked for; a connector that encrypts nothing goes on in plain text.
    let agreed = far.write_all(b"S").await.is_ok();
    let near = Stream::plain(near);
    cancel.cancel_query_raw(near, Connector::plain()).await?;
    let mut packet = Vec::new();
    // The packet is there, whole; a shorter one would name nobody.
    let read = far.read_to_end(&mut packet).await;
    Ok(match packet.as_slice() {
        [.., a, b, c, d, _, _, _, _] if agreed && read.is_ok() && packet.len() >= 16 => {
            i32::from_be_bytes([*a, *b, *c, *d])
        }
        _ => 0,
    })
}
