//! What a run's own cluster and another's do each in their way.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::exit::Failure;
use crate::run::kubernetes::endpoints::Endpoint;
use crate::run::part_run::PartRun;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::tools::kubectl::Kubectl;

/// Where a Service of the tool's own is, in a cluster where that is known before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// The port of the node that leads to it.
    pub node_port: u16,
    /// Its address in the cluster: who looks for it need not wait until the cluster's DNS has started.
    pub address: String,
}

/// The files of a suite that runs as a Job.
#[derive(Clone, Copy, Debug)]
pub struct Results<'a> {
    /// The namespace of the suite's service.
    pub namespace: &'a str,
    /// The name of the Job.
    pub job: &'a str,
    /// Where its pod has them.
    pub mounted: &'a str,
}

/// A kind of cluster: the run's own, or one in which it is a guest.
pub trait Site: Sync {
    /// Where a Service of the tool's own is to be; none where Kubernetes decides.
    fn fixed(&self, session: &Session, endpoint: &Endpoint<'_>) -> Result<Option<Fixed>, Failure>;

    /// `HOST:PORT` by which this machine reaches a port of a Service.
    fn reach(
        &self,
        session: &Session,
        endpoint: &Endpoint<'_>,
        port: u16,
    ) -> Result<String, Failure>;

    /// Makes pods of the tool's own parts such as they can be killed and may run here.
    fn adapt(&self, session: &Session, objects: &mut [Value]) -> Result<(), Failure>;

    /// Makes objects such as this cluster takes them, before they are applied for a service, part or layer.
    fn fit(&self, session: &Session, of: &str, objects: &mut Vec<Value>) -> Result<(), Failure>;

    /// Looks what of the objects belongs to others, just before they are applied: that is left out. The rest is recorded, where it would
    /// not go with a namespace.
    fn claim(
        &self,
        session: &Session,
        namespace: &str,
        objects: &mut Vec<Value>,
    ) -> Result<(), Failure>;

    /// Adapts a Data Storage of several replicas whose queues outlive their pods: `workload` is the `StatefulSet`.
    fn keep_queues(
        &self,
        session: &Session,
        service_run: &ServiceRun,
        workload: &mut Value,
    ) -> Result<(), Failure>;

    /// Waits until the cluster's DNS answers, where it may not yet.
    fn await_names(&self, session: &Session, deadline: Duration) -> Result<(), Failure>;

    /// Makes the containers of a part write their coverage where it is collected.
    fn cover(
        &self,
        session: &Session,
        part_run: &PartRun,
        objects: &mut [Value],
    ) -> Result<(), Failure>;

    /// The volume for the files of a suite, and what stands beside it in its pod until they are fetched.
    fn results(
        &self,
        session: &Session,
        results: &Results<'_>,
    ) -> Result<(Value, Option<Value>), Failure>;

    /// Copies the files of a suite, whose pod is named if there is one, into a directory of this machine.
    fn fetch_results(
        &self,
        session: &Session,
        kubectl: &Kubectl,
        results: &Results<'_>,
        pod: Option<&str>,
        to: &Path,
    ) -> Result<(), Failure>;
}
