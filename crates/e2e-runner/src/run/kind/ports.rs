//! Ports of a cluster: the node ports of each service, the host ports that are asked for, and those that were got.

use std::collections::BTreeMap;
use std::net::TcpListener;

use crate::exit::{Exit, Failure};
use crate::process::Runner;
use crate::run::kubernetes::endpoints::Endpoint;
use crate::run::kubernetes::site::Fixed;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::table::service::{Component, Policy};
use crate::tools::{docker, kind};

/// How many node ports each service has, after PostgreSQL's: Data Storage, the second one, the service itself.
const EACH: usize = 3;

/// The node ports of a service.
pub struct NodePorts {
    /// Its Data Storage.
    pub datastorage: u16,
    /// Its second Data Storage, on the empty database.
    pub unmigrated: u16,
    /// The service itself.
    pub service: u16,
}

/// The node ports of a service of the run.
pub fn node_ports(service_run: &ServiceRun) -> NodePorts {
    let mut ports = kind::node_ports(usize::MAX).skip(1 + EACH * usize::from(service_run.position));
    let mut next = || ports.next().unwrap_or_default();
    NodePorts {
        datastorage: next(),
        unmigrated: next(),
        service: next(),
    }
}

/// The address of PostgreSQL inside the cluster, of the range that Kubernetes keeps for addresses that are known beforehand.
const POSTGRES_IP: &str = "10.96.0.80";

/// The address of a service's Data Storage inside the cluster, and of its second one: the addresses after PostgreSQL's.
fn cluster_ip(service_run: &ServiceRun, unmigrated: bool) -> String {
    format!(
        "10.96.0.{}",
        81 + 2 * service_run.position + u16::from(unmigrated)
    )
}

/// The node port of each published port of the run, by part and variable: the first one of a service itself has its service's place,
/// the others what the services leave of the block.
pub fn published(session: &Session) -> Result<BTreeMap<(String, String), u16>, Failure> {
    let services = &session.service_runs;
    let mut free = kind::node_ports(session.service_runs.len()).skip(1 + EACH * services.len());
    let mut ports = BTreeMap::new();
    let own = services
        .iter()
        .map(|service_run| (&service_run.own, Some(node_ports(service_run).service)));
    let shared = session.parts.iter().map(|part_run| (part_run, None));
    for (part_run, mut place) in own.chain(shared) {
        for publish in &part_run.part.publish {
            let port = place.take().or_else(|| free.next()).ok_or_else(|| {
                let what = "the parts of this run publish more ports than a cluster has";
                Failure::new(Exit::Usage, what).hint(
                    "start fewer services in one run, or publish fewer ports in the table of services",
                )
            })?;
            ports.insert((part_run.part.name.clone(), publish.env.clone()), port);
        }
    }
    Ok(ports)
}

/// The host ports that a run wants: whose, the node port, the host port, and whether no other will do.
fn demands(session: &Session) -> Result<Vec<(&str, u16, u16, bool)>, Failure> {
    let published = published(session)?;
    let mut demands = Vec::new();
    for service_run in &session.service_runs {
        let ports = &service_run.service.ports;
        let (name, nodes) = (&*service_run.service.name, node_ports(service_run));
        let fixed = ports.policy == Policy::Fixed;
        let storage = session.storage_of(service_run);
        if storage.service.name == *name {
            let own = ports.datastorage;
            demands.extend(own.map(|host| (name, nodes.datastorage, host, fixed)));
        } else if let Some(host) = ports.datastorage.filter(|_| fixed)
            && storage.service.ports.datastorage != Some(host)
        {
            let other = &storage.service.name;
            let what = format!(
                "port {host} of Data Storage is fixed for {name}, which uses that of {other} in the same namespace"
            );
            return Err(Failure::new(Exit::Usage, what).hint(format!(
                "give both the same port, or start {name} in a run of its own"
            )));
        }
        if service_run.service.has(Component::Fake) {
            demands.extend(ports.service.map(|host| (name, nodes.service, host, fixed)));
        }
    }
    let own = session.service_runs.iter().map(|service_run| {
        let fixed = service_run.service.ports.policy == Policy::Fixed;
        (&service_run.own, fixed)
    });
    let shared = session.parts.iter().map(|part_run| (part_run, false));
    for (part_run, fixed) in own.chain(shared) {
        for publish in &part_run.part.publish {
            let node = published
                .get(&(part_run.part.name.clone(), publish.env.clone()))
                .copied();
            if let Some((node, host)) = node.zip(publish.host) {
                demands.push((&part_run.part.name, node, host, fixed));
            }
        }
    }
    Ok(demands)
}

/// The host ports to ask for, by node port: each service's own where they are free. One that insists on a taken port is a failure.
pub fn wanted(session: &Session) -> Result<Vec<(u16, u16)>, Failure> {
    let mut wanted: Vec<(u16, u16)> = Vec::new();
    for (name, node, host, is_fixed) in demands(session)? {
        let claimed = wanted.iter().any(|(_, other)| *other == host);
        if !claimed && !taken(host) {
            wanted.push((node, host));
        } else if is_fixed {
            let owner = if claimed {
                "another service of this run wants it".to_owned()
            } else {
                owner_of(&session.runner, host)
            };
            let what = format!("port {host} is fixed for {name} and taken");
            return Err(Failure::new(Exit::Preflight, what).detail(owner).hint(
                "end its owner, or leave out `policy = \"fixed\"` in the table of services",
            ));
        }
    }
    Ok(wanted)
}

/// Whether a cluster that is used again has the host ports on which its services insist.
pub fn are_kept(session: &Session) -> Result<(), Failure> {
    for (name, node, host, is_fixed) in demands(session)? {
        let got = host_port(session, node)?;
        if is_fixed && got != host {
            let what = format!(
                "port {host} is fixed for {name}, and the kept cluster was made with {got}"
            );
            return Err(
                Failure::new(Exit::Preflight, what).hint("`cargo xtask down` first, or --fresh")
            );
        }
    }
    Ok(())
}

/// Whether something listens on a port of this host.
pub fn taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

/// Who listens on a port, as far as this user may know.
pub fn owner_of(runner: &Runner, port: u16) -> String {
    let listed = runner
        .command("ss")
        .args(["-Hltnp", &format!("sport = :{port}")])
        .read();
    listed.unwrap_or_else(|_| format!("something listens on 127.0.0.1:{port}"))
}

/// Whether a service that is alone got the host port that it asked for.
pub fn leased(session: &Session) -> Result<String, Failure> {
    if session.is_shared() {
        return Ok(String::new());
    }
    let service_run = &session.service_runs[0];
    let got = host_port(session, node_ports(service_run).datastorage)?;
    Ok(match service_run.service.ports.datastorage {
        Some(own) if own == got => format!(", Data Storage on its own port {own}"),
        Some(own) => format!(", port {own} is in use; using {got} instead"),
        None => String::new(),
    })
}

/// Keeps the host port of every node port.
pub fn publish(session: &Session, cluster: &str) -> Result<(), Failure> {
    let ports = docker::published_ports(&session.runner, &kind::node(cluster))?;
    session.artifacts.ports.get_or_init(|| ports);
    Ok(())
}

/// The host port that the cluster publishes a node port on.
pub fn host_port(session: &Session, node_port: u16) -> Result<u16, Failure> {
    let ports = Session::artifact(&session.artifacts.ports, "the ports")?;
    ports.get(&node_port).copied().ok_or_else(|| {
        Failure::new(
            Exit::Setup,
            format!("the cluster publishes no node port {node_port}"),
        )
    })
}

/// Where a Service of the run is: its node port, and its address inside the cluster where the tool decides it.
pub fn fixed(session: &Session, endpoint: &Endpoint<'_>) -> Result<Fixed, Failure> {
    let (node_port, address) = match endpoint {
        Endpoint::Postgres => return Ok(postgres()),
        Endpoint::Datastorage(service_run) => (
            node_ports(service_run).datastorage,
            cluster_ip(service_run, false),
        ),
        Endpoint::Unmigrated(service_run) => (
            node_ports(service_run).unmigrated,
            cluster_ip(service_run, true),
        ),
        Endpoint::Fake(service_run) => (node_ports(service_run).service, String::new()),
        Endpoint::Published(part_run, publish) => {
            let key = (part_run.part.name.clone(), publish.env.clone());
            let ports = published(session)?;
            let node_port = ports.get(&key).copied();
            let node_port = node_port.ok_or_else(|| Failure::setup("no node port"))?;
            (node_port, String::new())
        }
    };
    Ok(Fixed { node_port, address })
}

/// Where PostgreSQL is in every cluster of a run's own.
pub fn postgres() -> Fixed {
    Fixed {
        node_port: kind::node_ports(1).next().unwrap_or_default(),
        address: POSTGRES_IP.to_owned(),
    }
}
