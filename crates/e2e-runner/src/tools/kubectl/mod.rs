//! kubectl: applies objects and watches pods, always with the run's own kubeconfig.

pub mod pods;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::process::{Cmd, Door, Error};

/// A cluster as one namespace of it is used.
#[derive(Clone, Debug)]
pub struct Kubectl {
    door: Door,
    kubeconfig: PathBuf,
    namespace: String,
}

impl Kubectl {
    /// kubectl with this kubeconfig and namespace on every call.
    pub fn new(door: Door, kubeconfig: &Path, namespace: &str) -> Self {
        Self {
            door,
            kubeconfig: kubeconfig.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// The same cluster and namespace through another door.
    #[must_use]
    pub fn through(&self, door: &Door) -> Self {
        Self {
            door: door.clone(),
            ..self.clone()
        }
    }

    /// A command in the namespace.
    pub fn cmd(&self) -> Cmd {
        self.door
            .cmd("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--namespace", &self.namespace])
    }

    /// Applies objects, server side. They travel by standard input, so that secrets are in no process list and no file.
    pub fn apply(&self, objects: &[Value]) -> Result<(), Failure> {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let apply = self
            .cmd()
            .args([
                "apply",
                "--server-side",
                "--force-conflicts",
                "--filename",
                "-",
            ])
            .stdin(list.to_string());
        apply.read().map(drop).map_err(|error| self.failed(error))
    }

    /// The end of a pod's log, of its previous container if there was one.
    pub fn log_tail(&self, pod: &str) -> String {
        let logs = |previous: &[&str]| {
            self.cmd()
                .args(["logs", pod, "--tail", "15"])
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
            .cmd()
            .args(["wait", "--for", "condition=Established", "--timeout", "30s"])
            .args(names);
        wait.read().map(drop).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: Error) -> Failure {
        error.into_failure(Exit::Setup, self.door.cancel())
    }
}
