//! kubectl: applies objects and watches pods, always with a kubeconfig and a namespace that are named.

pub mod ending;
mod events;
pub mod objects;
pub mod pods;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::process::{Command, Error, Runner};

/// How many lines of a log a message repeats.
const TAIL: &str = "15";

/// A cluster as one namespace of it is used.
#[derive(Clone, Debug)]
pub struct Kubectl {
    runner: Runner,
    kubeconfig: PathBuf,
    namespace: String,
}

impl Kubectl {
    /// kubectl with this kubeconfig and namespace on every call.
    pub fn new(runner: Runner, kubeconfig: &Path, namespace: &str) -> Self {
        Self {
            runner,
            kubeconfig: kubeconfig.to_owned(),
            namespace: namespace.to_owned(),
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
        wait.read().map(drop).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: Error) -> Failure {
        error.into_failure(Exit::Setup, self.runner.cancel())
    }
}
