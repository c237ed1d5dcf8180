//! Pods as `kubectl get --watch` shows them: whether they are ready, and whether they never will be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::process::{Error, Status as Ended};
use crate::tools::api_server::Watch;
use crate::tools::kubectl::events::{Dead, Warnings};
use crate::tools::kubectl::{AGAIN, Kubectl};

/// Reasons of a waiting container that time does not cure.
const DEAD_REASONS: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    CRASH_LOOP,
];
/// What the kubelet says as it has not yet heard of a pod's Secrets and configuration, which tells nothing of them: it asks again.
const NOT_HEARD: &str = "failed to sync ";
/// The kubelet restarts a container once without it: whoever has it has failed at least twice.
const CRASH_LOOP: &str = "CrashLoopBackOff";
/// How long a pod of a team's own may stay as it cannot become ready: what it needs may come a moment after it.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// How long a pod without a readiness probe must have been ready: Kubernetes calls it that as soon as it runs, though it may end at
/// once.
const SETTLED: Duration = Duration::from_millis(1_500);
/// Between two looks at what the cluster warns of, which the pods' own states do not hold.
const WARNINGS: Duration = Duration::from_secs(1);

/// How much may go wrong before a pod is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Nothing: a container that ends during set-up is a defect even where a restart would hide it.
    Strict,
    /// A container may fail so many times, and what a pod needs may come a moment after it: a team's own service.
    Restarts(u32),
}

/// The pods that are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Their label selector.
    pub label: &'a str,
    /// How many there are at least.
    pub count: u16,
    /// How much may go wrong.
    pub strictness: Strictness,
    /// How long they may find no room: where others use the cluster too, it comes.
    pub room: Option<Duration>,
}

impl Kubectl {
    /// Waits, by watching, until every pod with the label is ready. Fails as soon as one of them cannot become ready.
    ///
    /// `look` is asked while there is such a pod: it ends the wait when it knows from elsewhere that the pod serves, or never will.
    /// Calls `started` once for each pod whose first container has started, and `tell` for a container that has failed and may be
    /// restarted.
    pub fn await_ready(
        &self,
        expected: &Expected<'_>,
        deadline: Duration,
        mut started: impl FnMut(&str),
        mut tell: impl FnMut(&str),
        mut look: impl FnMut() -> Result<bool, Failure>,
    ) -> Result<String, Failure> {
        let label = expected.label;
        let mut watched = Watched::new(expected.strictness);
        watched.least = usize::from(expected.count);
        watched.room = expected.room;
        let mut warnings = Warnings::of(label, expected.room.is_some());
        let mut looked = Ok(false);
        let mut warned = Instant::now();
        let began = Instant::now();
        let result = loop {
            let left = deadline.saturating_sub(began.elapsed());
            let result = {
                let seen = std::cell::RefCell::new(&mut watched);
                let on_line = |line: &str| seen.borrow_mut().line(line);
                let enough = || {
                    let mut seen = seen.borrow_mut();
                    if !seen.pods.is_empty() {
                        looked = look();
                    }
                    let serves = matches!(looked, Ok(true));
                    seen.newly_started(serves)
                        .iter()
                        .for_each(|pod| started(pod));
                    seen.new_troubles().iter().for_each(|text| tell(text));
                    if warned.elapsed() > WARNINGS {
                        let pods = seen.pods.keys().cloned().collect();
                        seen.warned = warnings.look(self, &pods);
                        if let Some(text) = warnings.new_wait() {
                            tell(&text);
                        }
                        warned = Instant::now();
                    }
                    let is_over = seen.has_found_no_room(&warnings);
                    !matches!(looked, Ok(false)) || is_over || seen.decided(Instant::now())
                };
                let again = || seen.borrow_mut().pods.clear();
                self.watch_pods(label, left, (on_line, again), enough)
            };
            if let Some(failure) = watched.no_room(label) {
                return Err(failure);
            }
            // Lost with the API server, not ended by what it showed.
            let is_lost = matches!(looked, Ok(false))
                && !watched.decided(Instant::now())
                && matches!(&result, Ok(_) | Err(Error::Failed { .. }));
            if self.patience.is_zero() || !is_lost || began.elapsed() >= deadline {
                break result;
            }
            self.runner.cancel().check()?;
            std::thread::sleep(AGAIN);
            // The next watch begins with all that is there.
            watched.pods.clear();
        };
        match looked {
            Ok(true) => Ok(watched.describe()),
            Ok(false) => self.conclude(&watched, &warnings, result, (label, deadline)),
            Err(failure) => {
                let seen = failure.detail.clone().unwrap_or_default();
                let log = self.first_log(&watched);
                Err(failure.detail(format!("{seen}\n{log}")))
            }
        }
    }

    /// Hands on each event of the pods that a selector finds, until it is enough; `again` is called before all that are there come once
    /// more.
    fn watch_pods(
        &self,
        selector: &str,
        deadline: Duration,
        (mut on_line, mut again): (impl FnMut(&str), impl FnMut()),
        mut enough: impl FnMut() -> bool,
    ) -> Result<Ended, Error> {
        let (cancel, began) = (self.runner.cancel(), Instant::now());
        let what = format!("watch pods {selector}");
        let ended = self.directly(&what, |server| {
            let enough = || cancel.is_raised() || enough();
            server.watch_pods((&self.namespace, selector), deadline, &mut on_line, enough)
        });
        match ended {
            Some(_) if cancel.is_raised() => Err(Error::Cancelled { command: what }),
            Some(Watch::Enough) => Ok(Ended::SUCCESS),
            Some(Watch::TimedOut) => Err(Error::TimedOut {
                command: what,
                deadline,
                tail: String::new(),
            }),
            // Lost with the server, or none at all: kubectl says why.
            Some(Watch::Lost) | None => {
                again();
                let get = ["get", "pods", "--selector", selector, "--watch"];
                let get = self.command().args(get);
                let get = get.args(["--output-watch-events", "--output", "json"]);
                get.deadline(deadline.saturating_sub(began.elapsed()))
                    .follow(on_line, enough)
            }
        }
    }

    fn first_log(&self, watched: &Watched) -> String {
        let pod = watched.pods.iter().next();
        pod.map(|(name, pod)| self.log_tail(name, pod.of_interest()))
            .unwrap_or_default()
    }

    /// What a watch came to that nothing else has ended.
    fn conclude(
        &self,
        watched: &Watched,
        warnings: &Warnings,
        result: Result<Ended, Error>,
        (label, deadline): (&str, Duration),
    ) -> Result<String, Failure> {
        let state = watched.describe();
        match (result, watched.dead()) {
            (_, Some(dead)) => {
                let what = format!("{} cannot become ready: {}", dead.what, dead.why);
                Err(Failure::new(Exit::Setup, what).detail(if dead.is_pod {
                    self.log_tail(&dead.what, dead.container.as_deref())
                } else {
                    String::new()
                }))
            }
            (Ok(status), None) if status.is_success() && watched.ready() => Ok(state),
            (Ok(status), None) => Err(Failure::new(
                Exit::Setup,
                format!("the watch on pods with {label} ended with {status}"),
            )
            .detail(state)),
            (Err(Error::TimedOut { .. }), None) => {
                let waited = format!(
                    "pods with {} were not ready after {} s",
                    first_of(label),
                    deadline.as_secs()
                );
                let warned = warnings.describe();
                let detail = [state, warned, self.first_log(watched)];
                Err(Failure::new(Exit::Deadline, waited)
                    .detail(detail.join("\n").trim().to_owned()))
            }
            (Err(error), None) => Err(self.failed(error)),
        }
    }
}

/// The first term of a selector, which people know.
fn first_of(label: &str) -> &str {
    label.split(',').next().unwrap_or(label)
}

/// What a watch has shown so far.
struct Watched {
    strictness: Strictness,
    /// How long pods may find no room; none where they never may.
    room: Option<Duration>,
    /// Since when they have found none, and why.
    lacking: Option<(Instant, String)>,
    /// How many pods there must be.
    least: usize,
    said: String,
    pods: BTreeMap<String, Pod>,
    started: BTreeSet<String>,
    /// Since when each pod has been as it cannot become ready.
    doomed: BTreeMap<String, Instant>,
    /// Since when each pod has been ready.
    ready: BTreeMap<String, Instant>,
    /// The failures of containers that were told of, by pod, container and restart.
    told: BTreeSet<(String, String, u32)>,
    /// What the cluster warns of that ends the wait.
    warned: Option<Dead>,
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
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    containers: Vec<Wanted>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    readiness_probe: Option<serde_json::Value>,
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
    reason: String,
    message: String,
    conditions: Vec<Condition>,
    init_container_statuses: Vec<Container>,
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
    name: String,
    #[serde(default)]
    restart_count: u32,
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
    fn new(strictness: Strictness) -> Self {
        Self {
            strictness,
            room: None,
            lacking: None,
            least: 1,
            said: String::new(),
            pods: BTreeMap::new(),
            started: BTreeSet::new(),
            doomed: BTreeMap::new(),
            ready: BTreeMap::new(),
            told: BTreeSet::new(),
            warned: None,
        }
    }

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

    /// Whether there has been no room for the pods for as long as they may wait for it.
    fn has_found_no_room(&mut self, warnings: &Warnings) -> bool {
        let of_maker = warnings.no_room().filter(|_| self.pods.is_empty());
        let mut lacking = self.pods.values().filter(|pod| pod.lacks_room());
        let why = of_maker.or(lacking.find_map(Pod::unschedulable));
        let since = self.lacking.take().map(|(since, _)| since);
        self.lacking = why.map(|why| (since.unwrap_or_else(Instant::now), why.to_owned()));
        self.no_room("").is_some()
    }

    /// The failure of pods that have found no room for as long as they may wait for it.
    fn no_room(&self, label: &str) -> Option<Failure> {
        let ((since, why), room) = self.lacking.as_ref().zip(self.room)?;
        if since.elapsed() < room {
            return None;
        }
        let (app, seconds) = (first_of(label), room.as_secs());
        let what = format!("pods with {app} found no room within {seconds} s: {why}");
        Some(Failure::new(Exit::Deadline, what).hint(
            "free what a quota counts or a node holds, or wait longer: `wait_for_room_seconds` of the cluster's entry",
        ))
    }

    /// Whether there is nothing left to wait for at this time.
    fn decided(&mut self, now: Instant) -> bool {
        let doomed: Vec<(String, bool)> = self
            .pods
            .iter()
            .filter(|(_, pod)| !(self.room.is_some() && pod.lacks_room()))
            .filter_map(|(name, pod)| Some((name.clone(), pod.dead(self.strictness)?.lasts)))
            .collect();
        self.doomed
            .retain(|name, _| doomed.iter().any(|(doomed, _)| doomed == name));
        let patience = match self.strictness {
            Strictness::Strict => Duration::ZERO,
            Strictness::Restarts(_) => PATIENCE,
        };
        let over = doomed.into_iter().any(|(name, lasts)| {
            let since = *self.doomed.entry(name).or_insert(now);
            lasts || now.duration_since(since) >= patience
        });
        self.settled(now) || over || (self.warned.is_some() && !self.ready())
    }

    /// Whether every pod is ready, and has been for long enough to be trusted.
    fn settled(&mut self, now: Instant) -> bool {
        let pods = &self.pods;
        self.ready
            .retain(|name, _| pods.get(name).is_some_and(Pod::ready));
        for (name, _) in pods.iter().filter(|(_, pod)| pod.ready()) {
            self.ready.entry(name.clone()).or_insert(now);
        }
        let long_enough = |(name, pod): (&String, &Pod)| {
            let since = self.ready.get(name).map(|since| now.duration_since(*since));
            since.is_some_and(|since| !pod.may_end_at_once() || since >= SETTLED)
        };
        pods.len() >= self.least && pods.iter().all(long_enough)
    }

    /// Containers that have failed and may be restarted, and pods that wait for room, each told of once.
    fn new_troubles(&mut self) -> Vec<String> {
        let mut new = Vec::new();
        for (name, pod) in &self.pods {
            if self.room.is_some()
                && pod.lacks_room()
                && self.told.insert((name.clone(), String::new(), 0))
            {
                let why = pod.unschedulable().unwrap_or_default();
                new.push(format!("{name} waits for room: {why}"));
            }
            for (kind, container) in pod.containers() {
                // How many times it has ended: the last end is in its last state once it runs again.
                let states = [&container.state, &container.last_state];
                let (ended, times) = match states.map(|state| state.terminated.as_ref()) {
                    [Some(ended), _] => (ended, container.restart_count + 1),
                    [None, Some(ended)] => (ended, container.restart_count),
                    [None, None] => continue,
                };
                if !ended.is_failure() {
                    continue;
                }
                let key = (name.clone(), container.name.clone(), times);
                if self.told.insert(key) {
                    new.push(format!(
                        "{name}: {kind} {}: {}",
                        container.name,
                        ended.ended()
                    ));
                }
            }
        }
        new
    }

    fn ready(&self) -> bool {
        self.pods.len() >= self.least && self.pods.values().all(Pod::ready)
    }

    fn dead(&self) -> Option<Dead> {
        let mut pods = self.pods.iter();
        let of_pods = pods.find_map(|(name, pod)| {
            if self.room.is_some() && pod.lacks_room() {
                return None;
            }
            let doom = pod.dead(self.strictness)?;
            Some(Dead {
                what: name.clone(),
                is_pod: true,
                container: doom.container,
                why: doom.why,
            })
        });
        of_pods.or_else(|| self.warned.clone().filter(|_| !self.ready()))
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
    fn dead(&self, strictness: Strictness) -> Option<Doom> {
        if self.ready() {
            return None;
        }
        if let Some(doom) = self
            .containers()
            .find_map(|(kind, container)| container.dead(kind, strictness))
        {
            return Some(doom);
        }
        if self.status.phase == "Failed" {
            let why = format!("Failed {} {}", self.status.reason, self.status.message);
            return Some(Doom {
                container: self.of_interest().map(str::to_owned),
                why: why.trim().to_owned(),
                lasts: true,
            });
        }
        // A node that is not ready yet repels pods for a moment, by a taint that newer schedulers do not name; any other refusal lasts.
        let passes = |message: &str| {
            message.contains("node.kubernetes.io/not-ready")
                || message.contains("untolerated taint(s)")
        };
        let refused = self.unschedulable().filter(|message| !passes(message))?;
        Some(Doom {
            container: None,
            why: format!("Unschedulable {refused}"),
            lasts: false,
        })
    }

    /// Whether nothing asks one of its containers before the pod counts as ready. One that is done is done.
    fn may_end_at_once(&self) -> bool {
        let unasked = |container: &Wanted| container.readiness_probe.is_none();
        self.status.phase != "Succeeded" && self.spec.containers.iter().any(unasked)
    }

    /// Its containers in the order in which they start, with what they are.
    fn containers(&self) -> impl Iterator<Item = (&'static str, &Container)> {
        let init = self.status.init_container_statuses.iter();
        let main = self.status.container_statuses.iter();
        init.map(|container| ("init container", container))
            .chain(main.map(|container| ("container", container)))
    }

    /// The container whose log says most: the first that is neither running well nor done.
    fn of_interest(&self) -> Option<&str> {
        let ended = |cause: &Option<Cause>| cause.as_ref().is_some_and(Cause::is_failure);
        let troubled = |container: &Container| {
            ended(&container.state.terminated) || ended(&container.last_state.terminated)
        };
        let mut containers = self.containers().map(|(_, container)| container);
        let found = containers
            .find(|container| troubled(container))
            .or_else(|| {
                let mut containers = self.containers().map(|(_, container)| container);
                containers.find(|container| {
                    container.state.terminated.is_none() && container.state.waiting.is_none()
                })
            });
        found.map(|container| container.name.as_str())
    }

    /// Whether it waits for nothing but room on a node, as far as the scheduler says.
    fn lacks_room(&self) -> bool {
        self.unschedulable()
            .is_some_and(|why| why.contains("Insufficient ") || why.contains("Too many pods"))
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
        let waiting = self.containers().find_map(|(kind, container)| {
            let waiting = container.state.waiting.as_ref()?;
            // What waits for its init containers says nothing of itself.
            (waiting.reason != "PodInitializing").then_some((kind, container, waiting))
        });
        let initializing = self
            .status
            .init_container_statuses
            .iter()
            .find(|container| container.state.terminated.is_none());
        match (waiting, initializing) {
            _ if self.ready() => "ready".to_owned(),
            (Some((kind, container, cause)), _) => format!(
                "{} ({kind} {}: {})",
                self.status.phase,
                container.name,
                cause.told()
            ),
            (None, Some(container)) => format!(
                "{} (init container {} runs)",
                self.status.phase, container.name
            ),
            (None, None) => match self.unschedulable() {
                Some(why) => format!("{} (Unschedulable: {why})", self.status.phase),
                None => format!("{}, not ready", self.status.phase),
            },
        }
    }
}

/// Why a pod will not become ready.
struct Doom {
    container: Option<String>,
    why: String,
    /// Whether it is certain at once, whatever comes.
    lasts: bool,
}

impl Container {
    fn dead(&self, kind: &str, strictness: Strictness) -> Option<Doom> {
        let failed = |cause: &Option<Cause>| cause.as_ref().is_some_and(Cause::is_failure);
        let ended = [&self.state.terminated, &self.last_state.terminated]
            .into_iter()
            .find(|cause| failed(cause))
            .and_then(Option::as_ref);
        let waiting = self.state.waiting.as_ref();
        let waiting = waiting.filter(|cause| {
            DEAD_REASONS.contains(&cause.reason.as_str()) && !cause.message.starts_with(NOT_HEARD)
        });
        let loops = waiting.is_some_and(|cause| cause.reason == CRASH_LOOP);
        let most = match strictness {
            Strictness::Strict => 0,
            Strictness::Restarts(most) => most,
        };
        let over = self.restart_count > most || (loops && self.restart_count >= most);
        let given_up = strictness == Strictness::Strict || over;
        if loops && !given_up {
            return None;
        }
        let why = match (waiting, ended) {
            (Some(waiting), Some(ended)) if loops => {
                format!("{}: {}", waiting.reason, ended.ended())
            }
            (Some(waiting), _) if !loops || ended.is_none() => waiting.told(),
            (_, Some(ended)) if given_up => ended.ended(),
            _ => return None,
        };
        let restarts = match self.restart_count {
            0 => String::new(),
            1 => ", restarted once".to_owned(),
            count => format!(", restarted {count} times"),
        };
        Some(Doom {
            container: Some(self.name.clone()).filter(|name| !name.is_empty()),
            why: format!("{kind} {}: {why}{restarts}", self.name),
            lasts: ended.is_some() && given_up,
        })
    }
}

impl Cause {
    /// Whether a container that ended so did not do what it was to do.
    fn is_failure(&self) -> bool {
        self.exit_code != Some(0)
    }

    fn told(&self) -> String {
        format!("{} {}", self.reason, self.message)
            .trim()
            .to_owned()
    }

    fn ended(&self) -> String {
        format!(
            "ended with exit {} ({})",
            self.exit_code.unwrap_or(-1),
            self.told()
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use serde_json::json;

    fn watched_as(strictness: Strictness, status: &Value) -> Watched {
        let mut watched = Watched::new(strictness);
        let event = json!({"type": "MODIFIED", "object": {"metadata": {"name": "postgres-0"}, "status": status}});
        watched.line(&event.to_string());
        watched
    }

    fn watched(status: &Value) -> Watched {
        watched_as(Strictness::Strict, status)
    }

    fn why(watched: &Watched) -> String {
        watched.dead().map(|dead| dead.why).unwrap_or_default()
    }

    #[test]
    fn a_ready_pod_ends_the_wait() {
        let mut pods = watched(
            &json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
        );
        assert!(pods.decided(Instant::now()) && pods.ready());
    }

    #[test]
    fn of_several_pods_each_must_be_there_and_ready() {
        let ready =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let mut pods = watched(&ready);
        pods.least = 2;
        assert!(!pods.decided(Instant::now()) && !pods.ready());
        let second =
            json!({"type": "ADDED", "object": {"metadata": {"name": "second"}, "status": ready}});
        pods.line(&second.to_string());
        assert!(pods.decided(Instant::now()) && pods.ready());
    }

    #[test]
    fn a_wrong_image_is_told_at_once() {
        let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
        let mut pods = watched(
            &json!({"phase": "Pending", "containerStatuses": [{"name": "main", "state": waiting}]}),
        );
        assert!(pods.decided(Instant::now()));
        assert_eq!(why(&pods), "container main: ErrImagePull not found");
    }

    #[test]
    fn a_crash_loop_is_told_by_its_name_and_by_what_ended_the_container() {
        // As the kubelet shows it: the state waits, the last state tells of the end.
        let status = json!({"phase": "Running", "containerStatuses": [{
            "name": "main", "restartCount": 2,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"}},
            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
        }]});
        for strictness in [Strictness::Strict, Strictness::Restarts(1)] {
            let mut pods = watched_as(strictness, &status);
            assert!(pods.decided(Instant::now()), "{strictness:?}");
            assert_eq!(
                why(&pods),
                "container main: CrashLoopBackOff: ended with exit 137 (OOMKilled), restarted 2 times"
            );
        }
    }

    #[test]
    fn a_container_that_ended_is_told_even_after_its_restart_unless_it_may_fail_once() {
        let ended = json!({"terminated": {"reason": "Error", "exitCode": 3}});
        let status = json!({"phase": "Running", "containerStatuses": [{"name": "main", "restartCount": 1, "state": {}, "lastState": ended}]});
        assert_eq!(
            why(&watched(&status)),
            "container main: ended with exit 3 (Error), restarted once"
        );
        let mut own = watched_as(Strictness::Restarts(1), &status);
        assert!(!own.decided(Instant::now()) && own.dead().is_none());
    }

    #[test]
    fn an_init_container_that_fails_is_told_with_its_name() {
        let ended = json!({"terminated": {"reason": "Error", "exitCode": 1}});
        let pods = watched(&json!({"phase": "Pending",
            "initContainerStatuses": [{"name": "wait-for-schema", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended}],
            "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}]}));
        let dead = pods.dead().unwrap();
        assert_eq!(
            (dead.container.as_deref(), dead.why.as_str()),
            (
                Some("wait-for-schema"),
                "init container wait-for-schema: CrashLoopBackOff: ended with exit 1 (Error)"
            )
        );
        let runs = watched(&json!({"phase": "Pending",
            "initContainerStatuses": [{"name": "wait-for-schema", "state": {"running": {}}}],
            "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}]}));
        assert!(
            runs.describe()
                .contains("init container wait-for-schema runs")
        );
    }

    #[test]
    fn a_side_container_that_is_done_is_no_failure() {
        let done = json!({"terminated": {"reason": "Completed", "exitCode": 0}});
        let mut pods = watched(&json!({"phase": "Running", "containerStatuses": [
            {"name": "seed", "state": done}, {"name": "main", "state": {"running": {}}}]}));
        assert!(!pods.decided(Instant::now()) && pods.dead().is_none());
    }

    #[test]
    fn an_evicted_pod_is_told_by_the_reason() {
        let pods = watched(
            &json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
        );
        assert_eq!(
            why(&pods),
            "Failed Evicted The node was low on resource: memory."
        );
    }

    #[test]
    fn a_kubelet_that_has_not_heard_of_a_secret_yet_gives_nothing_up() {
        let state = |message: &str| {
            let waiting =
                json!({"waiting": {"reason": "CreateContainerConfigError", "message": message}});
            json!({"phase": "Pending", "containerStatuses": [{"name": "main", "state": waiting}]})
        };
        let late = "failed to sync secret cache: timed out waiting for the condition";
        assert!(!watched(&state(late)).decided(Instant::now()));
        assert!(watched(&state("secret \"db\" not found")).decided(Instant::now()));
    }

    #[test]
    fn what_a_team_s_pod_needs_may_come_a_moment_after_it() {
        let waiting = json!({"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"db\" not found"}});
        let status =
            json!({"phase": "Pending", "containerStatuses": [{"name": "main", "state": waiting}]});
        let mut pods = watched_as(Strictness::Restarts(1), &status);
        let now = Instant::now();
        assert!(!pods.decided(now));
        assert!(pods.decided(now + PATIENCE));
        assert!(why(&pods).contains("secret \"db\" not found"));
    }

    #[test]
    fn a_pod_that_nothing_asks_is_trusted_after_a_while_only() {
        let ready =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let mut pods = Watched::new(Strictness::Restarts(1));
        let pod = |spec: Value| json!({"type": "MODIFIED", "object": {"metadata": {"name": "w-0"}, "spec": spec, "status": ready}});
        pods.line(&pod(json!({"containers": [{"name": "main"}]})).to_string());
        let now = Instant::now();
        assert!(!pods.decided(now) && !pods.decided(now + SETTLED / 2));
        assert!(pods.decided(now + SETTLED));
        let asked = json!({"containers": [{"name": "main", "readinessProbe": {"httpGet": {}}}]});
        let mut pods = Watched::new(Strictness::Restarts(1));
        pods.line(&pod(asked).to_string());
        assert!(pods.decided(now));
    }

    #[test]
    fn a_failure_that_may_pass_is_told_once() {
        let ended = json!({"terminated": {"reason": "Error", "exitCode": 1}});
        let status = json!({"phase": "Pending", "initContainerStatuses": [{"name": "schema", "state": ended}]});
        let mut pods = watched_as(Strictness::Restarts(1), &status);
        assert_eq!(
            pods.new_troubles(),
            ["postgres-0: init container schema: ended with exit 1 (Error)"]
        );
        assert!(pods.new_troubles().is_empty());
    }

    #[test]
    fn a_job_that_is_done_ends_the_wait_and_one_that_failed_is_told() {
        let ended = |phase: &str, code: i32| {
            let terminated = json!({"terminated": {"reason": "Ended", "exitCode": code}});
            watched(
                &json!({"phase": phase, "containerStatuses": [{"name": "job", "state": terminated}]}),
            )
        };
        assert!(ended("Succeeded", 0).ready());
        assert_eq!(
            why(&ended("Failed", 2)),
            "container job: ended with exit 2 (Ended)"
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
        let mut early = watched(
            &json!({"phase": "Pending", "conditions": [scheduled("untolerated taint {node.kubernetes.io/not-ready: }")]}),
        );
        assert!(!early.decided(Instant::now()));
        let mut unnamed = watched(
            &json!({"phase": "Pending", "conditions": [scheduled("0/1 nodes are available: 1 node(s) had untolerated taint(s)")]}),
        );
        assert!(
            !unnamed.decided(Instant::now()) && unnamed.describe().contains("untolerated taint(s)")
        );
        let full = watched(
            &json!({"phase": "Pending", "conditions": [scheduled("0/1 nodes are available: 1 Insufficient memory")]}),
        );
        assert!(why(&full).contains("Insufficient memory"));
    }
}
