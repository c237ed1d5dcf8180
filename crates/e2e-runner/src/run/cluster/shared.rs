//! A cluster that others use too, as [`Site`]: nothing of a node, nothing fixed, everything through the tunnel.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::run::cluster::fit::{Manners, fit, is_of_the_cluster};
use crate::run::cluster::wide::{self, Claim};
use crate::run::forward;
use crate::run::kubernetes::access::kubectl;
use crate::run::kubernetes::apply::RUN;
use crate::run::kubernetes::endpoints::Endpoint;
use crate::run::kubernetes::replicas::QUEUE;
use crate::run::kubernetes::site::{Fixed, Results, Site};
use crate::run::part_run::PartRun;
use crate::run::places::suffix;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::settings;
use crate::state::Resource;
use crate::tools::kubectl::Kubectl;

/// How much a replica's queue may hold.
const QUEUE_SIZE: &str = "256Mi";
/// How much a suite that runs as a Job may write.
const RESULTS_SIZE: &str = "512Mi";
/// The container that brings the program under which another one runs, and the volume that both have.
pub const SUPERVISOR: &str = "e2e-supervisor";
/// Where that volume is.
const SUPERVISED: &str = "/e2e/bin";
/// The program that is under there, above the container's own.
pub const SUPERVISING: &str = "/e2e/bin/tunnel-relay";
/// The same program in its own image.
pub const PROGRAM: &str = "/usr/bin/tunnel-relay";
/// The container that keeps what a suite has written until it is fetched.
pub const KEEPER: &str = "keeper";

/// A cluster that others use too.
#[derive(Clone, Copy, Debug)]
pub struct Shared;

impl Site for Shared {
    fn fixed(&self, _: &Session, _: &Endpoint<'_>) -> Result<Option<Fixed>, Failure> {
        Ok(None)
    }

    fn reach(
        &self,
        session: &Session,
        endpoint: &Endpoint<'_>,
        port: u16,
    ) -> Result<String, Failure> {
        let (service, namespace) = endpoint.service(session);
        let namespace = session.namespaces.called(namespace);
        let (runner, dir) = (&session.runner, session.run.dir());
        let host = format!("{service}.{namespace}.svc");
        let address = forward::forward(runner, dir, &host, port, endpoint.host_port())?;
        Ok(address.to_string())
    }

    /// The program runs under one of the tool's, which starts it again after a `kill`: the node's own means are out of reach, and the
    /// kubelet would wait longer with each restart. In an image that is named instead of made here, whose program is not known, a
    /// container beside it kills it.
    fn adapt(&self, session: &Session, objects: &mut [Value]) -> Result<(), Failure> {
        let artifacts = &session.artifacts;
        let image = Session::artifact(&artifacts.tunnel_image, "the tunnel's image")?;
        for pod in objects
            .iter_mut()
            .filter_map(|object| object.pointer_mut("/spec/template/spec"))
        {
            let name = pod["containers"][0]["name"].as_str().unwrap_or_default();
            let program = match name {
                "postgres" => Some("docker-entrypoint.sh"),
                "service" => artifacts.fake.get().map(|_| "/usr/bin/service-fake"),
                _ => artifacts.datastorage.get().map(|_| "/usr/bin/datastorage"),
            };
            as_postgres(pod);
            match program {
                Some(program) => under(pod, image, program),
                None => beside(pod, image),
            }
        }
        Ok(())
    }

    fn fit(&self, session: &Session, of: &str, objects: &mut Vec<Value>) -> Result<(), Failure> {
        let run = session.run.id();
        let manners = Manners {
            namespaces: &session.namespaces,
            cluster_wide: session
                .parts()
                .any(|part| part.name == of && part.cluster_wide),
            pull_secret: session.pulls_with_secret(),
            of,
            suffix: suffix(&run),
        };
        fit(objects, &manners)
    }

    fn claim(
        &self,
        session: &Session,
        namespace: &str,
        objects: &mut Vec<Value>,
    ) -> Result<(), Failure> {
        let kubectl = kubectl(session, namespace);
        let state = session.run.state();
        if !session.given_namespaces().is_empty() {
            let there = kubectl.there(objects)?;
            let mut others = there
                .iter()
                .filter(|object| !is_of_the_cluster(object))
                .filter(|object| object["metadata"]["labels"][RUN] != *state.run);
            if let Some(other) = others.next() {
                return Err(somebody_elses(other, namespace, &session.context()));
            }
        }
        let mut left = Vec::new();
        for object in objects
            .iter_mut()
            .filter(|object| is_of_the_cluster(object))
        {
            let (kind, name) = named(object);
            if wide::claim(&kubectl, &kind, &name)? == Claim::Leave {
                left.push((kind, name));
                continue;
            }
            let made = Resource::ClusterObject { kind, name };
            session.run.will_make(made).map_err(Failure::setup)?;
            wide::label(object, &state.run, state.expires);
        }
        for (kind, name) in &left {
            session.report.note(&format!(
                "{kind}/{name} was in the cluster before: it is used and left as it is"
            ));
        }
        let is_left = |object: &Value| {
            let named = named(object);
            is_of_the_cluster(object) && left.contains(&named)
        };
        objects.retain(|object| !is_left(object));
        Ok(())
    }

    /// A claim for each pod: what a node holds is no guest's.
    fn keep_queues(
        &self,
        _: &Session,
        _: &ServiceRun,
        workload: &mut Value,
    ) -> Result<(), Failure> {
        claimed(workload);
        Ok(())
    }

    fn await_names(&self, _: &Session, _: Duration) -> Result<(), Failure> {
        // It serves others already.
        Ok(())
    }

    fn cover(&self, _: &Session, _: &PartRun, _: &mut [Value]) -> Result<(), Failure> {
        // Refused before anything is made.
        Ok(())
    }

    fn results(
        &self,
        session: &Session,
        results: &Results<'_>,
    ) -> Result<(Value, Option<Value>), Failure> {
        let image = Session::artifact(&session.artifacts.tunnel_image, "the tunnel's image")?;
        let mut keeper = keeper(image);
        keeper["volumeMounts"] = json!([{"name": "evidence", "mountPath": results.mounted}]);
        let volume = json!({"emptyDir": {"sizeLimit": RESULTS_SIZE}});
        Ok((volume, Some(keeper)))
    }

    fn fetch_results(
        &self,
        session: &Session,
        kubectl: &Kubectl,
        results: &Results<'_>,
        pod: Option<&str>,
        to: &Path,
    ) -> Result<(), Failure> {
        let Some(pod) = pod else {
            return Ok(());
        };
        let archive = session.run.dir().join(format!("{}.tar", results.job));
        let command = kubectl
            .command()
            .args(["exec", pod, "--container", KEEPER, "--"])
            .args([PROGRAM, "pack", results.mounted]);
        let failed = |error: crate::process::Error| {
            error.into_failure(Exit::Setup, kubectl.runner().cancel())
        };
        let packed = command.output().map_err(failed)?;
        std::fs::write(&archive, &packed.stdout).map_err(Failure::setup)?;
        let file = std::fs::File::open(&archive).map_err(Failure::setup)?;
        let unpacked = tar::Archive::new(file).unpack(to);
        drop(std::fs::remove_file(&archive));
        unpacked.map_err(|error| {
            Failure::setup(format!(
                "what the suite has written could not be fetched from {pod}: {error}"
            ))
        })
    }
}

/// Gives each replica a claim for its queue.
fn claimed(workload: &mut Value) {
    let spec = &mut workload["spec"];
    let volumes = spec.pointer_mut("/template/spec/volumes");
    if let Some(volumes) = volumes.and_then(Value::as_array_mut) {
        volumes.retain(|volume| volume["name"] != QUEUE);
    }
    spec["volumeClaimTemplates"] = json!([{
        "metadata": {"name": QUEUE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": QUEUE_SIZE}},
        },
    }]);
    // With the StatefulSet: of a given namespace nobody else would remove them.
    spec["persistentVolumeClaimRetentionPolicy"] =
        json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
}

/// Kind and name of an object, as kubectl takes them.
fn named(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = wide::resource(&text(&object["apiVersion"]), &text(&object["kind"]));
    (kind, text(&object["metadata"]["name"]))
}

/// The failure of an object that is there and is not the run's: applying would change what somebody else has made.
fn somebody_elses(object: &Value, namespace: &str, context: &str) -> Failure {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    let run = text(&object["metadata"]["labels"][RUN]);
    if run.is_empty() {
        let what = format!("the namespace {namespace} has a {kind} {name} that no run has made");
        return Failure::new(Exit::Setup, what)
            .hint("give a namespace in which nothing has this name: --namespace NAME");
    }
    let what = format!("the namespace {namespace} has the {kind} {name} of the run {run}");
    Failure::new(Exit::Setup, what).hint(format!(
        "`cargo xtask reap --context {context} --namespace {namespace}` removes it once that run is over"
    ))
}

/// What a container that only waits is reckoned with.
fn small() -> Value {
    json!({"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}})
}

/// A container that waits beside another one.
fn keeper(image: &str) -> Value {
    json!({"name": KEEPER, "image": image, "args": ["keep"], "resources": small()})
}

/// Gives PostgreSQL's pod the user that its image has for the server.
fn as_postgres(pod: &mut Value) {
    if pod["containers"][0]["name"] == "postgres" {
        let image = pod["containers"][0]["image"].as_str().unwrap_or_default();
        let user = settings::postgres_user(image);
        pod["securityContext"] = json!({"runAsUser": user, "runAsGroup": user, "fsGroup": user});
    }
}

/// Puts the program of a pod under the one that starts it again after a `kill`.
fn under(pod: &mut Value, image: &str, program: &str) {
    let mount = json!({"name": SUPERVISOR, "mountPath": SUPERVISED});
    let install = json!({
        "name": SUPERVISOR,
        "image": image,
        "args": ["install", SUPERVISED],
        "resources": small(),
        "securityContext": {"readOnlyRootFilesystem": true},
        "volumeMounts": [mount],
    });
    let volume = json!({"name": SUPERVISOR, "emptyDir": {"sizeLimit": "32Mi"}});
    put_first(&mut pod["initContainers"], install);
    put_first(&mut pod["volumes"], volume);
    let container = &mut pod["containers"][0];
    container["command"] = json!([SUPERVISING, "supervise", "--", program]);
    put_first(&mut container["volumeMounts"], mount);
}

fn put_first(list: &mut Value, value: Value) {
    match list.as_array_mut() {
        Some(list) => list.insert(0, value),
        None => *list = json!([value]),
    }
}

/// Puts a container that can kill beside the program of a pod: both see each other's processes and are the same user.
fn beside(pod: &mut Value, image: &str) {
    pod["shareProcessNamespace"] = json!(true);
    let mut keeper = keeper(image);
    keeper["securityContext"] = json!({"readOnlyRootFilesystem": true});
    if let Some(containers) = pod["containers"].as_array_mut() {
        containers.push(keeper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_the_tools_own_has_under_or_beside_it_what_can_kill_it() {
        let mut pod = json!({"containers": [{"name": "postgres", "image": "postgres:16-alpine"}]});
        as_postgres(&mut pod);
        under(&mut pod, "registry/tunnel@sha256:1", "docker-entrypoint.sh");
        let user = settings::postgres_user("postgres:16-alpine");
        assert_eq!(pod["securityContext"]["runAsUser"], user);
        let command = &pod["containers"][0]["command"];
        assert_eq!(
            *command,
            json!([
                "/e2e/bin/tunnel-relay",
                "supervise",
                "--",
                "docker-entrypoint.sh"
            ])
        );
        assert_eq!(
            pod["initContainers"][0]["args"],
            json!(["install", "/e2e/bin"])
        );
        let mut other = json!({"securityContext": {"runAsUser": 65532}, "containers": [{"name": "datastorage"}]});
        as_postgres(&mut other);
        beside(&mut other, "registry/tunnel@sha256:1");
        assert_eq!(other["securityContext"]["runAsUser"], 65532);
        assert_eq!(other["shareProcessNamespace"], true);
        assert_eq!(other["containers"][1]["name"], KEEPER);
    }

    #[test]
    fn the_queues_of_replicas_are_claims_that_go_with_them() {
        let volumes = json!([{"name": "config"}, {"name": QUEUE, "emptyDir": {}}]);
        let mut workload = json!({"spec": {"template": {"spec": {"volumes": volumes}}}});
        claimed(&mut workload);
        let spec = &workload["spec"];
        assert_eq!(
            spec["template"]["spec"]["volumes"],
            json!([{"name": "config"}])
        );
        assert_eq!(spec["volumeClaimTemplates"][0]["metadata"]["name"], QUEUE);
        assert_eq!(
            spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"],
            "Delete"
        );
    }
}
