//! Several replicas of Data Storage: a `StatefulSet` behind one Service, whose pods each keep their queue on a volume of the node.

use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::run::kind::access::{cluster, kubectl};
use crate::run::reuse::Layer;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::tools::{docker, kind};

/// Where the volumes lie in the node, which takes them along when it is removed.
const VOLUMES: &str = "/var/lib/kubernaut-e2e";
/// The volume in the manifest that becomes a claim of each pod.
const QUEUE: &str = "queue";
/// User and group that the manifest runs Data Storage as.
const USER: u32 = 65532;

/// The replicas of a service's Data Storage, where it has several.
#[derive(Clone, Copy, Debug)]
pub struct Replicas<'a> {
    namespace: &'a str,
    count: u16,
}

impl<'a> Replicas<'a> {
    /// Those of a service; none where one pod will do.
    pub fn of(service_run: &'a ServiceRun) -> Option<Self> {
        let (namespace, count) = (&*service_run.namespace, service_run.service.replicas);
        (count > 1).then_some(Self { namespace, count })
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
        objects.extend((0..self.count).map(|replica| self.volume(name, replica)));
        objects
    }

    fn replicate(self, name: &str, workload: &mut Value) {
        workload["kind"] = json!("StatefulSet");
        let spec = &mut workload["spec"];
        spec["replicas"] = json!(self.count);
        spec["serviceName"] = json!(name);
        // They start together. An update takes one after the other and goes on when the new one has been ready to commit.
        spec["podManagementPolicy"] = json!("Parallel");
        spec["volumeClaimTemplates"] = json!([{
            "metadata": {"name": QUEUE},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }]);
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("strategy");
        }
        let pod = &mut spec["template"]["spec"];
        if let Some(volumes) = pod["volumes"].as_array_mut() {
            volumes.retain(|volume| volume["name"] != QUEUE);
        }
        let container = &mut pod["containers"][0];
        let mut started = container["readinessProbe"].take();
        // Beyond it the kubelet starts the container anew: ten minutes, in which no database came.
        started["failureThreshold"] = json!(600);
        container["startupProbe"] = started;
        let mut takes_events = container["livenessProbe"].clone();
        takes_events["periodSeconds"] = json!(1);
        container["readinessProbe"] = takes_events;
    }

    /// A volume that is there, for one claim: no provisioner has to make it, which would start a pod for each.
    fn volume(self, name: &str, replica: u16) -> Value {
        let claim = format!("{QUEUE}-{name}-{replica}");
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": format!("{}-{claim}", self.namespace)},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": self.namespace, "name": claim},
                "hostPath": {"path": self.directory(name, replica), "type": "Directory"},
            },
        })
    }

    fn directory(self, name: &str, replica: u16) -> String {
        format!("{VOLUMES}/{}/{name}-{replica}", self.namespace)
    }
}

/// Makes the directories of the volumes, and removes what an earlier run of another number of replicas has left of the other kind: both
/// would be behind the Service.
pub fn make_room(
    session: &Session,
    service_run: &ServiceRun,
    name: &str,
    replicas: Option<Replicas<'_>>,
) -> Result<(), Failure> {
    let runner = &session.runner;
    if !session
        .rebuild_reason(Layer::DataStorage, Some(service_run))
        .is_empty()
    {
        let other = if replicas.is_some() {
            "deployment"
        } else {
            "statefulset"
        };
        kubectl(session, &service_run.namespace)
            .command()
            .args(["delete", other, name, "--ignore-not-found"])
            .deadline(Duration::from_mins(1))
            .read()
            .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    }
    if let Some(replicas) = replicas {
        let directories: Vec<_> = (0..replicas.count)
            .map(|replica| replicas.directory(name, replica))
            .collect();
        docker::make_directories(runner, &kind::node(&cluster(session)), USER, &directories)
            .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::kind::manifests::{DATASTORAGE, Manifest};

    #[test]
    fn replicas_share_a_service_and_have_a_claim_each_that_is_bound_to_a_volume() {
        let replicas = Replicas {
            namespace: "here",
            count: 2,
        };
        let one = Manifest::parse(DATASTORAGE).unwrap().objects();
        let objects = replicas.objects("datastorage", one);
        let of = |kind: &str| -> Vec<&Value> {
            let of = |object: &&Value| object["kind"] == kind;
            objects.iter().filter(of).collect()
        };
        assert_eq!(of("Deployment"), Vec::<&Value>::new());
        let spec = &of("StatefulSet")[0]["spec"];
        assert_eq!(spec["replicas"], 2);
        let pod = &spec["template"]["spec"];
        let mounted = |mount: &Value| mount["name"] == "queue";
        let mounts = pod["containers"][0]["volumeMounts"].as_array();
        assert!(mounts.unwrap().iter().any(mounted), "{pod}");
        assert!(
            !pod["volumes"].as_array().unwrap().iter().any(mounted),
            "{pod}"
        );
        let claims: Vec<_> = of("PersistentVolume")
            .iter()
            .map(|volume| volume["spec"]["claimRef"]["name"].clone())
            .collect();
        // As such a set names its claims: template, set, number.
        assert_eq!(claims, ["queue-datastorage-0", "queue-datastorage-1"]);
    }

    #[test]
    fn a_replica_that_ends_is_taken_out_of_the_service_and_one_without_its_database_is_not() {
        let replicas = Replicas {
            namespace: "here",
            count: 2,
        };
        let one = Manifest::parse(DATASTORAGE).unwrap().objects();
        let objects = replicas.objects("datastorage", one);
        assert_eq!(objects[0]["spec"]["publishNotReadyAddresses"], false);
        let container = &objects[1]["spec"]["template"]["spec"]["containers"][0];
        let path = |probe: &str| &container[probe]["httpGet"]["path"];
        assert_eq!(path("startupProbe"), "/health/ready");
        assert_eq!(path("readinessProbe"), "/health/live");
    }
}
