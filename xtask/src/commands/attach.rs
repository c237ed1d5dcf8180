//! `cargo xtask logs` and `cargo xtask shell`: a look into an environment that is up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::commands::environment;
use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Door;
use e2e_runner::state::Run;
use e2e_runner::table::Table;

/// How much of each log is shown.
const TAIL: &str = "200";

/// Prints the logs of PostgreSQL and Data Storage.
pub fn logs(door: &Door, table: &Table, service: &str) -> anyhow::Result<Exit> {
    let run = kept(door, table, service)?;
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
            TAIL,
            "--selector",
            &apps,
        ];
        let kubectl = door
            .cmd("kubectl")
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
    let from = lines.len().saturating_sub(TAIL.parse()?);
    terminal::print(&format!(
        "== {}\n{}",
        path.display(),
        lines[from..].join("\n")
    ));
    Ok(())
}

/// Starts the user's shell with the suite's environment, the password included.
pub fn shell(door: &Door, table: &Table, service: &str) -> anyhow::Result<Exit> {
    let run = kept(door, table, service)?;
    let program = std::env::var("SHELL").unwrap_or_else(|_| "sh".to_owned());
    let mut command = door.cmd(program).env(e2e_env::PGPASSWORD, run.password()?);
    for (name, value) in run.state().environment(service) {
        command = command.env(name, value);
    }
    terminal::say(&format!("a shell on {}; leave it with `exit`", run.id()));
    command.interactive()?;
    Ok(Exit::Passed)
}

fn kept(door: &Door, table: &Table, service: &str) -> anyhow::Result<Run> {
    table.find(service)?;
    Ok(environment::kept(&Paths::find(door)?, service)?)
}
