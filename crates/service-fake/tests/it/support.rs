//! A fake in a process of its own, and what Data Storage has of it.

use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use datastorage_client::types::AuditEvent;
use datastorage_client::{Client, QueryAuditEvents};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Response;
use serde_json::Value;
use tempfile::TempDir;
use testkit::wait;
use tokio::task::JoinHandle;

/// Longest time for a process to start or to end.
const SOON: Duration = Duration::from_secs(30);

/// A fake in a process of its own; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    url: String,
}

impl Process {
    /// Starts a fake and waits until it listens.
    pub(crate) async fn start(service: &str, datastorage: &str, journal: &TempDir) -> Self {
        let own = journal.path().join("journal");
        let own = own.display().to_string();
        let variable = Some((e2e_env::fake::AUDIT_JOURNAL_DIR, own));
        Self::with(service, datastorage, journal, variable).await
    }

    /// Starts a fake without an audit store; `place` is for its address.
    pub(crate) async fn without_store(service: &str, datastorage: &str, place: &TempDir) -> Self {
        Self::with(service, datastorage, place, None).await
    }

    async fn with(
        service: &str,
        datastorage: &str,
        journal: &TempDir,
        variable: Option<(&str, String)>,
    ) -> Self {
        let address = journal.path().join("address");
        std::fs::remove_file(&address).unwrap_or_default();
        let child = program()
            .env(e2e_env::fake::SERVICE, service)
            .env(e2e_env::DATASTORAGE_URL, datastorage)
            .env(e2e_env::fake::LISTEN_ADDRESS, "127.0.0.1:0")
            .env(e2e_env::fake::ADDRESS_FILE, &address)
            .envs(variable)
            .spawn()
            .unwrap();
        let mut process = Self {
            child,
            url: String::new(),
        };
        let address = wait::until("the fake to listen", SOON, async || {
            if let Ok(Some(status)) = process.child.try_wait() {
                panic!("the fake ended with {status}");
            }
            std::fs::read_to_string(Path::new(&address))
        })
        .await;
        process.url = format!("http://{address}");
        process
    }

    /// Asks for a path and returns status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(reqwest::get(format!("{}{path}", self.url)).await).await
    }

    /// Posts JSON to a path and returns status and body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = reqwest::Client::new()
            .post(format!("{}{path}", self.url))
            .json(body);
        answer(request.send().await).await
    }

    /// Posts to a path without waiting for the answer, and returns when the request is on its way.
    pub(crate) async fn posting(&self, path: &str) -> JoinHandle<reqwest::Result<Response>> {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url));
        let request = tokio::spawn(request.send());
        // Connections are accepted in order: after this answer the fake has that of the request.
        self.get("/health").await;
        request
    }

    /// Plays a scenario, or the steps of it that the path's query names, and returns the answer.
    pub(crate) async fn play(&self, scenario: &str, names: &Value) -> Value {
        let (status, answer) = self.post(&format!("/scenarios/{scenario}"), names).await;
        assert_eq!(status, 200, "{scenario}: {answer}");
        answer
    }

    /// Ends the process as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to end, and returns how it did.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        wait::until("the fake to end", SOON, async || {
            self.child.try_wait().unwrap().ok_or("it still runs")
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The test may have ended it.
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// The program with nothing of this process's settings.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_service-fake"));
    command.env_clear();
    command
}

async fn answer(response: reqwest::Result<reqwest::Response>) -> (u16, Value) {
    let response = response.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// The events of a correlation id in Data Storage, in the order of emission.
pub(crate) async fn stored(datastorage: &str, correlation_id: &str) -> Vec<AuditEvent> {
    let query = QueryAuditEvents {
        correlation_id: Some(correlation_id.to_owned()),
        limit: Some(1000),
        ..QueryAuditEvents::default()
    };
    let client = Client::new(datastorage).unwrap();
    let mut events = client.query_audit_events(&query).await.unwrap().data;
    events.reverse();
    events
}

/// The ids in a fake's answer.
pub(crate) fn emitted(played: &Value) -> Vec<String> {
    let emitted = played["emitted"].as_array().unwrap().iter();
    emitted
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect()
}

/// The ids of stored events.
pub(crate) fn ids(events: &[AuditEvent]) -> Vec<String> {
    events
        .iter()
        .map(|event| event.event_id.to_string())
        .collect()
}
