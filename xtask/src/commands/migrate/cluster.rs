//! A PostgreSQL inside a cluster, reached from here (D24).

use std::time::{Duration, Instant};

use super::flags::Flags;
use crate::database::Database;
use crate::exit::{Exit, Failure};
use crate::process::{Child, Door, tail_of};
use crate::tools::kubectl::Kubectl;

/// How long kubectl may take to open the way.
const OPENED: Duration = Duration::from_secs(20);
/// What kubectl prints once it listens.
const LISTENING: &str = "Forwarding from 127.0.0.1:";

/// A way into the cluster; dropping it closes it.
#[derive(Debug)]
pub struct Forward {
    child: Child,
    /// The database at its end.
    pub database: Database,
    _log: tempfile::TempDir,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.child.kill();
    }
}

/// Opens a way to the Service that the flags name.
pub fn forward(
    door: &Door,
    kubeconfig: &std::path::Path,
    flags: &Flags,
) -> anyhow::Result<Forward> {
    let kubectl = Kubectl::new(door.clone(), kubeconfig, &flags.namespace);
    let password = match std::env::var(e2e_env::PGPASSWORD) {
        Ok(password) => password,
        Err(_) => secret(&kubectl, flags)?,
    };
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("port-forward.log");
    let child = kubectl
        .cmd()
        .args([
            "port-forward",
            &format!("service/{}", flags.service),
            ":5432",
        ])
        .spawn(&log)
        .map_err(|error| error.into_failure(Exit::Setup, door.cancel()))?;
    let port = listening(door, &child, &log).inspect_err(|_| child.kill())?;
    let database = Database {
        host: "127.0.0.1".to_owned(),
        port,
        user: flags.user.clone(),
        name: flags.database.clone(),
        password,
    };
    Ok(Forward {
        child,
        database,
        _log: directory,
    })
}

fn listening(door: &Door, child: &Child, log: &std::path::Path) -> Result<u16, Failure> {
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
            let what = "kubectl opens no way to PostgreSQL in the cluster";
            return Err(Failure::new(Exit::Setup, what)
                .seen(seen)
                .next("check --kubeconfig, --namespace and --service"));
        }
        door.cancel().check()?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn secret(kubectl: &Kubectl, flags: &Flags) -> Result<String, Failure> {
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
