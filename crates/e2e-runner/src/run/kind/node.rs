//! A cluster of the run's own, with one node on this machine: its ports are mapped, and files go through its file system.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::run::kind::coverage;
use crate::run::kind::named::node;
use crate::run::kind::ports;
use crate::run::kubernetes::access::kubectl;
use crate::run::kubernetes::endpoints::Endpoint;
use crate::run::kubernetes::replicas::QUEUE;
use crate::run::kubernetes::site::{Fixed, Results, Site};
use crate::run::part_run::PartRun;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::tools::docker;
use crate::tools::kubectl::Kubectl;
use crate::tools::kubectl::pods::{Expected, Strictness};

/// Where the queues of replicas lie in the node, which takes them along when it is removed.
const VOLUMES: &str = "/var/lib/kubernaut-e2e";
/// Where the files of suites lie in the node.
const RESULTS: &str = "/var/lib/kubernaut-e2e/suites";
/// User and group that the manifest runs Data Storage as.
const USER: u32 = 65532;

/// The node of a Kind cluster.
#[derive(Clone, Copy, Debug)]
pub struct Node;

impl Site for Node {
    fn fixed(&self, session: &Session, endpoint: &Endpoint<'_>) -> Result<Option<Fixed>, Failure> {
        ports::fixed(session, endpoint).map(Some)
    }

    fn reach(&self, session: &Session, endpoint: &Endpoint<'_>, _: u16) -> Result<String, Failure> {
        let node_port = ports::fixed(session, endpoint)?.node_port;
        let port = ports::host_port(session, node_port)?;
        Ok(format!("127.0.0.1:{port}"))
    }

    fn adapt(&self, _: &Session, _: &mut [Value]) -> Result<(), Failure> {
        Ok(())
    }

    fn fit(&self, _: &Session, _: &str, _: &mut Vec<Value>) -> Result<(), Failure> {
        // In a cluster of its own the run may do everything.
        Ok(())
    }

    fn claim(&self, _: &Session, _: &str, _: &mut Vec<Value>) -> Result<(), Failure> {
        Ok(())
    }

    /// A directory of the node by the pod's name: no provisioner has to make it, and no pod waits until a claim is bound.
    fn keep_queues(
        &self,
        session: &Session,
        service_run: &ServiceRun,
        workload: &mut Value,
    ) -> Result<(), Failure> {
        let namespace = &service_run.namespace;
        mount_queue(workload, namespace);
        let name = workload["metadata"]["name"].as_str().unwrap_or_default();
        let directories: Vec<_> = (0..service_run.service.replicas)
            .map(|replica| format!("{VOLUMES}/{namespace}/{name}-{replica}"))
            .collect();
        docker::make_directories(&session.runner, &node(session), USER, &directories)
            .map_err(|error| error.into_failure(Exit::Setup, session.runner.cancel()))
    }

    /// A cluster of the run's own is used before its DNS answers: the tool's own parts do without names.
    fn await_names(&self, session: &Session, deadline: Duration) -> Result<(), Failure> {
        // Its pods and not its Deployment, which in a node that was booted before may say that it made no progress for too long.
        let pods = Expected {
            label: "k8s-app=kube-dns",
            count: 1,
            strictness: Strictness::Restarts(3),
            room: None,
        };
        let dns = kubectl(session, "kube-system");
        dns.await_ready(&pods, deadline, |_| {}, |_| {}, || Ok(false))
            .map(drop)
    }

    fn cover(
        &self,
        session: &Session,
        part_run: &PartRun,
        objects: &mut [Value],
    ) -> Result<(), Failure> {
        coverage::prepare(session, part_run, objects)
    }

    fn results(
        &self,
        session: &Session,
        results: &Results<'_>,
    ) -> Result<(Value, Option<Value>), Failure> {
        let path = directory(results);
        docker::make_shared_directory(&session.runner, &node(session), &path)
            .map_err(|error| error.into_failure(Exit::Setup, session.runner.cancel()))?;
        let volume = json!({"hostPath": {"path": path, "type": "Directory"}});
        Ok((volume, None))
    }

    fn fetch_results(
        &self,
        session: &Session,
        kubectl: &Kubectl,
        results: &Results<'_>,
        _: Option<&str>,
        to: &Path,
    ) -> Result<(), Failure> {
        let runner = kubectl.runner();
        docker::copy_out(runner, &node(session), &directory(results), to)
            .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))
    }
}

fn directory(results: &Results<'_>) -> String {
    format!("{RESULTS}/{}/{}", results.namespace, results.job)
}

fn mount_queue(workload: &mut Value, namespace: &str) {
    let volumes = workload.pointer_mut("/spec/template/spec/volumes");
    let volumes = volumes.and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        if volume["name"] == QUEUE {
            let path = format!("{VOLUMES}/{namespace}");
            *volume = json!({"name": QUEUE, "hostPath": {"path": path, "type": "Directory"}});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_of_replicas_are_directories_of_the_node() {
        let volumes = json!([{"name": "config"}, {"name": QUEUE, "emptyDir": {}}]);
        let mut workload = json!({"spec": {"template": {"spec": {"volumes": volumes}}}});
        mount_queue(&mut workload, "here");
        let volumes = &workload["spec"]["template"]["spec"]["volumes"];
        assert_eq!(volumes[0], json!({"name": "config"}));
        let path = "/var/lib/kubernaut-e2e/here";
        let queue = json!({"name": QUEUE, "hostPath": {"path": path, "type": "Directory"}});
        assert_eq!(volumes[1], queue);
    }
}
