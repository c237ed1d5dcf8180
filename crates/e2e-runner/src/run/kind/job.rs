//! A suite as a Job of the cluster: its variables as pods see them, its output followed, its files fetched from the node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::names::Seen;
use crate::process::{Error, Status};
use crate::run::kind::access::{cluster, kubectl};
use crate::run::kind::images;
use crate::run::kind::manifests;
use crate::run::part_run::PartRun;
use crate::run::service_run::ServiceRun;
use crate::run::session::{DATASTORAGE_PORT, Session};
use crate::run::suite::job::{Ended, Job};
use crate::table::part::Publish;
use crate::table::service::Component;
use crate::tools::docker;
use crate::tools::kind;
use crate::tools::kubectl::Kubectl;

/// Where the files of suites lie in the node.
const RESULTS: &str = "/var/lib/kubernaut-e2e/suites";
/// Where a pod sees them.
const EVIDENCE: &str = "/e2e/evidence";
/// Where a pod sees the token for Data Storage.
const FILES: &str = "/e2e/files";
/// The file of the token there.
const TOKEN: &str = "token";
/// How long fetching the files and removing the Job may take.
const REMOVED: Duration = Duration::from_mins(1);
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
    service_run: &ServiceRun,
    job: &Job<'_>,
    on_line: &mut dyn FnMut(&str),
) -> Result<Ended, Failure> {
    let at = Place {
        session,
        kubectl: kubectl(session, &service_run.namespace),
        name: format!("e2e-suite-{}", job.name),
        directory: format!("{RESULTS}/{}/{}", service_run.namespace, job.name),
    };
    let failed = |error: Error| error.into_failure(Exit::Setup, session.runner.cancel());
    // A cluster is used before its DNS answers: the tool's own parts do without names.
    kubectl(session, "kube-system").await_rollout("deployment/coredns", job.deadline)?;
    at.remove(&at.kubectl).map_err(failed)?;
    docker::make_shared_directory(&session.runner, &at.node(), &at.directory).map_err(failed)?;
    let environment = as_pods_see(session, service_run, &at, job.environment)?;
    let asks = environment.contains_key(e2e_env::DATASTORAGE_TOKEN_FILE);
    let files = if asks {
        json!({TOKEN: session.token})
    } else {
        json!({})
    };
    let mut objects = at.objects(job, &environment, &files);
    let run = ("kubernaut.io/e2e-run", session.run.id());
    manifests::label(&mut objects, &[run]);
    at.kubectl.apply(&objects)?;
    let ended = at.follow(job, on_line);
    // Through one more signal: what the suite has written is fetched, and the Job does not run on.
    let runner = session.runner.after(1).within(REMOVED);
    let fetched = docker::copy_out(&runner, &at.node(), &at.directory, job.results);
    drop(at.remove(&at.kubectl.with_runner(&runner)));
    let ended = ended?;
    if ended.is_ok() {
        fetched.map_err(failed)?;
    }
    Ok(ended)
}

/// Where a Job is.
struct Place<'a> {
    session: &'a Session,
    kubectl: Kubectl,
    name: String,
    /// Its files, in the node.
    directory: String,
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

    fn node(&self) -> String {
        kind::node(&cluster(self.session))
    }

    fn objects(
        &self,
        job: &Job<'_>,
        environment: &BTreeMap<String, String>,
        held: &Value,
    ) -> Vec<Value> {
        let name = &self.name;
        let files = format!("{name}-files");
        let container = json!({
            "name": "suite",
            "image": images::pinned(self.session, job.image),
            "imagePullPolicy": "IfNotPresent",
            "command": job.words,
            "envFrom": [{"secretRef": {"name": name}}],
            "volumeMounts": [
                {"name": "evidence", "mountPath": EVIDENCE},
                {"name": "files", "mountPath": FILES, "readOnly": true},
            ],
        });
        let pod = json!({
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [
                {"name": "evidence", "hostPath": {"path": self.directory, "type": "Directory"}},
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
        let pod = loop {
            let pod = self.pod()?;
            if pod.dead() {
                let what = format!(
                    "the Job {} cannot start: {}: {}",
                    self.name, pod.reason, pod.message
                );
                return Err(Failure::new(Exit::Setup, what)
                    .hint("correct `image` of the suite, which `images` brings into the node"));
            }
            if pod.has_begun() {
                break pod.name;
            }
            if let Some(late) = self.late(left(), job)? {
                return Ok(Err(late));
            }
            std::thread::sleep(TICK);
        };
        let logs = self.kubectl.command().args(["logs", "--follow", &pod]);
        if let Err(error) = logs.deadline(left()).stream(on_line) {
            return Ok(Err(error));
        }
        loop {
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
        let text = self.kubectl.command().args(get).read();
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
        let state = &pod["status"]["containerStatuses"][0]["state"];
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
    fn a_pod_is_seen_to_wait_for_its_image_to_run_and_to_end() {
        let pod = |state: &Value, phase: &str| {
            Pod::of(
                &json!({"metadata": {"name": "p"}, "status": {"phase": phase, "containerStatuses": [{"state": state}]}}),
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
