//! Pods as `kubectl get --watch` shows them: whether they are ready, and whether they never will be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::process::Error;
use crate::tools::kubectl::Kubectl;

/// Reasons of a waiting container that time does not cure.
const DEAD_REASONS: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

impl Kubectl {
    /// Waits until every pod that carries the label is ready, by watching; ends early once one of them cannot get there, or once
    /// `look`, asked while there is such a pod, knows from elsewhere that it serves already, or never will. Tells `started` once of each
    /// pod whose first container has started.
    pub fn await_ready(
        &self,
        label: &str,
        deadline: Duration,
        mut started: impl FnMut(&str),
        mut look: impl FnMut() -> Result<bool, Failure>,
    ) -> Result<String, Failure> {
        let mut watched = Watched::default();
        let mut looked = Ok(false);
        let watch = self.command().args([
            "get",
            "pods",
            "--selector",
            label,
            "--watch",
            "--output-watch-events",
            "--output",
            "json",
        ]);
        let result = {
            let seen = std::cell::RefCell::new(&mut watched);
            watch.deadline(deadline).follow(
                |line| seen.borrow_mut().line(line),
                || {
                    let mut seen = seen.borrow_mut();
                    if !seen.pods.is_empty() {
                        looked = look();
                    }
                    let serves = matches!(looked, Ok(true));
                    seen.newly_started(serves)
                        .iter()
                        .for_each(|pod| started(pod));
                    !matches!(looked, Ok(false)) || seen.decided()
                },
            )
        };
        let first_log = || {
            let pod = watched.pods.keys().next();
            pod.map(|pod| self.log_tail(pod)).unwrap_or_default()
        };
        match looked {
            Ok(true) => return Ok(watched.describe()),
            Ok(false) => {}
            Err(failure) => {
                let seen = failure.detail.clone().unwrap_or_default();
                return Err(failure.detail(format!("{seen}\n{}", first_log())));
            }
        }
        let state = watched.describe();
        match (result, watched.dead()) {
            (_, Some((pod, why))) => Err(Failure::new(
                Exit::Setup,
                format!("{pod} cannot become ready: {why}"),
            )
            .detail(self.log_tail(&pod))
            .hint(format!(
                "look at `kubectl -n {} describe pod {pod}`",
                self.namespace
            ))),
            (Ok(0), None) if watched.ready() => Ok(state),
            (Ok(code), None) => Err(Failure::new(
                Exit::Setup,
                format!("the watch on pods with {label} ended with exit {code}"),
            )
            .detail(state)),
            (Err(Error::TimedOut { .. }), None) => {
                let waited = format!(
                    "pods with {label} were not ready after {} s",
                    deadline.as_secs()
                );
                Err(Failure::new(Exit::Deadline, waited)
                    .detail(format!("{state}\n{}", first_log())))
            }
            (Err(error), None) => Err(self.failed(error)),
        }
    }
}

/// What a watch has shown so far.
#[derive(Default)]
struct Watched {
    said: String,
    pods: BTreeMap<String, Pod>,
    started: BTreeSet<String>,
}

#[derive(Deserialize)]
struct WatchEvent {
    r#type: String,
    object: Pod,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(rename = "deletionTimestamp")]
    deleted: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<Container>,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    state: ContainerState,
    #[serde(default)]
    last_state: ContainerState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Cause>,
    terminated: Option<Cause>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    exit_code: Option<i32>,
}

impl Watched {
    /// Takes one line of kubectl's output: an event, or words such as a refused connection.
    fn line(&mut self, line: &str) {
        let Ok(event) = serde_json::from_str::<WatchEvent>(line) else {
            line.clone_into(&mut self.said);
            return;
        };
        let name = event.object.metadata.name.clone();
        if event.r#type == "DELETED" || event.object.metadata.deleted.is_some() {
            self.pods.remove(&name);
        } else {
            self.pods.insert(name, event.object);
        }
    }

    /// The pods of which a container has started since this was asked last; all of them where they are known to serve.
    fn newly_started(&mut self, serves: bool) -> Vec<String> {
        let started = |pod: &Pod| {
            let containers = &pod.status.container_statuses;
            let started = |container: &Container| container.state.waiting.is_none();
            serves || containers.iter().any(started)
        };
        let pods = self.pods.iter().filter(|(_, pod)| started(pod));
        let new: Vec<_> = pods
            .map(|(name, _)| name.clone())
            .filter(|name| !self.started.contains(name))
            .collect();
        self.started.extend(new.iter().cloned());
        new
    }

    fn decided(&self) -> bool {
        self.ready() || self.dead().is_some()
    }

    fn ready(&self) -> bool {
        !self.pods.is_empty() && self.pods.values().all(Pod::ready)
    }

    fn dead(&self) -> Option<(String, String)> {
        self.pods
            .iter()
            .find_map(|(name, pod)| Some((name.clone(), pod.dead()?)))
    }

    fn describe(&self) -> String {
        if self.pods.is_empty() {
            return format!("no pod yet {}", self.said).trim_end().to_owned();
        }
        self.pods
            .iter()
            .map(|(name, pod)| format!("{name} {}", pod.describe()))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Pod {
    /// Whether there is nothing left to wait for: it serves, or it was a job's and has done it.
    fn ready(&self) -> bool {
        let is_ready =
            |condition: &Condition| condition.r#type == "Ready" && condition.status == "True";
        self.status.phase == "Succeeded" || self.status.conditions.iter().any(is_ready)
    }

    /// Why this pod will not become ready, if that is certain. One that is ready has outlived whatever ended its containers.
    fn dead(&self) -> Option<String> {
        if self.ready() {
            return None;
        }
        let told = |cause: &Cause| {
            format!("{} {}", cause.reason, cause.message)
                .trim()
                .to_owned()
        };
        for Container { state, last_state } in &self.status.container_statuses {
            // A container that ended during set-up is a defect even where a restart would hide it.
            if let Some(ended) = state.terminated.as_ref().or(last_state.terminated.as_ref()) {
                return Some(format!(
                    "its container ended with exit {} ({})",
                    ended.exit_code.unwrap_or(-1),
                    told(ended)
                ));
            }
            if let Some(waiting) = state
                .waiting
                .as_ref()
                .filter(|waiting| DEAD_REASONS.contains(&waiting.reason.as_str()))
            {
                return Some(told(waiting));
            }
        }
        // A node that is not ready yet repels pods for a moment, by a taint that newer schedulers do not name; any other refusal lasts.
        let passes = |message: &str| {
            message.contains("node.kubernetes.io/not-ready")
                || message.contains("untolerated taint(s)")
        };
        let refused = self.unschedulable().filter(|message| !passes(message))?;
        Some(format!("Unschedulable {refused}"))
    }

    /// Why no node takes it, if none does.
    fn unschedulable(&self) -> Option<&str> {
        let refusal = |condition: &&Condition| {
            condition.r#type == "PodScheduled" && condition.reason == "Unschedulable"
        };
        let condition = self.status.conditions.iter().find(refusal)?;
        Some(&condition.message)
    }

    fn describe(&self) -> String {
        let waiting = self
            .status
            .container_statuses
            .iter()
            .find_map(|container| container.state.waiting.as_ref());
        match waiting {
            _ if self.ready() => "ready".to_owned(),
            Some(cause) => format!("{} ({})", self.status.phase, cause.reason),
            None => match self.unschedulable() {
                Some(why) => format!("{} (Unschedulable: {why})", self.status.phase),
                None => format!("{}, not ready", self.status.phase),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use serde_json::json;

    fn watched(status: &Value) -> Watched {
        let mut watched = Watched::default();
        let event = json!({"type": "MODIFIED", "object": {"metadata": {"name": "postgres-0"}, "status": status}});
        watched.line(&event.to_string());
        watched
    }

    #[test]
    fn a_ready_pod_ends_the_wait() {
        let pods = watched(
            &json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
        );
        assert!(pods.decided() && pods.ready());
    }

    #[test]
    fn a_wrong_image_is_told_at_once() {
        let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
        let pods = watched(&json!({"phase": "Pending", "containerStatuses": [{"state": waiting}]}));
        assert_eq!(
            pods.dead(),
            Some(("postgres-0".to_owned(), "ErrImagePull not found".to_owned()))
        );
    }

    #[test]
    fn a_container_that_ended_is_told_even_after_its_restart() {
        let ended = json!({"terminated": {"reason": "Error", "exitCode": 3}});
        let pods = watched(
            &json!({"phase": "Running", "containerStatuses": [{"state": {}, "lastState": ended}]}),
        );
        assert_eq!(
            pods.dead().unwrap().1,
            "its container ended with exit 3 (Error)"
        );
    }

    #[test]
    fn a_job_that_is_done_ends_the_wait_and_one_that_failed_is_told() {
        let ended = |phase: &str, code: i32| {
            let terminated = json!({"terminated": {"reason": "Ended", "exitCode": code}});
            watched(&json!({"phase": phase, "containerStatuses": [{"state": terminated}]}))
        };
        assert!(ended("Succeeded", 0).ready());
        assert_eq!(
            ended("Failed", 2).dead().unwrap().1,
            "its container ended with exit 2 (Ended)"
        );
    }

    #[test]
    fn a_pod_that_was_killed_and_is_ready_again_is_not_dead() {
        let killed = json!({"terminated": {"reason": "Error", "exitCode": 137}});
        let pods = watched(&json!({
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"state": {"running": {}}, "lastState": killed}],
        }));
        assert_eq!((pods.ready(), pods.dead()), (true, None));
    }

    #[test]
    fn a_node_that_is_not_ready_yet_is_waited_for() {
        let scheduled = |message: &str| json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        let early = watched(
            &json!({"phase": "Pending", "conditions": [scheduled("untolerated taint {node.kubernetes.io/not-ready: }")]}),
        );
        assert!(!early.decided());
        let unnamed = watched(
            &json!({"phase": "Pending", "conditions": [scheduled("0/1 nodes are available: 1 node(s) had untolerated taint(s)")]}),
        );
        assert!(!unnamed.decided() && unnamed.describe().contains("untolerated taint(s)"));
        let full = watched(
            &json!({"phase": "Pending", "conditions": [scheduled("0/1 nodes are available: 1 Insufficient memory")]}),
        );
        assert!(full.dead().unwrap().1.contains("Insufficient memory"));
    }
}
