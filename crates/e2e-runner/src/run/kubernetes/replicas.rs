//! Several replicas of Data Storage: a `StatefulSet` behind one Service, whose pods each keep their queue.

use serde_json::{Value, json};

use crate::exit::Failure;
use crate::run::kubernetes::access::kubectl;
use crate::run::layer::Layer;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;

/// The volume in the manifest that becomes one of each pod.
pub const QUEUE: &str = "queue";

/// The replicas of a service's Data Storage, where it has several.
#[derive(Clone, Copy, Debug)]
pub struct Replicas {
    /// How many.
    pub count: u16,
}

impl Replicas {
    /// Those of a service; none where one pod will do.
    pub fn of(service_run: &ServiceRun) -> Option<Self> {
        let count = service_run.service.replicas;
        (count > 1).then_some(Self { count })
    }

    /// The objects of a Data Storage as a manifest has them, for this many pods.
    ///
    /// One pod is in its Service whatever it says (D10); of several, one that ends must be out of it before it stops listening, which
    /// the Service only learns where unready addresses are not published. So the pod's readiness says when it takes events: once it has
    /// been ready to commit, as long as it lives. A database that is away makes every replica unready to commit, and their queues, which
    /// exist for that, would be out of reach with it.
    pub fn objects(self, name: &str, mut objects: Vec<Value>) -> Vec<Value> {
        for object in &mut objects {
            if object["kind"] == "Service" {
                object["spec"]["publishNotReadyAddresses"] = json!(false);
            } else if object["kind"] == "Deployment" {
                self.replicate(name, object);
            }
        }
        objects
    }

    fn replicate(self, name: &str, workload: &mut Value) {
        workload["kind"] = json!("StatefulSet");
        let spec = &mut workload["spec"];
        spec["replicas"] = json!(self.count);
        spec["serviceName"] = json!(name);
        // They start together. An update takes one after the other and goes on when the new one has been ready to commit.
        spec["podManagementPolicy"] = json!("Parallel");
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("strategy");
        }
        let pod = &mut spec["template"]["spec"];
        let container = &mut pod["containers"][0];
        if let Some(variables) = container["env"].as_array_mut() {
            let name = json!({"fieldRef": {"fieldPath": "metadata.name"}});
            variables.push(json!({"name": "POD_NAME", "valueFrom": name}));
        }
        for mount in container["volumeMounts"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            if mount["name"] == QUEUE {
                mount["subPathExpr"] = json!("$(POD_NAME)");
            }
        }
        let mut started = container["readinessProbe"].take();
        // Beyond it the kubelet starts the container anew: ten minutes, in which no database came.
        started["failureThreshold"] = json!(600);
        container["startupProbe"] = started;
        let mut takes_events = container["livenessProbe"].clone();
        takes_events["periodSeconds"] = json!(1);
        container["readinessProbe"] = takes_events;
    }
}

/// Removes what an earlier run of another number of replicas has left of the other kind: both would be behind the Service.
pub fn make_room(
    session: &Session,
    service_run: &ServiceRun,
    name: &str,
    replicas: Option<Replicas>,
) -> Result<(), Failure> {
    let level = service_run.level(Layer::DataStorage);
    if session.rebuild_reason(level).is_empty() {
        return Ok(());
    }
    let other = if replicas.is_some() {
        "deployments"
    } else {
        "statefulsets"
    };
    kubectl(session, &service_run.namespace).delete_named("/apis/apps/v1", other, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::kubernetes::manifests;

    fn one() -> Vec<Value> {
        let text = manifests::embedded("kind/manifests/datastorage.yaml").expect("it is there");
        manifests::parse(text).expect("it can be read")
    }

    #[test]
    fn each_replica_has_its_queue_in_a_directory_that_has_its_name() {
        let replicas = Replicas { count: 2 };
        let objects = replicas.objects("datastorage", one());
        let of = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
        assert_eq!(of("Deployment"), None);
        let spec = &of("StatefulSet").unwrap()["spec"];
        assert_eq!(spec["replicas"], 2);
        let mounts = &spec["template"]["spec"]["containers"][0]["volumeMounts"];
        let mut mounts = mounts.as_array().unwrap().iter();
        let queue = mounts.find(|mount| mount["name"] == QUEUE).unwrap();
        assert_eq!(queue["subPathExpr"], "$(POD_NAME)");
    }

    #[test]
    fn a_replica_that_ends_is_taken_out_of_the_service_and_one_without_its_database_is_not() {
        let replicas = Replicas { count: 2 };
        let objects = replicas.objects("datastorage", one());
        let of = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
        let service = of("Service").unwrap();
        assert_eq!(service["spec"]["publishNotReadyAddresses"], false);
        let container = &of("StatefulSet").unwrap()["spec"]["template"]["spec"]["containers"][0];
        let path = |probe: &str| &container[probe]["httpGet"]["path"];
        assert_eq!(path("startupProbe"), "/health/ready");
        assert_eq!(path("readinessProbe"), "/health/live");
    }
}
