//! A Service inside a cluster, reached from here (D24).

use std::time::Duration;

use crate::commands::args::DatabaseArgs;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::process::{Child, Runner, tail_of};
use e2e_runner::settings;
use e2e_runner::tools::kubectl::Kubectl;
use e2e_runner::wait::{Look, Wait};
use postgres_url::PostgresUrl;

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
    pub fn open(
        runner: &Runner,
        kubectl: &Kubectl,
        service: &str,
        port: u16,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = directory.path().join("port-forward.log");
        let forward = [
            "port-forward",
            &format!("service/{service}"),
            &format!(":{port}"),
        ];
        let child = kubectl
            .command()
            .args(forward)
            .spawn(&log)
            .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
        let port = listening(runner, &child, &log, service).inspect_err(|_| child.kill())?;
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
    pub database: PostgresUrl,
}

/// Opens a way to the Service that the flags name.
pub fn forward(
    runner: &Runner,
    kubeconfig: &std::path::Path,
    flags: &DatabaseArgs,
) -> anyhow::Result<Forward> {
    let kubectl = Kubectl::new(runner.clone(), kubeconfig, &flags.namespace);
    let password = match settings::postgres_password() {
        Some(password) => password,
        None => secret(&kubectl, flags)?,
    };
    let tunnel = Tunnel::open(runner, &kubectl, &flags.service, 5432)?;
    let database = PostgresUrl::new(&flags.user, "127.0.0.1", tunnel.port)
        .with_database(&flags.database)
        .with_password(&password);
    Ok(Forward {
        _tunnel: tunnel,
        database,
    })
}

fn listening(
    runner: &Runner,
    child: &Child,
    log: &std::path::Path,
    service: &str,
) -> Result<u16, Failure> {
    const HINT: &str = "check --kubeconfig, --namespace and the Service's name";
    let wait = Wait {
        what: &format!("kubectl port-forward to the Service {service} was not open"),
        deadline: OPENED,
        interval: Duration::from_millis(20),
    };
    let open = wait.until(runner.cancel(), || {
        let text = tail_of(log);
        let port = text
            .split_once(LISTENING)
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        match (port, child.died()) {
            (Some(port), _) => Ok(Look::Ready(port)),
            (None, Some(how)) => {
                let what = format!("kubectl port-forward to the Service {service} failed");
                Err(Failure::new(Exit::Setup, what).detail(how))
            }
            (None, None) => Ok(Look::NotYet(text)),
        }
    });
    open.map_err(|failure| failure.hint(HINT))
}

fn secret(kubectl: &Kubectl, flags: &DatabaseArgs) -> Result<String, Failure> {
    let template = "go-template={{.data.password | base64decode}}";
    let read = kubectl
        .command()
        .args(["get", "secret", &flags.service, "--output", template])
        .read();
    read.map_err(|error| {
        let what = format!(
            "no password for PostgreSQL: Secret {} in {} cannot be read",
            flags.service, flags.namespace
        );
        Failure::new(Exit::Setup, what)
            .detail(error.to_string())
            .hint("set PGPASSWORD, or correct --namespace and --service")
    })
}
