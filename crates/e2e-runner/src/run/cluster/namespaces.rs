//! The run's namespaces: made with its labels, or given, in which it then waits for its turn.

use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::fingerprint::fingerprint;
use crate::process::Error;
use crate::run::cluster::fit::PULL_SECRET;
use crate::run::cluster::{push, tunnel, turn};
use crate::run::forward;
use crate::run::kubernetes::access::kubectl;
use crate::run::kubernetes::apply::{EXPIRES, RUN, labels};
use crate::run::kubernetes::manifests;
use crate::run::layer::Layer;
use crate::run::session::{PULLS, Session};
use crate::state::Resource;
use crate::tools::kubectl::Kubectl;

/// A watch that is lost with its connection is begun again.
const AGAIN: &str = "while :; do \"$@\"; sleep 1; done";
/// The level of Pod Security that the API server holds the run's namespaces to (Kubernetes, "Pod Security Admission").
const POD_SECURITY: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

/// Makes the namespaces of the run, or waits for its turn in those that were given, and puts the registry's credentials there.
pub fn prepare(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let names = session.namespaces.names(session.is_shared());
    let given = !session.given_namespaces().is_empty();
    let context = session.context();
    let made_from = fingerprint(&[&context, &names.join(",")]);
    let note = if session.fingerprint_matches(Layer::Cluster.into(), &made_from)
        && stand(session, &names, given)?
    {
        " is used again: it is there as it was left"
    } else {
        forget(session)?;
        if given {
            for namespace in session.given_namespaces() {
                let guest = Resource::Guest { namespace };
                session.run.will_make(guest).map_err(Failure::setup)?;
            }
            // In the order of their names, whoever waits: two that each had one of the other's would wait for ever.
            for name in &names {
                turn::take(session, name, deadline)?;
            }
        } else {
            make(session, &names)?;
        }
        session.record_fingerprint(Layer::Cluster.into(), &made_from)?;
        ""
    };
    if session.pulls_with_secret() {
        let config = push::pull_secret(session)?;
        let mut secret = manifests::secret(PULL_SECRET, &json!({".dockerconfigjson": config}));
        secret["type"] = json!("kubernetes.io/dockerconfigjson");
        let mut secrets = [secret];
        manifests::label(&mut secrets, &labels(session));
        for name in &names {
            kubectl(session, name).apply(&secrets)?;
        }
        let record = |state: &mut crate::state::State| {
            state
                .fingerprints
                .insert(PULLS.to_owned(), "true".to_owned());
        };
        session.run.update(record).map_err(Failure::setup)?;
    }
    forward::prepare(session.run.dir(), &tunnel::relay(session))?;
    if note.is_empty() {
        watch(session, &names)?;
    }
    Ok(format!("{} of {context}{note}", names.join(", ")))
}

fn make(session: &Session, names: &[String]) -> Result<(), Failure> {
    for name in names {
        let name = name.clone();
        let namespace = Resource::Namespace { name };
        session.run.will_make(namespace).map_err(Failure::setup)?;
    }
    let mut objects: Vec<Value> = names
        .iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .collect();
    manifests::label(&mut objects, &labels(session));
    manifests::label(&mut objects, &[(POD_SECURITY.0, POD_SECURITY.1.to_owned())]);
    // Never one that is there: it would be somebody's.
    let made = kubectl(session, "default").create(&objects);
    made.map_err(|failure| {
        let told = failure.to_string();
        if told.contains("forbidden") {
            failure.hint(
                "ask for the right to create namespaces, or name those that you may use by --namespace",
            )
        } else if told.contains("AlreadyExists") {
            failure.hint("run it again: each run has names of its own")
        } else {
            failure
        }
    })
}

/// Whether the namespaces that an earlier run kept are there, and are that run's.
fn stand(session: &Session, names: &[String], given: bool) -> Result<bool, Failure> {
    if given {
        for name in names {
            if !turn::is_ours(session, name)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let ours = ours(&kubectl(session, "default"), &session.run.id(), names)?;
    Ok(ours.len() == names.len())
}

/// Those of these namespaces that are there with a run's label and are not being removed.
pub fn ours(kubectl: &Kubectl, run: &str, names: &[String]) -> Result<Vec<String>, Failure> {
    let there = kubectl.named("namespace", names)?;
    let ours = there.iter().map(|namespace| &namespace["metadata"]);
    let ours =
        ours.filter(|meta| meta["deletionTimestamp"].is_null() && meta["labels"][RUN] == run);
    let names = ours.filter_map(|meta| meta["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Forgets what an earlier run kept and this one cannot use: with the namespaces went everything in them.
fn forget(session: &Session) -> Result<(), Failure> {
    let forget = |state: &mut crate::state::State| {
        state.fingerprints.clear();
        state.applied.clear();
    };
    session.run.update(forget).map_err(Failure::setup)
}

/// Says in the cluster until when the environment is kept.
pub fn prolong(session: &Session) -> Result<(), Failure> {
    let expires = session.run.state().expires.as_second();
    let label = format!("{EXPIRES}={expires}");
    for name in session.namespaces.names(session.is_shared()) {
        let kubectl = kubectl(session, &name);
        let what = if session.given_namespaces().contains(&name) {
            format!("configmap/{}", turn::ticket(session))
        } else {
            format!("namespace/{name}")
        };
        let args = ["label", "--overwrite", &what, &label];
        kubectl
            .read(&kubectl.command().args(args))
            .map_err(|error| failed(session, error))?;
    }
    Ok(())
}

/// Writes down what happens in the namespaces from their first second on: events, and the states of all pods.
fn watch(session: &Session, names: &[String]) -> Result<(), Failure> {
    for name in names {
        let of_service = session
            .service_runs
            .iter()
            .find(|run| run.namespace == *name);
        let dir = match of_service {
            Some(service_run) => service_run.dir.clone(),
            None if *name == session.namespaces.home => session.run.dir().to_owned(),
            None => session.run.dir().join(format!("namespace-{name}")),
        };
        std::fs::create_dir_all(&dir).map_err(Failure::setup)?;
        for (what, file) in [
            ("events", "cluster-events.log"),
            ("pods", "cluster-pods.log"),
        ] {
            let watch = ["get", what, "--watch", "--output", "wide"];
            let watcher = kubectl(session, name).command().args(watch);
            let watcher = watcher.in_shell(AGAIN);
            let watcher = watcher.spawn(&dir.join(file));
            watcher.map(drop).map_err(|error| failed(session, error))?;
        }
    }
    Ok(())
}

fn failed(session: &Session, error: Error) -> Failure {
    error.into_failure(Exit::Setup, session.runner.cancel())
}
