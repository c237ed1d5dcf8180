//! `cargo xtask logs` and `cargo xtask shell`: a look into an environment that is up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::commands::environment;
use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::settings;
use e2e_runner::state::Run;
use e2e_runner::table::Table;

/// How much of each log is shown.
const TAIL: usize = 200;

/// Prints the logs of Data Storage and of the service; in a cluster PostgreSQL's too.
pub fn logs(runner: &Runner, table: &Table, service: &str) -> anyhow::Result<Exit> {
    let run = kept(runner, table, service)?;
    let environment = run.state().environment(service);
    if let (Some(kubeconfig), Some(namespace)) = (
        environment.get(e2e_env::KUBECONFIG),
        environment.get(e2e_env::NAMESPACE),
    ) {
        let apps = format!("app in (datastorage, postgres, {service})");
        let all = [
            "logs",
            "--all-containers",
            "--prefix",
            "--ignore-errors",
            "--tail",
            &TAIL.to_string(),
            "--selector",
            &apps,
        ];
        let kubectl = runner
            .command("kubectl")
            .args(["--kubeconfig", kubeconfig, "--namespace", namespace])
            .args(all);
        terminal::print(&kubectl.deadline(Duration::from_secs(20)).read()?);
        return Ok(Exit::Passed);
    }
    let told = environment.get(e2e_env::EVIDENCE_DIR).map(PathBuf::from);
    let dir = told.unwrap_or_else(|| run.dir().to_owned());
    let logs = ["datastorage", "datastorage-unmigrated", service];
    for log in logs
        .map(|name| dir.join(format!("{name}.log")))
        .iter()
        .filter(|log| log.exists())
    {
        print_tail(log)?;
    }
    Ok(Exit::Passed)
}

fn print_tail(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)?;
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
pub fn shell(runner: &Runner, table: &Table, service: &str) -> anyhow::Result<Exit> {
    let run = kept(runner, table, service)?;
    let program = settings::shell();
    let mut command = runner
        .command(program)
        .env(e2e_env::PGPASSWORD, run.password()?);
    for (name, value) in run.state().environment(service) {
        command = command.env(name, value);
    }
    terminal::message(&format!("a shell on {}; leave it with `exit`", run.id()));
    command.interactive()?;
    Ok(Exit::Passed)
}

fn kept(runner: &Runner, table: &Table, service: &str) -> anyhow::Result<Run> {
    table.find(service)?;
    Ok(environment::up(&Paths::find(runner)?, Some(service))?)
}
