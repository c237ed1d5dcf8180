//! `cargo xtask logs` and `cargo xtask shell`: a look into an environment that is up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::commands::environment;
use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::kubernetes::apply::MADE_FROM;
use e2e_runner::run::private::Private;
use e2e_runner::secrets::Secrets;
use e2e_runner::settings;
use e2e_runner::state::{Resource, Run};

/// How much of each log is shown.
const TAIL: usize = 200;

/// Prints the logs of Data Storage, of the service and of PostgreSQL.
pub fn logs(runner: &Runner, wanted: Option<&str>) -> anyhow::Result<Exit> {
    let run = environment::up(&Paths::find(runner)?, wanted)?;
    let service = &environment::service_of(&run, wanted);
    let environment = run.state().environment(service);
    let secrets = secrets_of(&run);
    if let (Some(kubeconfig), Some(namespace)) = (
        environment.get(e2e_env::KUBECONFIG),
        environment.get(e2e_env::NAMESPACE),
    ) {
        // Whatever the pods of a team are called: those that the run has made, in each of their namespaces.
        let applied = run.state().applied.into_iter();
        let seen = applied.filter(|(layer, _)| {
            layer
                .strip_prefix("service/")
                .is_none_or(|whose| whose == service)
        });
        let objects = seen.flat_map(|(_, objects)| objects);
        let makers = objects.filter(|object| !object.pods.is_empty());
        let mut namespaces: BTreeSet<String> =
            makers.filter_map(|object| object.namespace).collect();
        namespaces.insert(namespace.clone());
        for namespace in namespaces {
            let kubectl = runner
                .command("kubectl")
                .args(["--kubeconfig", kubeconfig, "--namespace", &namespace])
                .args(["logs", "--all-containers", "--prefix", "--ignore-errors"])
                .args(["--tail", &TAIL.to_string(), "--selector", MADE_FROM]);
            let text = kubectl.deadline(Duration::from_secs(20)).read()?;
            terminal::print(&secrets.clean(&text));
        }
        return Ok(Exit::Passed);
    }
    let told = environment.get(e2e_env::EVIDENCE_DIR).map(PathBuf::from);
    let dir = told.unwrap_or_else(|| run.dir().to_owned());
    let logs = ["datastorage", "datastorage-unmigrated", "relay", service];
    let logs = logs.map(|name| dir.join(format!("{name}.log"))).into_iter();
    let state = run.state();
    let layers = state.fingerprints.keys();
    let parts = layers.filter_map(|layer| layer.strip_prefix("part/"));
    let logs = logs.chain(parts.map(|name| run.dir().join(format!("{name}.log"))));
    let logs: Vec<PathBuf> = logs.collect();
    let servers = run.state().resources.into_iter();
    let servers = servers.filter_map(|resource| match resource {
        Resource::Postgres { dir } => Some(dir.join("server.log")),
        _ => None,
    });
    for log in logs.into_iter().chain(servers).filter(|log| log.exists()) {
        print_tail(&log, &secrets)?;
    }
    Ok(Exit::Passed)
}

/// The passwords of a run, which a program may have printed.
fn secrets_of(run: &Run) -> Secrets {
    let secrets = Secrets::default();
    let token = std::fs::read_to_string(run.token_file()).ok();
    let passwords = Private::passwords_of(run).into_values();
    for secret in passwords.chain(run.password().ok()).chain(token) {
        secrets.add(&secret);
    }
    secrets
}

fn print_tail(path: &Path, secrets: &Secrets) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
    let text = secrets.clean(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    terminal::print(&format!(
        "== {}\n{}",
        path.display(),
        lines[from..].join("\n")
    ));
    Ok(())
}

/// Starts the user's shell with the suite's environment, the password included.
pub fn shell(runner: &Runner, wanted: Option<&str>) -> anyhow::Result<ExitCode> {
    let run = environment::up(&Paths::find(runner)?, wanted)?;
    let service = environment::service_of(&run, wanted);
    let program = settings::shell();
    let mut command = runner
        .command(program)
        .env(e2e_env::PGPASSWORD, run.password()?);
    for (name, password) in Private::passwords_of(&run) {
        command = command.env(name, password);
    }
    for (name, value) in run.state().environment(&service) {
        command = command.env(name, value);
    }
    terminal::message(&format!("a shell on {}; leave it with `exit`", run.id()));
    let status = command.interactive()?;
    // As a shell tells of a command that a signal ended (POSIX, "Exit Status for Commands").
    let code = status.code.or(status.signal.map(|signal| 128 + signal));
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
