//! A suite as a Job of the cluster: its variables as pods see them, its output followed, its files fetched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::names::Seen;
use crate::process::{Error, Status};
use crate::run::kubernetes::access::kubectl;
use crate::run::kubernetes::images;
use crate::run::kubernetes::manifests;
use crate::run::kubernetes::site::{Results, Site};
use crate::run::part_run::PartRun;
use crate::run::service_run::ServiceRun;
use crate::run::session::{DATASTORAGE_PORT, Session};
use crate::run::suite::job::{Ended, Job};
use crate::state::State;
use crate::table::part::Publish;
use crate::table::service::Component;
use crate::tools::kubectl::Kubectl;
use crate::tools::postgres::{self, AUTHORITY};

/// Where a pod sees them.
const EVIDENCE: &str = "/e2e/evidence";
/// The container of the suite in its pod.
const SUITE: &str = "suite";
/// Where a pod sees the token for Data Storage.
const FILES: &str = "/e2e/files";
/// The file of the token there.
const TOKEN: &str = "token";
/// How long fetching the files and removing the Job may take.
const REMOVED: Duration = Duration::from_mins(1);
/// How long an answer to what is only told may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How often the pod is looked at.
const TICK: Duration = Duration::from_millis(300);
/// Why a container waits that will not start.
const DEAD: [&str; 7] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// Runs a suite as a Job, which is gone afterwards whatever came of it.
pub fn run(
    session: &Session,
    site: &dyn Site,
    service_run: &ServiceRun,
    job: &Job<'_>,
    on_line: &mut dyn FnMut(&str),
) -> Result<Ended, Failure> {
    let at = Place {
        session,
        kubectl: kubectl(session, &service_run.namespace),
        name: format!("e2e-suite-{}", job.name),
    };
    let results = Results {
        namespace: &service_run.namespace,
        job: job.name,
        mounted: EVIDENCE,
    };
    let failed = |error: Error| error.into_failure(Exit::Setup, session.runner.cancel());
    site.await_names(session, job.deadline)?;
    at.remove(&at.kubectl).map_err(failed)?;
    let (volume, keeper) = site.results(session, &results)?;
    let environment = as_pods_see(session, service_run, &at, job.environment)?;
    let asks = environment.contains_key(e2e_env::DATASTORAGE_TOKEN_FILE);
    let mut files = json!({});
    if asks {
        files[TOKEN] = json!(session.token);
    }
    if environment.contains_key(e2e_env::DATABASE_URL)
        && let Some(authority) = session.postgres_url.as_ref().and_then(postgres::authority)
    {
        let text = std::fs::read_to_string(authority).map_err(Failure::setup)?;
        files[AUTHORITY] = json!(text);
    }
    let mut objects = at.objects(job, &environment, &files, volume, keeper);
    let run = ("kubernaut.io/e2e-run", session.run.id());
    manifests::label(&mut objects, &[run]);
    site.fit(session, &service_run.service.name, &mut objects)?;
    let applied = at.kubectl.apply(&objects)?;
    // Of a tool that is killed now, whoever removes the run removes the Job.
    let layer = format!("suite/{}", at.name);
    let record = |state: &mut State| drop(state.applied.insert(layer, applied));
    session.run.update(record).map_err(Failure::setup)?;
    let ended = at.follow(job, on_line);
    // Through one more signal: what the suite has written is fetched, and the Job does not run on.
    let runner = session.runner.after(1).within(REMOVED);
    let kubectl = at.kubectl.with_runner(&runner);
    let pod = at.pod().ok().map(|pod| pod.name);
    let pod = pod.as_deref().filter(|name| !name.is_empty());
    let fetched = site.fetch_results(session, &kubectl, &results, pod, job.results);
    drop(at.remove(&kubectl));
    let ended = ended?;
    if ended.is_ok() {
        fetched?;
    }
    Ok(ended)
}

/// Where a Job is.
struct Place<'a> {
    session: &'a Session,
    kubectl: Kubectl,
    name: String,
}

impl Place<'_> {
    /// The first port of a Service that is published without a number.
    fn first_port(&self, publish: &Publish, part_run: &PartRun) -> Result<u16, Failure> {
        let name = publish.service.as_ref().unwrap_or(&part_run.part.name);
        let namespace = publish.namespace.as_ref().unwrap_or(&part_run.namespace);
        let port = "jsonpath={.spec.ports[0].port}";
        let kubectl = kubectl(self.session, namespace).command();
        let get = kubectl
            .args(["get", "service", name, "--output", port])
            .read();
        let failed = |error: Error| error.into_failure(Exit::Setup, self.session.runner.cancel());
        get.map_err(failed)?.trim().parse().map_err(Failure::setup)
    }

    fn objects(
        &self,
        job: &Job<'_>,
        environment: &BTreeMap<String, String>,
        held: &Value,
        mut volume: Value,
        keeper: Option<Value>,
    ) -> Vec<Value> {
        let name = &self.name;
        let files = format!("{name}-files");
        let container = json!({
            "name": SUITE,
            "image": images::pinned(self.session, job.image),
            "imagePullPolicy": "IfNotPresent",
            "command": job.words,
            "envFrom": [{"secretRef": {"name": name}}],
            "volumeMounts": [
                {"name": "evidence", "mountPath": EVIDENCE},
                {"name": "files", "mountPath": FILES, "readOnly": true},
            ],
        });
        volume["name"] = json!("evidence");
        let containers: Vec<Value> = [container].into_iter().chain(keeper).collect();
        let pod = json!({
            "restartPolicy": "Never",
            "containers": containers,
            "volumes": [
                volume,
                {"name": "files", "secret": {"secretName": files}},
            ],
        });
        let job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {
                "backoffLimit": 0,
                // For the Job of a tool that was killed.
                "activeDeadlineSeconds": job.deadline.as_secs() + REMOVED.as_secs(),
                "template": {"spec": pod},
            },
        });
        vec![
            manifests::secret(name, &json!(environment)),
            manifests::secret(&files, held),
            job,
        ]
    }

    /// Waits until the pod runs, hands on what it prints, and says how it ended.
    fn follow(&self, job: &Job<'_>, on_line: &mut dyn FnMut(&str)) -> Result<Ended, Failure> {
        let began = Instant::now();
        let left = || job.deadline.saturating_sub(began.elapsed());
        let mut told: Option<String> = None;
        let pod = loop {
            let pod = self.pod()?;
            if pod.dead() {
                let what = format!(
                    "the Job {} cannot start: {}: {}",
                    self.name, pod.reason, pod.message
                );
                return Err(Failure::new(Exit::Setup, what)
                    .hint("correct `image` of the suite, which `images` brings to where pods run; where others use the cluster too, it has to name a user other than root"));
            }
            if pod.has_begun() {
                break pod.name;
            }
            if pod.name.is_empty()
                && let Some(why) = self.refused()
                && told.as_ref() != Some(&why)
            {
                self.session
                    .report
                    .note(&format!("the Job {} waits for its pod: {why}", self.name));
                told = Some(why);
            }
            if let Some(late) = self.late(left(), job)? {
                return Ok(Err(match told {
                    Some(why) => Error::TimedOut {
                        command: format!("Job {}", self.name),
                        deadline: job.deadline,
                        tail: why,
                    },
                    None => late,
                }));
            }
            std::thread::sleep(TICK);
        };
        let mut seen = Shown::default();
        loop {
            let logs = [
                "logs",
                "--follow",
                "--timestamps",
                "--container",
                SUITE,
                &pod,
            ];
            let logs = self.kubectl.command().args(logs).args(seen.since());
            // It ends with the suite, or with a connection that was lost: what follows is asked for then.
            let streamed = logs.deadline(left()).stream(|line| {
                if let Some(text) = seen.line(line) {
                    on_line(text);
                }
            });
            if let Err(error) = streamed {
                return Ok(Err(error));
            }
            seen.is_resumed = true;
            let code = self.pod()?.code;
            if code.is_some() {
                return Ok(Ok(Status {
                    code,
                    signal: None,
                    leaked: false,
                }));
            }
            if let Some(late) = self.late(left(), job)? {
                return Ok(Err(late));
            }
            std::thread::sleep(TICK);
        }
    }

    /// Why the Job's pod is not made, as a quota does; the newest reason.
    fn refused(&self) -> Option<String> {
        let of_job = format!("involvedObject.name={},type=Warning", self.name);
        let message = "jsonpath={.items[-1:].message}";
        let get = [
            "get",
            "events",
            "--field-selector",
            &of_job,
            "--output",
            message,
        ];
        let said = self.kubectl.command().args(get).deadline(ANSWER).read();
        said.ok().filter(|said| !said.is_empty())
    }

    fn late(&self, left: Duration, job: &Job<'_>) -> Result<Option<Error>, Failure> {
        self.session.runner.cancel().check()?;
        Ok(left.is_zero().then(|| Error::TimedOut {
            command: format!("Job {}", self.name),
            deadline: job.deadline,
            tail: String::new(),
        }))
    }

    fn pod(&self) -> Result<Pod, Failure> {
        let selector = format!("job-name={}", self.name);
        let get = ["get", "pods", "--selector", &selector, "--output", "json"];
        let text = self.kubectl.read(&self.kubectl.command().args(get));
        let text =
            text.map_err(|error| error.into_failure(Exit::Setup, self.session.runner.cancel()))?;
        let list: Value = serde_json::from_str(&text).map_err(Failure::setup)?;
        Ok(Pod::of(&list["items"][0]))
    }

    /// Removes the Job with its pods and Secrets, and what it wrote.
    fn remove(&self, kubectl: &Kubectl) -> Result<(), Error> {
        let (job, secret) = (
            format!("job/{}", self.name),
            format!("secret/{}", self.name),
        );
        let files = format!("{secret}-files");
        let delete = kubectl.command().args(["delete", "--ignore-not-found"]);
        let delete = delete.args(["--cascade=foreground", "--grace-period=5"]);
        delete
            .args([job, secret, files])
            .deadline(REMOVED)
            .read()
            .map(drop)
    }
}

/// How far the output of a suite has been seen, by the times that the container runtime gave its lines.
#[derive(Debug, Default)]
struct Shown {
    last: Option<String>,
    /// Whether it is asked for once more, which begins with what was seen.
    is_resumed: bool,
}

impl Shown {
    /// The flag by which kubectl leaves out what was seen long ago.
    fn since(&self) -> Option<String> {
        self.last
            .as_ref()
            .map(|last| format!("--since-time={last}"))
    }

    /// The text of a line that was not seen before.
    fn line<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let (time, text) = line.split_once(' ').unwrap_or((line, ""));
        if time.parse::<Timestamp>().is_err() {
            // kubectl's own words, as it loses the connection.
            return None;
        }
        let is_old = self.last.as_ref().is_some_and(|last| time <= last.as_str());
        if self.is_resumed && is_old {
            return None;
        }
        self.last = Some(time.to_owned());
        Some(text)
    }
}

/// What is seen of a Job's pod.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pod {
    name: String,
    phase: String,
    /// Why its container waits.
    reason: String,
    message: String,
    /// How its container ended.
    code: Option<i32>,
}

impl Pod {
    fn of(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let statuses = pod["status"]["containerStatuses"].as_array();
        let mut statuses = statuses.into_iter().flatten();
        let state = statuses.find(|status| status["name"] == SUITE);
        let state = state.map_or(&Value::Null, |status| &status["state"]);
        let code = state["terminated"]["exitCode"].as_i64();
        Self {
            name: text(&pod["metadata"]["name"]),
            phase: text(&pod["status"]["phase"]),
            reason: text(&state["waiting"]["reason"]),
            message: text(&state["waiting"]["message"]),
            code: code.and_then(|code| code.try_into().ok()),
        }
    }

    fn dead(&self) -> bool {
        DEAD.contains(&&*self.reason)
    }

    fn has_begun(&self) -> bool {
        ["Running", "Succeeded", "Failed"].contains(&&*self.phase)
    }
}

/// The variables of a suite with the addresses that pods reach; without what only this machine has.
fn as_pods_see(
    session: &Session,
    service_run: &ServiceRun,
    at: &Place<'_>,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut seen = environment.clone();
    for name in [e2e_env::TOOL, e2e_env::KUBECONFIG, e2e_env::OWN_POSTGRES] {
        seen.remove(name);
    }
    let mut replace = |name: &str, value: String| {
        if let Some(known) = seen.get_mut(name) {
            *known = value;
        }
    };
    let as_pods = |name: &str| session.value(service_run, Seen::Pods, name);
    for name in [
        e2e_env::DATASTORAGE_URL,
        e2e_env::DATASTORAGE_UNMIGRATED_URL,
        e2e_env::DATABASE_URL,
    ] {
        replace(name, as_pods(name).unwrap_or_default());
    }
    replace(e2e_env::DATASTORAGE_TOKEN_FILE, format!("{FILES}/{TOKEN}"));
    replace(e2e_env::EVIDENCE_DIR, EVIDENCE.to_owned());
    let name = &service_run.service.name;
    let mut own = service_run.service.has(Component::Fake).then(|| {
        let namespace = &service_run.namespace;
        format!("http://{name}.{namespace}.svc:{DATASTORAGE_PORT}")
    });
    for part_run in session.parts_of(service_run) {
        for publish in &part_run.part.publish {
            let address = match part_run.pod_address(publish) {
                Some(address) => address,
                None if environment.contains_key(&publish.env) => {
                    let port = at.first_port(publish, part_run)?;
                    let with_port = Publish {
                        port: Some(port),
                        ..publish.clone()
                    };
                    part_run.pod_address(&with_port).unwrap_or_default()
                }
                None => continue,
            };
            if part_run.part.is_service {
                own.get_or_insert_with(|| address.clone());
            }
            replace(&publish.env, address);
        }
    }
    if let Some(own) = own {
        replace(e2e_env::SERVICE_URL, own);
    }
    // Files of this machine: their content is in variables of its own.
    seen.retain(|name, _| {
        let password = name.strip_suffix("_FILE");
        password.is_none_or(|password| !environment.contains_key(password))
    });
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_is_asked_for_again_is_told_once() {
        let mut seen = Shown::default();
        assert_eq!(seen.since(), None);
        assert_eq!(seen.line("error: http2: client connection lost"), None);
        assert_eq!(seen.since(), None);
        assert_eq!(seen.line("2026-01-01T00:00:00.1Z one"), Some("one"));
        assert_eq!(seen.line("2026-01-01T00:00:00.2Z "), Some(""));
        assert_eq!(
            seen.line("2026-01-01T00:00:00.2Z two at once"),
            Some("two at once")
        );
        seen.is_resumed = true;
        assert_eq!(
            seen.since().as_deref(),
            Some("--since-time=2026-01-01T00:00:00.2Z")
        );
        assert_eq!(seen.line("2026-01-01T00:00:00.2Z two at once"), None);
        assert_eq!(seen.line("2026-01-01T00:00:00.3Z three"), Some("three"));
    }

    #[test]
    fn a_pod_is_seen_to_wait_for_its_image_to_run_and_to_end() {
        let pod = |state: &Value, phase: &str| {
            Pod::of(
                &json!({"metadata": {"name": "p"}, "status": {"phase": phase, "containerStatuses": [{"name": "keeper"}, {"name": SUITE, "state": state}]}}),
            )
        };
        let waits = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
        assert!(pod(&waits, "Pending").dead());
        assert!(
            !pod(
                &json!({"waiting": {"reason": "ContainerCreating"}}),
                "Pending"
            )
            .dead()
        );
        assert!(pod(&json!({"running": {}}), "Running").has_begun());
        let ended = pod(&json!({"terminated": {"exitCode": 3}}), "Failed");
        assert_eq!((ended.code, ended.has_begun()), (Some(3), true));
        assert_eq!(Pod::of(&Value::Null), Pod::default());
    }
}
