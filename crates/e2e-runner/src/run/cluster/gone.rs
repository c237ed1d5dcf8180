//! What a run made in a cluster that others use too, removed: its namespaces with all in them, its objects in given ones, what it made
//! for the whole cluster. What is not the run's by its label stays, whatever its name.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Error, Runner};
use crate::run::cluster::{namespaces, wide};
use crate::run::kubernetes::apply::RUN;
use crate::state::{Resource, Run};
use crate::tools::kubectl::Kubectl;
use crate::wait::{Look, Wait};

/// How long what is being removed may take: pods' grace periods, and what controllers finish.
const GONE: Duration = Duration::from_secs(90);
/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(500);
/// Kinds that every run makes in namespaces, whatever its parts are.
const KINDS: [&str; 5] = [
    "deployments.apps",
    "pods",
    "services",
    "secrets",
    "configmaps",
];
/// What kubectl says of a kind that may not be listed, or that the cluster does not have.
const UNSEEN: [&str; 2] = ["cannot list resource", "doesn't have a resource type"];
/// Conditions of a namespace that say what holds it (Kubernetes API, `NamespaceCondition`).
const HELD_BY: [&str; 4] = [
    "NamespaceFinalizersRemaining",
    "NamespaceContentRemaining",
    "NamespaceDeletionContentFailure",
    "NamespaceDeletionDiscoveryFailure",
];

/// kubectl for a run's cluster, from what its directory holds.
pub fn kubectl(run: &Run, runner: &Runner, namespace: &str) -> Kubectl {
    let kubeconfig = run.dir().join("kubeconfig");
    Kubectl::new(runner.clone(), &kubeconfig, namespace).patient()
}

/// Removes a namespace of a run and waits until it is gone.
pub fn remove_namespace(run: &Run, runner: &Runner, name: &str) -> Result<(), String> {
    // All of them at once: each takes as long as the slowest of its pods.
    let resources = run.state().resources.into_iter();
    let names: Vec<String> = resources
        .filter_map(|resource| match resource {
            Resource::Namespace { name } => Some(name),
            _ => None,
        })
        .collect();
    let kubectl = kubectl(run, runner, name);
    let text = |error: Error| error.to_string();
    let ours = namespaces::ours(&kubectl, &run.id(), &names);
    let ours = ours.map_err(|failure| failure.to_string())?;
    for name in &ours {
        // First what runs, without its grace period: a namespace with pods that take their time is looked at again after half of that.
        let delete = [
            "delete",
            "deployments,statefulsets,jobs,pods",
            "--all",
            "--now",
        ];
        let here = kubectl.in_namespace(name);
        let delete = here.command().args(delete).arg("--wait=false");
        // Who may not list one of these kinds has made none of it: then it takes a little longer.
        drop(here.read(&delete));
    }
    if !ours.is_empty() {
        let delete = ["delete", "namespace", "--wait=false", "--ignore-not-found"];
        let delete = kubectl.command().args(delete).args(&ours);
        kubectl.read(&delete).map_err(text)?;
    }
    await_gone(&kubectl, &run.id(), name)
}

/// Waits until a namespace that is being removed is gone; says what holds it, where it is not.
pub fn await_gone(kubectl: &Kubectl, run: &str, name: &str) -> Result<(), String> {
    let wait = Wait {
        what: &format!("the namespace {name} was still being removed"),
        deadline: GONE,
        interval: PAUSE,
    };
    let gone = wait.until(kubectl.runner().cancel(), || {
        let there = match kubectl.named("namespace", &[name]) {
            Ok(there) => there,
            Err(failure) => return Ok(Look::NotYet(failure.to_string())),
        };
        // Gone, or another's by now.
        let is_ours = |namespace: &&Value| namespace["metadata"]["labels"][RUN] == run;
        Ok(match there.first().filter(is_ours) {
            Some(namespace) => Look::NotYet(held_by(namespace)),
            None => Look::Ready(()),
        })
    });
    gone.map_err(|failure| {
        let held = holders(kubectl, failure.detail.as_deref().unwrap_or_default());
        format!("{}: {held}", failure.summary)
    })
}

/// What the conditions of a namespace say that holds it.
fn held_by(namespace: &Value) -> String {
    let conditions = namespace["status"]["conditions"].as_array();
    let said = conditions.into_iter().flatten().filter_map(|condition| {
        let kind = condition["type"].as_str()?;
        let holds = HELD_BY.contains(&kind) && condition["status"] == "True";
        condition["message"].as_str().filter(|_| holds)
    });
    let said: Vec<&str> = said.collect();
    if said.is_empty() {
        return "nothing in it is known to hold it".to_owned();
    }
    said.join("; ")
}

/// The objects that a namespace's conditions speak of, by name, with their finalizers.
fn holders(kubectl: &Kubectl, said: &str) -> String {
    let mut named = Vec::new();
    for kind in kinds(said) {
        let get = kubectl.command().args(["get", &kind, "--output", "json"]);
        let list = get.deadline(Duration::from_secs(10)).read();
        let list: Value = serde_json::from_str(&list.unwrap_or_default()).unwrap_or_default();
        for object in list["items"].as_array().into_iter().flatten() {
            let finalizers = object["metadata"]["finalizers"].as_array();
            let finalizers = finalizers.into_iter().flatten().filter_map(Value::as_str);
            let finalizers: Vec<&str> = finalizers.collect();
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if !finalizers.is_empty() {
                named.push(format!(
                    "{kind}/{name} (finalizer {})",
                    finalizers.join(", ")
                ));
            }
        }
    }
    if named.is_empty() {
        return said.to_owned();
    }
    format!(
        "held by {}: start what ends it again, or take the finalizer out with `kubectl edit`",
        named.join(", ")
    )
}

/// The kinds of which a namespace's conditions say that something is left: `widgets.example.io has 1 resource instances`.
fn kinds(said: &str) -> BTreeSet<String> {
    let mut words = said
        .split([' ', ',', ';', ':'])
        .filter(|word| !word.is_empty());
    let mut kinds = BTreeSet::new();
    let mut last = words.next();
    for word in words {
        if word == "has"
            && let Some(kind) = last
        {
            kinds.insert(kind.trim_end_matches('.').to_owned());
        }
        last = Some(word);
    }
    kinds
}

/// Removes what carries a run's label from a namespace that was given.
pub fn remove_from(run: &Run, runner: &Runner, namespace: &str) -> Result<(), String> {
    let applied = run.state().applied.into_values().flatten();
    let applied = applied.filter(|object| object.namespace.as_deref() == Some(namespace));
    let own: BTreeSet<String> = applied
        .filter(|object| object.kind != "Namespace")
        .map(|object| wide::resource(&object.api_version, &object.kind))
        .collect();
    let kubectl = kubectl(run, runner, namespace);
    remove_labelled(&kubectl, &format!("{RUN}={}", run.id()), own)
}

/// Removes what a selector finds in a namespace, of the kinds that every run makes and of these. A kind that somebody may not list is
/// one of which they have made nothing.
pub fn remove_labelled(
    kubectl: &Kubectl,
    selector: &str,
    own: BTreeSet<String>,
) -> Result<(), String> {
    let mut kinds: Vec<String> = KINDS.map(str::to_owned).into();
    kinds.extend(own.into_iter().filter(|kind| !KINDS.contains(&&**kind)));
    let timeout = format!("--timeout={}s", GONE.as_secs());
    let mut left = Vec::new();
    for kind in &kinds {
        let delete = kubectl
            .command()
            .args(["delete", kind, "--selector", selector])
            .args(["--ignore-not-found", "--cascade=foreground", &timeout])
            .deadline(GONE + Duration::from_secs(10));
        match kubectl.read(&delete).map_err(|error| error.to_string()) {
            Err(why) if !UNSEEN.iter().any(|said| why.contains(said)) => left.push(why),
            _ => {}
        }
    }
    if left.is_empty() {
        Ok(())
    } else {
        Err(left.join("\n"))
    }
}

/// Removes an object of the whole cluster that a run has made, unless another run uses it by now.
pub fn remove_wide(run: &Run, runner: &Runner, kind: &str, name: &str) -> Result<(), String> {
    wide::release(&kubectl(run, runner, "default"), &run.id(), kind, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_holds_a_namespace_is_read_from_its_conditions() {
        let namespace = json!({"status": {"conditions": [
            {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all is well"},
            {"type": "NamespaceContentRemaining", "status": "True",
             "message": "Some resources are remaining: configmaps. has 1 resource instances, widgets.example.io has 2 resource instances"},
            {"type": "NamespaceFinalizersRemaining", "status": "True",
             "message": "Some content in the namespace has finalizers remaining: example.io/hold in 1 resource instances"},
        ]}});
        let said = held_by(&namespace);
        assert!(
            said.contains("example.io/hold") && !said.contains("all is well"),
            "{said}"
        );
        let kinds: Vec<_> = kinds(&said).into_iter().collect();
        assert!(kinds.contains(&"configmaps".to_owned()), "{kinds:?}");
        assert!(
            kinds.contains(&"widgets.example.io".to_owned()),
            "{kinds:?}"
        );
        assert_eq!(held_by(&json!({})), "nothing in it is known to hold it");
    }
}
