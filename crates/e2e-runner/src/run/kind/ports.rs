//! Ports of a cluster: the node ports of each service, the host ports that are asked for, and those that were got.

use std::net::TcpListener;

use crate::exit::{Exit, Failure};
use crate::process::Runner;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::table::service::Policy;
use crate::tools::{docker, kind};

/// Node port of PostgreSQL.
pub const POSTGRES: u16 = 30080;

/// Node port of the first service's Data Storage, as the existing suites know it; each further service has the next four.
pub const FIRST: u16 = 30081;

/// Node ports of each service: Data Storage, the second one, the service itself, one to spare.
pub const EACH: u16 = 4;

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
    let datastorage = FIRST + EACH * service_run.position;
    NodePorts {
        datastorage,
        unmigrated: datastorage + 1,
        service: datastorage + 2,
    }
}

/// The address of a service's Data Storage inside the cluster, and of its second one: the addresses after PostgreSQL's (`kind/manifests`).
pub fn cluster_ip(service_run: &ServiceRun, unmigrated: bool) -> String {
    format!(
        "10.96.0.{}",
        81 + 2 * service_run.position + u16::from(unmigrated)
    )
}

/// The host ports to ask for, by node port: each service's own where they are free. One that insists on a taken port is a failure.
pub fn wanted(session: &Session) -> Result<Vec<(u16, u16)>, Failure> {
    let mut wanted: Vec<(u16, u16)> = Vec::new();
    for service_run in &session.service_runs {
        let (ports, nodes) = (&service_run.service.ports, node_ports(service_run));
        let pairs = [
            (nodes.datastorage, ports.datastorage),
            (nodes.service, ports.service),
        ];
        for (node, host) in pairs
            .into_iter()
            .filter_map(|(node, host)| Some((node, host?)))
        {
            let claimed = wanted.iter().any(|(_, other)| *other == host);
            if !claimed && !taken(host) {
                wanted.push((node, host));
            } else if ports.policy == Policy::Fixed {
                let owner = if claimed {
                    "another service of this run wants it".to_owned()
                } else {
                    owner_of(&session.runner, host)
                };
                let what = format!(
                    "port {host} is fixed for {} and taken",
                    service_run.service.name
                );
                return Err(Failure::new(Exit::Preflight, what).detail(owner).hint(
                    "end its owner, or leave out `policy = \"fixed\"` in the table of services",
                ));
            }
        }
    }
    Ok(wanted)
}

/// Whether a cluster that is used again has the host ports on which its services insist.
pub fn are_kept(session: &Session) -> Result<(), Failure> {
    for service_run in &session.service_runs {
        let (ports, nodes) = (&service_run.service.ports, node_ports(service_run));
        let pairs = [
            (nodes.datastorage, ports.datastorage),
            (nodes.service, ports.service),
        ];
        for (node, host) in pairs {
            let Some(host) = host.filter(|_| ports.policy == Policy::Fixed) else {
                continue;
            };
            let got = host_port(session, node)?;
            if got != host {
                let name = &service_run.service.name;
                let what = format!(
                    "port {host} is fixed for {name}, and the kept cluster was made with {got}"
                );
                return Err(Failure::new(Exit::Preflight, what)
                    .hint(format!("`cargo xtask down {name}` first, or --fresh")));
            }
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

/// The base URL of a node port as this machine reaches it.
pub fn url(session: &Session, node_port: u16) -> Result<String, Failure> {
    Ok(format!(
        "http://127.0.0.1:{}",
        host_port(session, node_port)?
    ))
}
