//! The environment that is up, for every verb that works on one; and its variables as lines that a shell can read.

use std::path::PathBuf;

use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::settings;
use e2e_runner::state::{Run, State};

/// The newest environment that is up and that `wanted` names, by one of its services or by its run; without a name, the newest
/// of all.
pub fn up(paths: &Paths, wanted: Option<&str>) -> Result<Run, Failure> {
    let runs: Vec<Run> = Run::list(&paths.runs())
        .into_iter()
        .filter(|run| run.state().is_up())
        .collect();
    let others: Vec<String> = runs.iter().map(Run::id).collect();
    let named = runs
        .into_iter()
        .filter(|run| wanted.is_none_or(|name| is_named(&run.state(), name)));
    named.max_by_key(|run| run.state().expires).ok_or_else(|| {
        let service = wanted.unwrap_or("SERVICE");
        let what = match wanted {
            Some(name) => format!("no running environment for {name}"),
            None => "no running environment".to_owned(),
        };
        let seen = match others.as_slice() {
            [] => String::new(),
            others => format!("running: {}", others.join(", ")),
        };
        Failure::new(Exit::Preflight, what)
            .detail(seen)
            .hint(format!("start one with `cargo xtask up {service}`"))
    })
}

/// The run whose suite this process is part of, else the environment of the service that is up.
pub fn around_or_up(paths: &Paths, service: &str) -> anyhow::Result<Run> {
    let evidence: Option<PathBuf> = settings::evidence_dir();
    let around = evidence.iter().flat_map(|dir| dir.ancestors().take(2));
    match around
        .into_iter()
        .find(|dir| dir.join("state.json").is_file())
    {
        Some(dir) => Run::open(dir),
        None => Ok(up(paths, Some(service))?),
    }
}

fn is_named(state: &State, name: &str) -> bool {
    state.run == name || state.services.iter().any(|service| service == name)
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
    terminal::message(&format!(
        "{} is in {}; `cargo xtask down {services}` ends it, and it expires {}",
        e2e_env::PGPASSWORD,
        run.dir().join("password").display(),
        state.expires
    ));
}
