//! kubectl: applies objects and watches pods, always with a kubeconfig and a namespace that are named.

pub mod ending;
mod events;
pub mod objects;
pub mod pods;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::process::{Command, Error, Runner};
use crate::tools::api_server::{ApiServer, Unanswered};

/// How many lines of a log a message repeats.
const TAIL: &str = "15";

/// Whether kubectl did not reach the API server, or lost it.
pub fn is_unreached(error: &Error) -> bool {
    let Error::Failed { tail, .. } = error else {
        return false;
    };
    UNREACHED.iter().any(|said| tail.contains(said))
}

/// What the API server says of a quota that is used up (Kubernetes, "Resource Quotas").
pub const QUOTA_FULL: &str = "exceeded quota";

/// A cluster as one namespace of it is used.
#[derive(Clone, Debug)]
pub struct Kubectl {
    runner: Runner,
    kubeconfig: PathBuf,
    namespace: String,
    /// How long an API server that cannot be reached is asked again.
    patience: Duration,
    /// Who applies objects, where others apply the same (Kubernetes, "Server-Side Apply"): what one leaves out stays another's.
    manager: Option<String>,
    /// Who answers instead of a process, where it can.
    server: Option<ApiServer>,
}

/// How long the API server of another's cluster may be out of reach before a question to it fails: the network between has its moments.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two attempts to reach it.
const AGAIN: Duration = Duration::from_secs(1);
/// What kubectl says where it did not reach the API server, or lost it.
const UNREACHED: [&str; 10] = [
    "Unable to connect to the server",
    "connection refused",
    "connection reset by peer",
    "i/o timeout",
    "TLS handshake timeout",
    "no route to host",
    "http2: client connection lost",
    "unexpected EOF",
    "the server is currently unable to handle the request",
    "etcdserver: request timed out",
];

impl Kubectl {
    /// kubectl with this kubeconfig and namespace on every call.
    pub fn new(runner: Runner, kubeconfig: &Path, namespace: &str) -> Self {
        Self {
            runner,
            kubeconfig: kubeconfig.to_owned(),
            namespace: namespace.to_owned(),
            patience: Duration::ZERO,
            manager: None,
            server: None,
        }
    }

    /// The same, whose questions go to the API server itself. Where that gives no answer to go by, kubectl is asked, whose words people
    /// know.
    #[must_use]
    pub fn by(&self, server: Option<ApiServer>) -> Self {
        Self {
            server,
            ..self.clone()
        }
    }

    /// What the API server answers without a process. None where there is no client for it, or no answer to go by.
    fn directly<T>(
        &self,
        what: &str,
        ask: impl FnOnce(&ApiServer) -> Result<T, Unanswered>,
    ) -> Option<T> {
        let began = Instant::now();
        let answer = ask(self.server.as_ref()?);
        // Never its words: they may repeat what was applied.
        let outcome = match &answer {
            Ok(_) => "answered".to_owned(),
            Err(Unanswered::Refused(status, _)) => format!("refused: {status}"),
            Err(_) => "no answer".to_owned(),
        };
        self.runner.note(what, &outcome, began.elapsed());
        answer.ok()
    }

    /// What the API server answers on a path.
    pub fn raw(&self, path: &str) -> Result<String, Error> {
        if let Some(server) = &self.server {
            let answer = match server.text(path) {
                // One that was kept may have been cut.
                Err(Unanswered::Lost(_)) => server.text(path),
                answer => answer,
            };
            return answer.map_err(|error| Error::Failed {
                command: format!("GET {path}"),
                status: "no answer".to_owned(),
                tail: error.to_string(),
            });
        }
        let get = self.command().args(["get", "--raw", path]);
        get.deadline(Duration::from_secs(10)).read()
    }

    /// What the API server answers on a path in JSON.
    pub fn json(&self, path: &str) -> Result<Value, Failure> {
        let text = self.raw(path).map_err(|error| self.failed(error))?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::setup(format!("GET {path} answered no JSON: {error}")))
    }

    /// Removes an object of the namespace if it is there, by the plural of its kind in its group, such as `deployments` of
    /// `/apis/apps/v1`.
    pub fn delete_named(&self, group: &str, kinds: &str, name: &str) -> Result<(), Failure> {
        let path = format!("{group}/namespaces/{}/{kinds}/{name}", self.namespace);
        let what = format!("DELETE {path}");
        if self
            .directly(&what, |server| server.delete(&path))
            .is_some()
        {
            return Ok(());
        }
        let delete = ["delete", kinds, name, "--ignore-not-found"];
        let delete = self.command().args(delete);
        let deleted = delete.deadline(Duration::from_mins(1)).read();
        deleted.map(drop).map_err(|error| self.failed(error))
    }

    /// The same, which asks an API server again that cannot be reached for a while.
    #[must_use]
    pub fn patient(&self) -> Self {
        Self {
            patience: PATIENCE,
            ..self.clone()
        }
    }

    /// The same, which applies objects under a name of its own.
    #[must_use]
    pub fn managed_by(&self, manager: &str) -> Self {
        Self {
            manager: Some(manager.to_owned()),
            ..self.clone()
        }
    }

    /// The same cluster in another namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..self.clone()
        }
    }

    /// What a command prints, which is run again while the API server cannot be reached: only for commands that may be repeated.
    pub fn read(&self, command: &Command) -> Result<String, Error> {
        let began = Instant::now();
        loop {
            match command.read() {
                Err(error) if began.elapsed() < self.patience && is_unreached(&error) => {
                    if self.runner.cancel().is_raised() {
                        return Err(error);
                    }
                    std::thread::sleep(AGAIN);
                }
                answer => return answer,
            }
        }
    }

    /// The same cluster and namespace through another runner.
    #[must_use]
    pub fn with_runner(&self, runner: &Runner) -> Self {
        Self {
            runner: runner.clone(),
            ..self.clone()
        }
    }

    /// What its commands run by.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// A command in the namespace.
    pub fn command(&self) -> Command {
        self.runner
            .command("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--namespace", &self.namespace])
    }

    /// The end of the log of a pod's container, of its previous life if it has not printed anything in this one; without a name, of
    /// the container that kubectl takes for the main one.
    pub fn log_tail(&self, pod: &str, container: Option<&str>) -> String {
        let container = container.map(|name| ["--container", name]);
        let logs = |previous: &[&str]| {
            self.command()
                .args(["logs", pod, "--tail", TAIL])
                .args(container.into_iter().flatten())
                .args(previous)
                .deadline(Duration::from_secs(10))
                .read()
        };
        match logs(&[]) {
            Ok(text) if !text.is_empty() => text,
            _ => logs(&["--previous"]).unwrap_or_default(),
        }
    }

    /// Waits until the API serves what these definitions of custom resources define.
    pub fn await_definitions(&self, definitions: &[Value]) -> Result<(), Failure> {
        let names = definitions
            .iter()
            .filter_map(|object| Some(format!("crd/{}", object["metadata"]["name"].as_str()?)));
        let wait = self
            .command()
            .args(["wait", "--for", "condition=Established", "--timeout", "30s"])
            .args(names);
        self.read(&wait)
            .map(drop)
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: Error) -> Failure {
        error.into_failure(Exit::Setup, self.runner.cancel())
    }
}
