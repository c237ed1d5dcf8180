//! What runs left in a cluster that others use too, of anybody, whose time is over: removed by its labels alone, and nothing else.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::run::cluster::{gone, wide};
use crate::run::kubernetes::apply::{EXPIRES, OWNER, RUN};
use crate::tools::kubectl::Kubectl;

/// Kinds of which a run may have left something in a given namespace.
const IN_NAMESPACES: [&str; 17] = [
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "cronjobs.batch",
    "pods",
    "services",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "serviceaccounts",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "ingresses.networking.k8s.io",
    "networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy",
    "horizontalpodautoscalers.autoscaling",
];
/// Kinds of the whole cluster of which a run may have left something.
const OF_THE_CLUSTER: [&str; 6] = [
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "priorityclasses.scheduling.k8s.io",
];

/// What a run has left, by its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Left {
    run: String,
    owner: String,
    /// In seconds since 1970.
    expires: i64,
    name: String,
}

impl Left {
    /// What an object says of its run; none of one that has no run or does not say until when it lasts.
    fn of(object: &Value) -> Option<Self> {
        let labels = &object["metadata"]["labels"];
        let text = |name: &str| labels[name].as_str().map(str::to_owned);
        Some(Self {
            run: text(RUN)?,
            owner: text(OWNER).unwrap_or_default(),
            expires: text(EXPIRES)?.parse().ok()?,
            name: object["metadata"]["name"].as_str()?.to_owned(),
        })
    }
}

/// Removes the namespaces of runs that have expired, and what expired runs have left in these given namespaces. Returns how many went,
/// and what did not as one failure.
pub fn remove(
    kubectl: &Kubectl,
    given: &[String],
    say: impl Fn(&str),
) -> Result<(usize, Option<Failure>), Failure> {
    let now = Timestamp::now().as_second();
    let (mut removed, mut left) = (0, Vec::new());
    let mut note = |one: &Left, what: &str, result: Result<(), String>| match result {
        Ok(()) => {
            removed += 1;
            say(&format!(
                "removed {what}, which {} of {} had left",
                one.run, one.owner
            ));
        }
        Err(why) => left.push(format!("{what}: {why}")),
    };
    if given.is_empty() {
        let namespaces = kubectl.labelled("namespaces", RUN).map_err(|failure| {
            failure.hint("name the namespaces that you may see: --namespace NAME")
        })?;
        let namespaces: Vec<Left> = namespaces.iter().filter_map(Left::of).collect();
        for one in namespaces.iter().filter(|one| one.expires < now) {
            let delete = ["delete", "namespace", &one.name, "--wait=false"];
            let deleted = kubectl.read(&kubectl.command().args(delete));
            let gone = deleted
                .map_err(|error| error.to_string())
                .and_then(|_| gone::await_gone(kubectl, &one.run, &one.name));
            note(one, &format!("namespace {}", one.name), gone);
        }
    }
    for namespace in given {
        let here = kubectl.in_namespace(namespace);
        for one in expired(found(&here, &IN_NAMESPACES), now) {
            let selector = format!("{RUN}={}", one.run);
            let kinds = IN_NAMESPACES.map(str::to_owned).into();
            let gone = gone::remove_labelled(&here, &selector, kinds);
            note(&one, &format!("what {} has in {namespace}", one.run), gone);
        }
    }
    // After the namespaces, whose objects may be of these definitions.
    for kind in OF_THE_CLUSTER {
        for object in objects(kubectl, kind) {
            let one = wide::over(&object, now).and_then(|_| Left::of(&object));
            let Some(one) = one else {
                continue;
            };
            let delete = [
                "delete",
                kind,
                &one.name,
                "--ignore-not-found",
                "--timeout=60s",
            ];
            let gone = kubectl.read(&kubectl.command().args(delete));
            let gone = gone.map(drop).map_err(|error| error.to_string());
            note(&one, &format!("{kind}/{}", one.name), gone);
        }
    }
    let failure = (!left.is_empty()).then(|| {
        Failure::new(
            Exit::LeftBehind,
            "expired runs have left what could not be removed",
        )
        .detail(left.join("\n"))
        .hint("run it again once the cause is gone")
    });
    Ok((removed, failure))
}

/// Each run of which everything has expired, once: what was kept longer says so on one of its objects only.
fn expired(objects: Vec<Left>, now: i64) -> Vec<Left> {
    let living: BTreeSet<String> = objects
        .iter()
        .filter(|one| one.expires >= now)
        .map(|one| one.run.clone())
        .collect();
    let mut seen = BTreeSet::new();
    let dead = objects.into_iter().filter(|one| !living.contains(&one.run));
    dead.filter(|one| seen.insert(one.run.clone())).collect()
}

/// What there is of these kinds, each asked for by itself: what somebody may not see is not there for them.
fn found(kubectl: &Kubectl, kinds: &[&str]) -> Vec<Left> {
    let all = kinds.iter().flat_map(|kind| objects(kubectl, kind));
    all.filter_map(|object| Left::of(&object)).collect()
}

fn objects(kubectl: &Kubectl, kind: &str) -> Vec<Value> {
    kubectl.labelled(kind, RUN).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn left(run: &str, expires: i64, name: &str) -> Left {
        Left {
            run: run.to_owned(),
            owner: "somebody".to_owned(),
            expires,
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_run_that_was_kept_longer_on_one_of_its_objects_has_not_expired() {
        let objects = vec![
            left("kept", 10, "deployment"),
            left("kept", 100, "ticket"),
            left("over", 10, "one"),
            left("over", 20, "other"),
        ];
        let runs: Vec<_> = expired(objects, 50)
            .into_iter()
            .map(|one| one.run)
            .collect();
        assert_eq!(runs, ["over"]);
    }

    #[test]
    fn what_says_no_run_or_no_time_is_nobodys_to_remove() {
        let object =
            |labels: Value| Left::of(&json!({"metadata": {"name": "n", "labels": labels}}));
        assert!(object(json!({RUN: "r", EXPIRES: "10"})).is_some());
        assert_eq!(object(json!({RUN: "r"})), None);
        assert_eq!(object(json!({RUN: "r", EXPIRES: "soon"})), None);
        assert_eq!(object(json!({EXPIRES: "10"})), None);
    }
}
