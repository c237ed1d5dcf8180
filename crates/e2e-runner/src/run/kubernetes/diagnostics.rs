//! What the cluster knows of the run, kept as files before anything is removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::process::{Error, Runner};
use crate::run::kubernetes::access::{kubeconfig, kubectl};
use crate::run::session::Session;
use crate::tools::kubectl::Kubectl;

/// Keeps what the cluster knows of each of the run's namespaces, those of its parts and of all that was applied too: objects, events,
/// logs. Secrets are left out.
pub fn collect(session: &Session, runner: &Runner) {
    if !kubeconfig(session).exists() {
        return;
    }
    for service_run in &session.service_runs {
        collect_from(
            &kubectl(session, &service_run.namespace).with_runner(runner),
            &service_run.dir,
        );
    }
    if session.is_shared() {
        collect_from(
            &kubectl(session, session.home()).with_runner(runner),
            session.run.dir(),
        );
    }
    for (namespace, dir) in further(session) {
        if std::fs::create_dir_all(&dir).is_ok() {
            collect_from(&kubectl(session, &namespace).with_runner(runner), &dir);
        }
    }
}

/// The namespaces of parts and of what was applied, besides those of the services, each with its directory.
pub fn further(session: &Session) -> Vec<(String, PathBuf)> {
    let own = session.service_runs.iter().map(|run| &*run.namespace);
    let own: Vec<&str> = own
        .chain(session.is_shared().then(|| session.home()))
        .collect();
    let parts = session
        .parts
        .iter()
        .map(|part_run| part_run.namespace.clone());
    let state = session.run.state();
    let applied = state.applied.into_values().flatten();
    let applied = applied.filter_map(|object| object.namespace);
    let all: BTreeSet<String> = parts.chain(applied).collect();
    all.into_iter()
        // Those of the cluster itself are in the log of its events.
        .filter(|name| !own.contains(&&**name) && !name.starts_with("kube-"))
        .map(|name| {
            (
                name.clone(),
                session.run.dir().join(format!("namespace-{name}")),
            )
        })
        .collect()
}

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

fn has_restarted(pod: &Value) -> bool {
    ["initContainerStatuses", "containerStatuses"]
        .iter()
        .filter_map(|kind| pod["status"][kind].as_array())
        .flatten()
        .any(|container| container["restartCount"].as_u64() > Some(0))
}

fn collect_from(kubectl: &Kubectl, dir: &Path) {
    let keep = |name: &str, text: String| {
        drop(crate::state::write_private(
            &dir.join(name),
            text.as_bytes(),
        ));
    };
    let mut silent = false;
    // Both streams: a container that waits makes kubectl fail, and the logs of the others come all the same. An API server that did not
    // answer once is not asked again.
    let mut read = |args: &[&str]| -> String {
        if silent {
            return "not asked: the API server had not answered before".to_owned();
        }
        let command = kubectl.command().args(args).deadline(ANSWER_TIMEOUT);
        match command.output() {
            Ok(output) => {
                let streams = [output.stdout, output.stderr].concat();
                String::from_utf8_lossy(&streams).into_owned()
            }
            Err(error) => {
                silent = matches!(error, Error::TimedOut { .. } | Error::Cancelled { .. });
                error.to_string()
            }
        }
    };
    keep(
        "pods.yaml",
        read(&[
            "get",
            "pods,deployments,statefulsets,services",
            "--output",
            "yaml",
        ]),
    );
    keep("describe.txt", read(&["describe", "pods"]));
    keep(
        "events.txt",
        read(&["get", "events", "--sort-by", ".lastTimestamp"]),
    );
    let pods: Value =
        serde_json::from_str(&read(&["get", "pods", "--output", "json"])).unwrap_or_default();
    let names = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pod| pod["metadata"]["name"].as_str());
    let restarted: Vec<&str> = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| has_restarted(pod))
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .collect();
    for pod in names {
        let logs = |more: &'static [&'static str]| {
            let all = [
                "logs",
                pod,
                "--all-containers",
                "--prefix",
                "--ignore-errors",
            ];
            [&all[..], more].concat()
        };
        keep(&format!("{pod}.log"), read(&logs(&["--tail", "2000"])));
        if restarted.contains(&pod) {
            let previous = read(&logs(&["--previous"]));
            keep(&format!("{pod}.previous.log"), previous);
        }
    }
}
