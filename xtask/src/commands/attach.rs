//! `cargo xtask logs` and `cargo xtask shell`: a look into an environment that is up.

use std::path::Path;
use std::time::Duration;

use crate::exit::Exit;
use crate::paths::Paths;
use crate::process::Door;
use crate::report;
use crate::state::Run;

/// How much of each log is shown.
const TAIL: &str = "200";

/// Prints the logs of PostgreSQL and Data Storage.
pub fn logs(door: &Door, service: &str) -> anyhow::Result<Exit> {
    let run = kept(door, service)?;
    let environment = run.state().environment;
    match (
        environment.get(e2e_env::KUBECONFIG),
        environment.get(e2e_env::NAMESPACE),
    ) {
        (Some(kubeconfig), Some(namespace)) => {
            let all = [
                "logs",
                "--all-containers",
                "--prefix",
                "--ignore-errors",
                "--tail",
                TAIL,
                "--selector",
                "app in (datastorage, postgres)",
            ];
            let kubectl = door
                .cmd("kubectl")
                .args(["--kubeconfig", kubeconfig, "--namespace", namespace])
                .args(all);
            report::print(&kubectl.deadline(Duration::from_secs(20)).read()?);
        }
        _ => {
            for name in ["datastorage.log", "datastorage-unmigrated.log"] {
                print_tail(&run.dir().join(name))?;
            }
        }
    }
    Ok(Exit::Passed)
}

fn print_tail(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL.parse()?);
    report::print(&format!(
        "== {}\n{}",
        path.display(),
        lines[from..].join("\n")
    ));
    Ok(())
}

/// Starts the user's shell with the suite's environment, the password included.
pub fn shell(door: &Door, service: &str) -> anyhow::Result<Exit> {
    let run = kept(door, service)?;
    let program = std::env::var("SHELL").unwrap_or_else(|_| "sh".to_owned());
    let mut command = door.cmd(program).env(e2e_env::PGPASSWORD, run.password()?);
    for (name, value) in run.state().environment {
        command = command.env(name, value);
    }
    report::say(&format!("a shell on {}; leave it with `exit`", run.id()));
    command.interactive()?;
    Ok(Exit::Passed)
}

fn kept(door: &Door, service: &str) -> anyhow::Result<Run> {
    crate::service::find(service)?;
    Ok(super::kept(&Paths::find(door)?, service)?)
}
