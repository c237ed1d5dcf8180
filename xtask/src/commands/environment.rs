//! Environments that are up: found by their service, and shown as lines that a shell can read.

use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::state::Run;

/// The environment of a service that is up, or the failure that says how to get one.
pub fn kept(paths: &Paths, service: &str) -> Result<Run, Failure> {
    Run::kept(&paths.runs(), service).ok_or_else(|| {
        Failure::new(
            Exit::Preflight,
            format!("no environment of {service} is up"),
        )
        .next(format!("cargo xtask up {service}"))
    })
}

/// Prints environments as lines that a shell can read; the password is in a file that only its user can read.
pub fn print_environments(run: &Run) {
    let state = run.state();
    for (service, environment) in &state.environments {
        let lines: Vec<_> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if state.environments.len() > 1 {
            terminal::print(&format!("\n# {service}"));
        }
        terminal::print(&lines.join("\n"));
    }
    let services = state.services.join(" ");
    terminal::say(&format!(
        "{} is in {}; `cargo xtask down {services}` ends it, and it expires {}",
        e2e_env::PGPASSWORD,
        run.dir().join("password").display(),
        state.expires
    ));
}
