//! Coverage of the pods of a part: a directory of the node that they write into, and its files once they have ended.

use std::path::Path;
use std::sync::PoisonError;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::process::Error;
use crate::run::kind::named;
use crate::run::kubernetes::access::{home, kubectl};
use crate::run::kubernetes::apply::{content, pods_of};
use crate::run::kubernetes::manifests;
use crate::run::part_run::PartRun;
use crate::run::session::Session;
use crate::tools::{coverage, docker};

/// Where the files lie in the node.
const DIRECTORIES: &str = "/var/lib/kubernaut-e2e/coverage";
/// Where a container sees its directory.
const MOUNTED: &str = "/e2e/coverage";
/// The volume's name in a pod.
const VOLUME: &str = "e2e-coverage";

/// Makes the containers of a part write their coverage into a directory of the node, where the run collects it. It is part of what
/// the objects are: without it they are others.
pub fn prepare(
    session: &Session,
    part_run: &PartRun,
    objects: &mut [Value],
) -> Result<(), Failure> {
    let part = &part_run.part;
    if !session.coverage || !part.is_covered() {
        return Ok(());
    }
    // Of pods that are made of anything else, what they write as they end is not mixed with this.
    let directory = format!("{DIRECTORIES}/{}/{}", part.name, &content(objects)[..12]);
    let node = named::node(session);
    // A pod that is used again has written which statements it has when it started.
    let kept = format!("{}*", coverage::GO_META);
    docker::empty_shared_directory(&session.runner, &node, &directory, &kept)
        .map_err(|error| error.into_failure(Exit::Setup, session.runner.cancel()))?;
    objects
        .iter_mut()
        .filter_map(manifests::pod_spec)
        .for_each(|pod| mount(pod, &directory));
    let directories = &session.artifacts.coverage;
    let mut directories = directories.lock().unwrap_or_else(PoisonError::into_inner);
    directories.insert(part.name.clone(), directory);
    Ok(())
}

/// Gives every container of a pod the directory and the variables that name it, in place of those that its manifest has.
fn mount(pod: &mut Value, directory: &str) {
    let volume = json!({"name": VOLUME, "hostPath": {"path": directory, "type": "Directory"}});
    put(&mut pod["volumes"], "name", volume);
    for list in ["containers", "initContainers"] {
        let containers = pod.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            for (name, value) in coverage::variables(MOUNTED) {
                let variable = json!({"name": name, "value": value});
                put(&mut container["env"], "name", variable);
            }
            let mounted = json!({"name": VOLUME, "mountPath": MOUNTED});
            put(&mut container["volumeMounts"], "mountPath", mounted);
        }
    }
}

/// Puts an entry into a list, in place of the one that has the same key.
fn put(list: &mut Value, key: &str, entry: Value) {
    if !list.is_array() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        list.retain(|other| other[key] != entry[key]);
        list.push(entry);
    }
}

/// Ends the pods of a part, since programs write at their exit, and copies what they wrote to a directory of this machine. Those that
/// no workload makes again are left where the environment is kept. Returns what a person should know of how they ended.
pub fn collect(
    session: &Session,
    part_run: &PartRun,
    is_kept: bool,
    to: &Path,
) -> Result<Vec<String>, Failure> {
    let directories = &session.artifacts.coverage;
    let directories = directories.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(directory) = directories.get(&part_run.part.name).cloned() else {
        return Ok(Vec::new());
    };
    drop(directories);
    let kubectl = kubectl(session, home(session));
    let ending = kubectl.end_pods(&pods_of(part_run.level()), is_kept)?;
    let mut told: Vec<String> = ending
        .left
        .iter()
        .map(|pod| {
            format!("{pod} runs on, since no workload would make it again: it wrote no coverage")
        })
        .collect();
    for pod in &ending.ended {
        for (container, code) in &pod.containers {
            let (name, grace) = (&pod.name, pod.grace);
            if pod.killed().contains(&container.as_str()) {
                told.push(format!(
                    "{container} of {name} was killed, since it did not end on SIGTERM within {grace} s: it wrote no coverage"
                ));
            } else if *code != 0 {
                told.push(format!(
                    "{container} of {name} ended with exit {code} on SIGTERM: a program writes its coverage where `main` returns or it exits by itself"
                ));
            }
        }
    }
    let node = named::node(session);
    let failed = |error: Error| error.into_failure(Exit::Setup, session.runner.cancel());
    docker::copy_out(&session.runner, &node, &directory, to).map_err(failed)?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_of_a_workload_writes_into_the_directory_and_nothing_else_is_touched() {
        let pod = json!({
            "initContainers": [{"name": "first"}],
            "containers": [{"name": "main", "env": [{"name": "GOCOVERDIR", "value": "/own"}, {"name": "A", "value": "b"}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        });
        let task = json!({"kind": "Task", "spec": {"containers": [{"name": "step"}]}});
        let mut objects = [
            json!({"kind": "Deployment", "spec": {"template": {"spec": pod}}}),
            json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}}),
            task.clone(),
        ];
        objects
            .iter_mut()
            .filter_map(manifests::pod_spec)
            .for_each(|pod| mount(pod, "/node/w"));
        let spec = &objects[0]["spec"]["template"]["spec"];
        let volumes = json!([{"name": "data", "emptyDir": {}},
            {"name": VOLUME, "hostPath": {"path": "/node/w", "type": "Directory"}}]);
        assert_eq!(spec["volumes"], volumes);
        let variables = |container: &Value| {
            let list = container["env"].as_array().unwrap().iter();
            list.map(|variable| (variable["name"].clone(), variable["value"].clone()))
                .collect::<Vec<_>>()
        };
        let own = [
            (json!("GOCOVERDIR"), json!("/e2e/coverage")),
            (
                json!("LLVM_PROFILE_FILE"),
                json!("/e2e/coverage/%h-%p-%m.profraw"),
            ),
        ];
        assert_eq!(variables(&spec["initContainers"][0]), own);
        assert_eq!(variables(&spec["containers"][0])[1..], own);
        assert_eq!(
            spec["containers"][0]["volumeMounts"][1]["mountPath"],
            MOUNTED
        );
        assert_eq!(
            &objects[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"],
            spec
        );
        assert_eq!(objects[2], task);
    }
}
