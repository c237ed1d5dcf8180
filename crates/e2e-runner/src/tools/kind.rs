//! kind: creates and deletes clusters, each with a kubeconfig of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::process::{Error, Runner};

/// Makes kind use Docker, which everything here talks to, whatever the user's own clusters are made with.
const PROVIDER: &str = "KIND_EXPERIMENTAL_PROVIDER";
/// `kind/cluster.yaml`.
const CONFIG: &str = include_str!("../../../../kind/cluster.yaml");
/// The node ports that a cluster can map to host ports (D7), in the order in which they are used, as far as there are any.
///
/// Below 30086 Kubernetes gives out no node port by itself (its documentation, "Avoid collisions assigning ports to `NodePort`s"), and
/// the manifests of teams have theirs from 30080 on.
const NODE_PORTS: [std::ops::Range<u16>; 2] = [30040..30080, 30000..30040];
/// How many of them a cluster of so many services maps: each costs Docker a process, so most clusters have the fewer.
const FEW: (usize, usize) = (7, 32);
/// Lets Docker choose the host port: the only party that can do so without a race.
const ANY_PORT: i32 = -1;

/// The version that `kind` prints.
pub fn version(runner: &Runner) -> Result<String, Error> {
    runner
        .command("kind")
        .env(PROVIDER, "docker")
        .args(["version", "--quiet"])
        .deadline(Duration::from_secs(10))
        .read()
}

/// The node image that this kind takes by itself. No command of it tells; its program holds the name, by digest.
pub fn default_image(runner: &Runner) -> Option<String> {
    let name = "kindest/node:v[0-9.]+@sha256:[0-9a-f]{64}";
    let search = ["--text", "--only-matching", "--extended-regexp", name];
    let program = Runner::find("kind", None).ok()?;
    let found = runner
        .command("grep")
        .args(search)
        .arg(program)
        .read()
        .ok()?;
    found.lines().next().map(str::to_owned)
}

/// The network of Docker that kind's nodes are in.
pub const NETWORK: &str = "kind";

/// The flags by which a container is the only node of a cluster for kind's commands, with a host name of its own.
pub fn container_flags(cluster: &str, host: &str) -> Vec<String> {
    vec![
        format!("--name={}", node(cluster)),
        format!("--hostname={host}"),
        format!("--label=io.x-k8s.kind.cluster={cluster}"),
        "--label=io.x-k8s.kind.role=control-plane".to_owned(),
        format!("--network={NETWORK}"),
        "--init=false".to_owned(),
    ]
}

/// The node ports that a cluster of so many services maps.
pub fn node_ports(services: usize) -> impl Iterator<Item = u16> {
    let (few, count) = FEW;
    let count = if services <= few { count } else { usize::MAX };
    NODE_PORTS.into_iter().flatten().take(count)
}

/// Each of them with the host port that is asked for, if one is.
pub fn host_ports(
    services: usize,
    wanted: &[(u16, u16)],
) -> impl Iterator<Item = (u16, Option<u16>)> {
    node_ports(services).map(|node| {
        let host = wanted.iter().find(|(port, _)| *port == node);
        (node, host.map(|(_, host)| *host))
    })
}

/// Where prepared nodes see what they share.
pub const SHARED: &str = "/kubernaut/node";

/// A directory of this machine that the node sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Its path here.
    pub host: PathBuf,
    /// Its path in the node.
    pub node: PathBuf,
}

/// The cluster configuration: the block of node ports, with `wanted` host ports for some of them, and a directory of the daemon's
/// that the node sees at [`SHARED`], beside those of this machine.
pub fn config(
    services: usize,
    wanted: &[(u16, u16)],
    shared: Option<&Path>,
    mounts: &[Mounted],
) -> Result<String, Failure> {
    let mut config: Value = serde_saphyr::from_str(CONFIG).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("kind/cluster.yaml cannot be read: {error}"),
        )
    })?;
    let mappings = host_ports(services, wanted).map(|(node, host)| {
        let host = host.map_or(ANY_PORT, i32::from);
        json!({"containerPort": node, "hostPort": host, "listenAddress": "127.0.0.1", "protocol": "TCP"})
    });
    config["nodes"][0]["extraPortMappings"] = mappings.collect();
    let shared =
        shared.map(|shared| json!({"hostPath": shared, "containerPath": SHARED, "readOnly": true}));
    let mounts = mounts
        .iter()
        .map(|mount| json!({"hostPath": mount.host, "containerPath": mount.node}));
    let mounts: Vec<Value> = shared.into_iter().chain(mounts).collect();
    if !mounts.is_empty() {
        config["nodes"][0]["extraMounts"] = Value::from(mounts);
    }
    Ok(config.to_string())
}

/// Creates a cluster. The user's kubeconfig is never touched.
pub fn create(
    runner: &Runner,
    name: &str,
    config: &str,
    image: Option<&str>,
    kubeconfig: &Path,
    deadline: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<(), Error> {
    let mut command = runner
        .command("kind")
        .env(PROVIDER, "docker")
        .args([
            "create",
            "cluster",
            "--name",
            name,
            "--config",
            "-",
            // What a failed creation leaves explains it; the run removes it like any cluster.
            "--retain",
            "--kubeconfig",
        ])
        .arg(kubeconfig);
    if let Some(image) = image {
        command = command.args(["--image", image]);
    }
    let command = command.stdin(config).deadline(deadline);
    let mut said = Vec::new();
    let status = command.stream(|line| {
        on_line(line);
        // kubeadm's own log goes to the file; the lines that kind marks say what failed.
        if line.starts_with("ERROR") || line.contains('✗') || line.starts_with("Command Output") {
            said.push(line.to_owned());
        }
    })?;
    if status.is_success() {
        return Ok(());
    }
    Err(Error::Failed {
        command: command.line(),
        status: status.to_string(),
        tail: said.join("\n"),
    })
}

/// Writes what a node knows of itself, such as the journals of its kubelet and container runtime, into `dir`.
pub fn export_logs(runner: &Runner, name: &str, dir: &Path) -> Result<(), Error> {
    let export = runner
        .command("kind")
        .env(PROVIDER, "docker")
        .args(["export", "logs", "--name", name])
        .arg(dir);
    export.deadline(Duration::from_secs(20)).read().map(drop)
}

/// Deletes a cluster, whole or half made; one that does not exist is no error.
pub fn delete(runner: &Runner, name: &str, kubeconfig: &Path) -> Result<(), Error> {
    runner
        .command("kind")
        .env(PROVIDER, "docker")
        .args(["delete", "cluster", "--name", name, "--kubeconfig"])
        .arg(kubeconfig)
        .read()
        .map(drop)
}

/// The name of a run's cluster.
pub fn cluster(run: &str) -> String {
    format!("e2e-{run}")
}

/// The name of a cluster's only node, which is its container's.
pub fn node(cluster: &str) -> String {
    format!("{cluster}-control-plane")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_block_is_mapped_and_wanted_host_ports_are_asked_for() {
        let mounted = Mounted {
            host: "/fixtures".into(),
            node: "/in-the-node".into(),
        };
        let wanted = [(30041, 8081)];
        assert_eq!(host_ports(8, &wanted).count(), 80);
        let config = config(7, &wanted, Some(Path::new("/volume")), &[mounted]).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(
            config["nodes"][0]["extraMounts"],
            json!([{"hostPath": "/volume", "containerPath": "/kubernaut/node", "readOnly": true},
                {"hostPath": "/fixtures", "containerPath": "/in-the-node"}])
        );
        let mappings = config["nodes"][0]["extraPortMappings"].as_array().unwrap();
        assert_eq!(mappings.len(), 32);
        assert_eq!(
            (&mappings[0]["hostPort"], &mappings[1]["hostPort"]),
            (&json!(-1), &json!(8081))
        );
        assert!(
            mappings
                .iter()
                .all(|mapping| mapping["listenAddress"] == "127.0.0.1")
        );
    }
}
