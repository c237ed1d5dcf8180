//! A Service inside a cluster, reached from here (D24).

use std::time::{Duration, Instant};

use crate::commands::args::DatabaseArgs;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::process::{Child, Door, tail_of};
use e2e_runner::tools::kubectl::Kubectl;
use e2e_runner::tools::postgres_url::Database;

/// How long kubectl may take to open the way.
const OPENED: Duration = Duration::from_secs(20);
/// What kubectl prints once it listens.
const LISTENING: &str = "Forwarding from 127.0.0.1:";

/// A way into the cluster; dropping it closes it.
#[derive(Debug)]
pub struct Tunnel {
    child: Child,
    /// Its end on this machine's loopback.
    pub port: u16,
    _log: tempfile::TempDir,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.child.kill();
    }
}

impl Tunnel {
    /// Opens a way to a port of a Service.
    pub fn open(door: &Door, kubectl: &Kubectl, service: &str, port: u16) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = directory.path().join("port-forward.log");
        let forward = [
            "port-forward",
            &format!("service/{service}"),
            &format!(":{port}"),
        ];
        let child = kubectl
            .cmd()
            .args(forward)
            .spawn(&log)
            .map_err(|error| error.into_failure(Exit::Setup, door.cancel()))?;
        let port = listening(door, &child, &log, service).inspect_err(|_| child.kill())?;
        Ok(Self {
            child,
            port,
            _log: directory,
        })
    }
}

/// A PostgreSQL in a cluster, reachable for as long as the value lives.
#[derive(Debug)]
pub struct Forward {
    _tunnel: Tunnel,
    /// The database at its end.
    pub database: Database,
}

/// Opens a way to the Service that the flags name.
pub fn forward(
    door: &Door,
    kubeconfig: &std::path::Path,
    flags: &DatabaseArgs,
) -> anyhow::Result<Forward> {
    let kubectl = Kubectl::new(door.clone(), kubeconfig, &flags.namespace);
    let password = match std::env::var(e2e_env::PGPASSWORD) {
        Ok(password) => password,
        Err(_) => secret(&kubectl, flags)?,
    };
    let tunnel = Tunnel::open(door, &kubectl, &flags.service, 5432)?;
    let database = Database {
        host: "127.0.0.1".to_owned(),
        port: tunnel.port,
        user: flags.user.clone(),
        name: flags.database.clone(),
        password,
    };
    Ok(Forward {
        _tunnel: tunnel,
        database,
    })
}

fn listening(
    door: &Door,
    child: &Child,
    log: &std::path::Path,
    service: &str,
) -> Result<u16, Failure> {
    let started = Instant::now();
    loop {
        let text = tail_of(log);
        let port = text
            .split_once(LISTENING)
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        if let Some(port) = port {
            return Ok(port);
        }
        let seen = child
            .died()
            .or_else(|| (started.elapsed() > OPENED).then_some(text));
        if let Some(seen) = seen {
            let what = format!("kubectl opens no way to the Service {service} in the cluster");
            return Err(Failure::new(Exit::Setup, what)
                .seen(seen)
                .next("check --kubeconfig, --namespace and the Service's name"));
        }
        door.cancel().check()?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn secret(kubectl: &Kubectl, flags: &DatabaseArgs) -> Result<String, Failure> {
    let template = "go-template={{.data.password | base64decode}}";
    let read = kubectl
        .cmd()
        .args(["get", "secret", &flags.service, "--output", template])
        .read();
    read.map_err(|error| {
        let what = format!(
            "no password for PostgreSQL: Secret {} in {} cannot be read",
            flags.service, flags.namespace
        );
        Failure::new(Exit::Setup, what)
            .seen(error.to_string())
            .next("set PGPASSWORD, or correct --namespace and --service")
    })
}
