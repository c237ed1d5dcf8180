//! Databases, instances in this process or as one of their own, and requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use datastorage::clock::Clock;
use datastorage::config::Config;
use datastorage::server::serve;
use datastorage_api::ProblemDetails;
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use testkit::postgres::Database;
use testkit::wait::until;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::contract;

/// Bound of every wait in these tests; none of them is a measurement.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The setting that names the file of tokens.
pub(crate) const TOKEN_FILE: &str = "DATASTORAGE_AUTH_TOKEN_FILE";
/// A token that is long enough.
pub(crate) const TOKEN: &str = "of-tests-0123456789-0123456789";

/// A file with [`TOKEN`] and nothing else.
pub(crate) fn token_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), TOKEN).expect("written");
    file
}

/// A database with the audit profile.
pub(crate) async fn audit_database() -> Database {
    testkit::postgres::database("audit").await
}

pub(crate) async fn migrate(url: &str, profile: &str) {
    migrations::apply(&migrations::Config::new(url).profile(profile))
        .await
        .expect("the migrations apply");
}

/// Settings of an instance by environment, for the database of `url` and a directory of its own.
pub(crate) fn settings(url: &str, directory: &Path) -> BTreeMap<String, String> {
    let url: tokio_postgres::Config = url.parse().expect("a PostgreSQL URL");
    let Some(tokio_postgres::config::Host::Tcp(host)) = url.get_hosts().first() else {
        panic!("the URL has a host")
    };
    let password =
        String::from_utf8(url.get_password().unwrap_or_default().to_vec()).expect("UTF-8");
    let pairs = [
        ("DATASTORAGE_DATABASE_HOST", host.clone()),
        ("DATASTORAGE_DATABASE_PORT", url.get_ports()[0].to_string()),
        (
            "DATASTORAGE_DATABASE_NAME",
            url.get_dbname().unwrap_or_default().to_owned(),
        ),
        (
            "DATASTORAGE_DATABASE_USER",
            url.get_user().unwrap_or_default().to_owned(),
        ),
        ("DATASTORAGE_DATABASE_PASSWORD", password),
        ("DATASTORAGE_DATABASE_STATEMENT_TIMEOUT", "2s".to_owned()),
        ("DATASTORAGE_SERVER_HOST", "127.0.0.1".to_owned()),
        ("DATASTORAGE_SERVER_PORT", "0".to_owned()),
        ("DATASTORAGE_SERVER_DRAIN_PAUSE", "0s".to_owned()),
        (
            "DATASTORAGE_QUEUE_DIRECTORY",
            directory.join("queue").display().to_string(),
        ),
        (
            "DATASTORAGE_ADDRESS_FILE",
            directory.join("address").display().to_string(),
        ),
    ];
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// An instance in this process.
pub(crate) struct Service {
    address: String,
    /// What its own requests show.
    token: Option<String>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<anyhow::Result<()>>,
    /// Held to be removed with the instance.
    directory: Option<TempDir>,
}

impl Service {
    /// Serves the database of `url` with the system's clock.
    pub(crate) async fn start(url: &str) -> Self {
        Self::with(url, Clock::system(), &[]).await
    }

    /// Serves the tables of a profile.
    pub(crate) async fn of_profile(url: &str, profile: &str) -> Self {
        let more = [("DATASTORAGE_SCHEMA_PROFILE", profile)];
        Self::with(url, Clock::system(), &more).await
    }

    /// Serves with a clock and further settings.
    pub(crate) async fn with(url: &str, clock: Clock, more: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut service = Self::in_directory(directory.path(), url, clock, more).await;
        service.directory = Some(directory);
        service
    }

    /// Serves from a directory that outlives the instance.
    pub(crate) async fn in_directory(
        directory: &Path,
        url: &str,
        clock: Clock,
        more: &[(&str, &str)],
    ) -> Self {
        let mut settings = settings(url, directory);
        settings.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let token = settings.get(TOKEN_FILE).map(|file| {
            let text = std::fs::read_to_string(file).expect("a file of tokens");
            text.lines().next().unwrap_or_default().to_owned()
        });
        let config = Config::load(&settings).expect("valid settings");
        let (stop, stopped) = oneshot::channel::<()>();
        let file = directory.join("address");
        forget(&file);
        let served = tokio::spawn({
            let file = file.clone();
            async move {
                serve(
                    &config,
                    clock,
                    Some(&file),
                    async move { drop(stopped.await) },
                )
                .await
            }
        });
        Self {
            address: address(&file).await,
            token,
            stop: Some(stop),
            served,
            directory: None,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns when the instance is ready: its partitions are there.
    pub(crate) async fn ready(&self) {
        until("the instance to be ready", SOON, async || {
            let answer = self.get("/health/ready").await;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer.body)
            }
        })
        .await;
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(http().get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(http().post(self.url(path)).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(http().patch(self.url(path)).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(http().delete(self.url(path))).await
    }

    /// POSTs bytes as JSON, whatever they are.
    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Answer {
        let request = http()
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body.to_owned());
        self.send(request).await
    }

    /// Sends a request with the token, where the instance was started with one.
    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        send(request).await
    }

    /// Asks for a graceful stop.
    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops gracefully and returns when the shutdown is done.
    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        self.served.await.expect("no panic").expect("served");
    }

    /// The value of a metric, by its name with labels as printed.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let answer = self.get("/metrics").await;
        let text = answer.body.as_str().expect("text");
        let line = text.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// Sends a request and holds the answer against the contract, as every test of this binary does.
pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    try_send(request).await.expect("an answer")
}

/// The same where the server may be away.
pub(crate) async fn try_send(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let (client, request) = request.build_split();
    let request = request?;
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let answer = Answer::of(client.execute(request).await?).await?;
    contract::check(method.as_str(), &path, &answer);
    Ok(answer)
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<String>,
    /// `WWW-Authenticate`.
    pub(crate) challenge: Option<String>,
    pub(crate) content_type: String,
    pub(crate) body: Value,
}

impl Answer {
    async fn of(response: reqwest::Response) -> reqwest::Result<Self> {
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().expect("text").to_owned())
        };
        let (status, retry_after, challenge, content_type) = (
            response.status(),
            header("retry-after"),
            header("www-authenticate"),
            header("content-type").unwrap_or_default(),
        );
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Self {
            status,
            retry_after,
            challenge,
            content_type,
            body,
        })
    }

    /// The body of an error.
    pub(crate) fn problem(&self) -> ProblemDetails {
        assert_eq!(self.content_type, "application/problem+json", "{self:?}");
        let problem: ProblemDetails = serde_json::from_value(self.body.clone()).expect("a problem");
        assert_eq!(problem.status, self.status.as_u16());
        problem
    }

    /// Asserts the status, showing the body when it is another.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_datastorage");

/// The server as a process of its own, to be killed.
pub(crate) struct Process {
    child: Child,
    settings: BTreeMap<String, String>,
    pub(crate) address: String,
}

impl Process {
    /// Starts the binary; a restart uses the same port and the same queue.
    pub(crate) async fn start(settings: BTreeMap<String, String>) -> Self {
        Self::start_as(settings, Command::new(BINARY)).await
    }

    /// Starts the binary so that no file of its may grow beyond `blocks` of 512 bytes: writes fail as on a full disk.
    pub(crate) async fn start_with_small_files(
        settings: BTreeMap<String, String>,
        blocks: u32,
    ) -> Self {
        let mut shell = Command::new("sh");
        // The signal would kill it; ignored, the write gets an error (setrlimit(2), RLIMIT_FSIZE).
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\"");
        shell.args(["-c", &script, BINARY]);
        Self::start_as(settings, shell).await
    }

    async fn start_as(mut settings: BTreeMap<String, String>, command: Command) -> Self {
        let file = PathBuf::from(&settings["DATASTORAGE_ADDRESS_FILE"]);
        forget(&file);
        let child = spawn(&settings, command);
        let address = address(&file).await;
        let port = address.rsplit(':').next().expect("a port").to_owned();
        settings.insert("DATASTORAGE_SERVER_PORT".to_owned(), port);
        Self {
            child,
            settings,
            address,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and nothing left to run.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }

    /// Starts the killed server again.
    pub(crate) async fn restart(&mut self) {
        let file = PathBuf::from(&self.settings["DATASTORAGE_ADDRESS_FILE"]);
        forget(&file);
        self.child = spawn(&self.settings, Command::new(BINARY));
        assert_eq!(address(&file).await, self.address);
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        until("the server to end", SOON, async || {
            self.child.try_wait().expect("a child").ok_or("it runs")
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

fn spawn(settings: &BTreeMap<String, String>, mut command: Command) -> Child {
    command
        .env_clear()
        .envs(settings)
        .env("DATASTORAGE_LOGGING_LEVEL", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.spawn().expect("the binary starts")
}

fn forget(file: &Path) {
    if file.exists() {
        std::fs::remove_file(file).expect("removed");
    }
}

async fn address(file: &Path) -> String {
    until("the server to listen", SOON, async || {
        std::fs::read_to_string(file)
    })
    .await
}

pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(SOON)
        .build()
        .expect("a client")
}

/// Rows of `audit_events`.
pub(crate) async fn count(client: &tokio_postgres::Client) -> i64 {
    client
        .query_one("SELECT count(*) FROM audit_events", &[])
        .await
        .expect("a count")
        .get(0)
}

/// A full event of now.
pub(crate) fn event(correlation_id: &str) -> Value {
    event_at(correlation_id, jiff::Timestamp::now())
}

pub(crate) fn event_at(correlation_id: &str, time: jiff::Timestamp) -> Value {
    serde_json::json!({
        "version": "1.0", "event_type": "workflow.started", "event_timestamp": time.to_string(), "event_category": "workflow",
        "event_action": "started", "event_outcome": "success", "correlation_id": correlation_id, "event_data": {"phase": "Running"}
    })
}

/// `event` with other members; null takes one away.
pub(crate) fn with(mut event: Value, members: Value) -> Value {
    let (Some(event_members), Value::Object(members)) = (event.as_object_mut(), members) else {
        panic!("two objects")
    };
    for (name, value) in members {
        if value.is_null() {
            event_members.remove(&name)
        } else {
            event_members.insert(name, value)
        };
    }
    event
}
