//! What the cluster knows of the run, kept as files before anything is removed.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::process::Door;
use crate::run::kind::access::{SHARED, kubeconfig, kubectl};
use crate::run::session::Session;
use crate::tools::kubectl::Kubectl;

/// Keeps what the cluster knows of each of the run's namespaces: objects, events, logs. Secrets are left out.
pub fn collect(session: &Session, door: &Door) {
    if !kubeconfig(session).exists() {
        return;
    }
    for tenant in &session.tenants {
        collect_from(
            &kubectl(session, &tenant.namespace).through(door),
            &tenant.dir,
        );
    }
    if session.is_shared() {
        collect_from(&kubectl(session, SHARED).through(door), session.run.dir());
    }
}

fn collect_from(kubectl: &Kubectl, dir: &Path) {
    let keep = |name: &str, text: String| {
        drop(crate::state::write_private(
            &dir.join(name),
            text.as_bytes(),
        ));
    };
    let read = |args: &[&str]| {
        let asked = kubectl
            .cmd()
            .args(args)
            .deadline(Duration::from_secs(15))
            .read();
        asked.unwrap_or_else(|error| error.to_string())
    };
    keep(
        "pods.yaml",
        read(&["get", "pods,deployments,services", "--output", "yaml"]),
    );
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
    for pod in names {
        keep(
            &format!("{pod}.log"),
            read(&["logs", pod, "--all-containers", "--tail", "2000"]),
        );
        let previous = kubectl
            .cmd()
            .args(["logs", pod, "--previous"])
            .deadline(Duration::from_secs(10))
            .read();
        if let Ok(previous) = previous {
            keep(&format!("{pod}.previous.log"), previous);
        }
    }
}
