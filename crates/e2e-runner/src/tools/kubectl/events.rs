//! What a cluster warns of beside the states of pods: volumes that cannot be mounted, pods that are not made at all.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use crate::tools::kubectl::{Kubectl, QUOTA_FULL};

/// How long the answer may take; another look follows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Why something will not become ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dead {
    /// A pod, or what should have made one.
    pub(super) what: String,
    /// Whether it is a pod.
    pub(super) is_pod: bool,
    /// The container whose log explains it, where that is known.
    pub(super) container: Option<String>,
    /// The cause.
    pub(super) why: String,
}

/// The warnings about what carries a label `app`.
pub(super) struct Warnings {
    app: String,
    last: Vec<String>,
    /// Whether a quota that is used up is waited for.
    waits_for_room: bool,
    /// The quota that is waited for, until it is told.
    waits: Option<String>,
    told: bool,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Event>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    involved_object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
}

impl Kubectl {
    /// The events of the namespace that warn, as JSON.
    fn warnings(&self) -> Option<String> {
        let path = format!(
            "/api/v1/namespaces/{}/events?fieldSelector=type%3DWarning",
            self.namespace
        );
        if let Some(text) = self.directly(&format!("GET {path}"), |server| server.text(&path)) {
            return Some(text);
        }
        let ask = ["get", "events", "--field-selector", "type=Warning"];
        let ask = self.command().args(ask).args(["--output", "json"]);
        ask.deadline(ANSWER_TIMEOUT).read().ok()
    }
}

impl Warnings {
    /// Of the pods that a selector finds, such as `app=postgres,…`.
    pub(super) fn of(selector: &str, waits_for_room: bool) -> Self {
        let app = selector
            .split(',')
            .find_map(|term| term.strip_prefix("app="));
        Self {
            app: app.unwrap_or_default().to_owned(),
            last: Vec::new(),
            waits_for_room,
            waits: None,
            told: false,
        }
    }

    /// Asks for the warnings about these pods, and about what should make pods of the app while there are none.
    pub(super) fn look(&mut self, kubectl: &Kubectl, pods: &BTreeSet<String>) -> Option<Dead> {
        let text = kubectl.warnings()?;
        self.judge(&text, pods)
    }

    /// That pods wait for a quota, once.
    pub(super) fn new_wait(&mut self) -> Option<String> {
        let waits = self.waits.as_ref().filter(|_| !self.told)?;
        self.told = true;
        Some(format!("{} waits for room: {waits}", self.app))
    }

    /// Why there was no room, where a quota said it.
    pub(super) fn no_room(&self) -> Option<&str> {
        self.waits.as_deref()
    }

    /// What was warned of last, in lines.
    pub(super) fn describe(&self) -> String {
        let mut last = self.last.clone();
        last.dedup();
        last.join("\n")
    }

    fn judge(&mut self, text: &str, pods: &BTreeSet<String>) -> Option<Dead> {
        let list: List = serde_json::from_str(text).ok()?;
        let mut dead = None;
        self.last.clear();
        for event in list.items {
            let Event {
                reason,
                message,
                involved_object,
            } = event;
            let of_pod = pods.contains(&involved_object.name);
            let of_maker = pods.is_empty()
                && !self.app.is_empty()
                && involved_object.kind != "Pod"
                && involved_object.name.starts_with(&self.app);
            if !of_pod && !of_maker {
                continue;
            }
            let told = format!("{reason}: {message}");
            // A volume whose ConfigMap or Secret is missing, a quota that is used up: neither shows in the state of a pod.
            let is_quota = reason == "FailedCreate" && message.contains(QUOTA_FULL);
            if of_maker && is_quota && self.waits_for_room {
                self.waits = Some(message.clone());
                self.last.push(told);
                continue;
            }
            let lasts = (of_pod && reason == "FailedMount" && message.contains("not found"))
                || (of_maker && reason == "FailedCreate");
            if lasts && dead.is_none() {
                dead = Some(Dead {
                    what: involved_object.name,
                    is_pod: of_pod,
                    container: None,
                    why: told.clone(),
                });
            }
            self.last.push(told);
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, name: &str, reason: &str, message: &str) -> String {
        json!({"items": [{"reason": reason, "message": message, "involvedObject": {"kind": kind, "name": name}}]})
            .to_string()
    }

    #[test]
    fn a_missing_volume_and_a_used_up_quota_end_the_wait() {
        let pods = BTreeSet::from(["widget-1".to_owned()]);
        let mut warnings = Warnings::of("app=widget,x=y", false);
        let mount = "MountVolume.SetUp failed for volume \"c\" : configmap \"c\" not found";
        let dead = warnings.judge(&event("Pod", "widget-1", "FailedMount", mount), &pods);
        assert!(dead.unwrap().why.contains("configmap \"c\" not found"));
        let quota = "pods \"widget-1\" is forbidden: exceeded quota: few";
        let of_set = event("ReplicaSet", "widget-77", "FailedCreate", quota);
        let dead = warnings.judge(&of_set, &BTreeSet::new());
        assert!(dead.unwrap().why.contains("exceeded quota"));
        assert!(warnings.judge(&of_set, &pods).is_none(), "a pod is there");
    }

    #[test]
    fn a_quota_of_a_cluster_that_others_use_too_is_waited_for_and_told_once() {
        let mut warnings = Warnings::of("app=widget", true);
        let quota = "pods \"widget-1\" is forbidden: exceeded quota: few";
        let of_set = event("ReplicaSet", "widget-77", "FailedCreate", quota);
        assert!(warnings.judge(&of_set, &BTreeSet::new()).is_none());
        assert!(warnings.new_wait().unwrap().contains("exceeded quota: few"));
        assert!(warnings.judge(&of_set, &BTreeSet::new()).is_none());
        assert_eq!(warnings.new_wait(), None);
        let security = "pods \"widget-1\" is forbidden: violates PodSecurity \"restricted\"";
        let of_set = event("ReplicaSet", "widget-77", "FailedCreate", security);
        assert!(warnings.judge(&of_set, &BTreeSet::new()).is_some());
    }

    #[test]
    fn what_passes_or_is_of_others_is_kept_for_the_deadline_or_left_out() {
        let pods = BTreeSet::from(["widget-1".to_owned()]);
        let mut warnings = Warnings::of("app=widget", false);
        let probe = event(
            "Pod",
            "widget-1",
            "Unhealthy",
            "Readiness probe failed: 503",
        );
        assert!(warnings.judge(&probe, &pods).is_none());
        assert_eq!(
            warnings.describe(),
            "Unhealthy: Readiness probe failed: 503"
        );
        let other = event("Pod", "gadget-1", "FailedMount", "not found");
        assert!(warnings.judge(&other, &pods).is_none());
        assert_eq!(warnings.describe(), "");
    }
}
