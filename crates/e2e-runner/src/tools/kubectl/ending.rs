//! Pods that are ended in order: each gets its SIGTERM and its grace period, and its last state tells how its containers ended.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::process::Error;
use crate::tools::kubectl::Kubectl;

/// What ending takes beside the grace periods themselves.
const BESIDE: Duration = Duration::from_mins(1);
/// How long to wait until the watch has shown the pods that are to be ended.
const SHOWN: Duration = Duration::from_secs(5);
/// The exit code of a process that SIGKILL ended.
const KILLED: i64 = 137;

/// A pod that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedPod {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// How long its containers had to end by themselves, in seconds.
    pub grace: u64,
    /// Its containers with their exit codes, as far as they are known.
    pub containers: Vec<(String, i64)>,
}

impl EndedPod {
    /// The containers that did not end by themselves.
    pub fn killed(&self) -> Vec<&str> {
        let killed = self.containers.iter().filter(|(_, code)| *code == KILLED);
        killed.map(|(name, _)| name.as_str()).collect()
    }
}

/// What became of pods that were to be ended.
#[derive(Debug, Default)]
pub struct Ending {
    /// Those that are gone.
    pub ended: Vec<EndedPod>,
    /// Those that were left, since nothing makes them again.
    pub left: Vec<String>,
}

impl Kubectl {
    /// Ends the pods of a selector, in all namespaces, and waits until they are gone; with `only_remade` only those that a workload
    /// makes again. What has ended already is left alone.
    pub fn end_pods(&self, selector: &str, only_remade: bool) -> Result<Ending, Failure> {
        let pods = self.running(selector)?;
        let (wanted, left): (Vec<_>, Vec<_>) = pods
            .into_iter()
            .partition(|pod| !only_remade || is_remade(pod));
        let mut ending = Ending {
            ended: Vec::new(),
            left: left.iter().map(name).collect(),
        };
        if wanted.is_empty() {
            return Ok(ending);
        }
        let grace = wanted.iter().map(grace).max().unwrap_or_default();
        let deadline = Duration::from_secs(grace) + BESIDE;
        let names: BTreeSet<String> = wanted.iter().map(name).collect();
        let shown = RefCell::new(BTreeSet::new());
        let gone = RefCell::new(BTreeMap::new());
        let (began, mut asked) = (Instant::now(), None);
        let watch = self.command().args([
            "get",
            "pods",
            "--all-namespaces",
            "--selector",
            selector,
            "--watch",
            "--output-watch-events",
            "--output",
            "json",
        ]);
        let watched = watch.deadline(deadline).follow(
            |line| {
                let event: Value = serde_json::from_str(line).unwrap_or_default();
                let pod = &event["object"];
                if event["type"] == "DELETED" && names.contains(&name(pod)) {
                    gone.borrow_mut().insert(name(pod), ended(pod));
                }
                shown.borrow_mut().insert(name(pod));
            },
            || {
                // Before the watch shows them, their end could pass unseen.
                let seen = names.is_subset(&shown.borrow());
                if asked.is_none() && (seen || began.elapsed() > SHOWN) {
                    asked = Some(self.delete_pods(&wanted));
                }
                matches!(asked, Some(Err(_))) || gone.borrow().len() == names.len()
            },
        );
        asked.unwrap_or(Ok(()))?;
        let still: Vec<String> = match watched {
            Ok(_) => Vec::new(),
            Err(Error::TimedOut { .. }) => {
                let running = self.running(selector)?;
                let running = running.iter().map(name);
                running.filter(|name| names.contains(name)).collect()
            }
            Err(error) => return Err(self.failed(error)),
        };
        if !still.is_empty() {
            let what = format!(
                "{} did not end within {} s",
                still.join(", "),
                deadline.as_secs()
            );
            return Err(Failure::new(Exit::Deadline, what));
        }
        ending.ended = gone.into_inner().into_values().collect();
        Ok(ending)
    }

    /// The pods of a selector that have not ended.
    fn running(&self, selector: &str) -> Result<Vec<Value>, Failure> {
        let get = ["get", "pods", "--all-namespaces", "--selector", selector];
        let get = self.command().args(get).args(["--output", "json"]).read();
        let text = get.map_err(|error| self.failed(error))?;
        let mut list: Value = serde_json::from_str(&text).map_err(Failure::setup)?;
        let mut pods = match list["items"].take() {
            Value::Array(pods) => pods,
            _ => Vec::new(),
        };
        pods.retain(|pod| {
            pod["status"]["phase"] != "Succeeded" && pod["status"]["phase"] != "Failed"
        });
        Ok(pods)
    }

    /// Asks for the end of pods; their own grace periods hold.
    fn delete_pods(&self, pods: &[Value]) -> Result<(), Failure> {
        let mut by_namespace: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for pod in pods {
            let meta = &pod["metadata"];
            let namespace = meta["namespace"].as_str().unwrap_or_default();
            let names = by_namespace.entry(namespace).or_default();
            names.push(meta["name"].as_str().unwrap_or_default());
        }
        for (namespace, names) in by_namespace {
            let kubectl = Self {
                namespace: namespace.to_owned(),
                ..self.clone()
            };
            let delete = ["delete", "pods", "--wait=false", "--ignore-not-found"];
            let delete = kubectl.command().args(delete).args(names).read();
            delete.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }
}

fn name(pod: &Value) -> String {
    let text = |name: &str| pod["metadata"][name].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

/// Whether a workload makes such a pod again: a Job counts it as failed, and one that is nobody's is gone for good.
fn is_remade(pod: &Value) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let mut owners = owners.into_iter().flatten();
    owners.any(|owner| owner["controller"] == true && owner["kind"] != "Job")
}

fn grace(pod: &Value) -> u64 {
    pod["spec"]["terminationGracePeriodSeconds"]
        .as_u64()
        .unwrap_or(30)
}

fn ended(pod: &Value) -> EndedPod {
    let statuses = pod["status"]["containerStatuses"].as_array();
    let containers = statuses.into_iter().flatten().filter_map(|status| {
        let code = status["state"]["terminated"]["exitCode"].as_i64()?;
        Some((status["name"].as_str()?.to_owned(), code))
    });
    EndedPod {
        name: name(pod),
        grace: grace(pod),
        containers: containers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_state_of_a_pod_tells_which_container_did_not_end_by_itself() {
        let status = |name: &str, code: i64| json!({"name": name, "state": {"terminated": {"exitCode": code}}});
        let pod = json!({
            "metadata": {"namespace": "n", "name": "w-1"},
            "spec": {"terminationGracePeriodSeconds": 5},
            "status": {"containerStatuses": [status("main", 0), status("deaf", 137)]},
        });
        let pod = ended(&pod);
        assert_eq!((pod.name.as_str(), pod.grace), ("n/w-1", 5));
        assert_eq!(pod.killed(), ["deaf"]);
    }

    #[test]
    fn only_a_pod_that_a_workload_makes_again_may_be_ended_in_a_kept_environment() {
        let of = |owners: Value| json!({"metadata": {"name": "p", "ownerReferences": owners}});
        let owner = |kind: &str| of(json!([{"kind": kind, "controller": true}]));
        assert!(is_remade(&owner("ReplicaSet")) && is_remade(&owner("DaemonSet")));
        assert!(!is_remade(&owner("Job")) && !is_remade(&of(Value::Null)));
    }
}
