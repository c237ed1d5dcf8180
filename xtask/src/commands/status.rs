//! `cargo xtask status`: what runs, what is kept, what was left.

use std::fmt::Write as _;

use crate::commands::environment::remaining;
use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::teardown::describe;
use e2e_runner::settings::named;
use e2e_runner::state::{Run, State};

/// Runs the verb.
pub fn run(runner: &Runner, json: bool) -> anyhow::Result<Exit> {
    let paths = Paths::find(runner)?;
    let runs = Run::list(&paths.runs());
    let unreadable = Run::unreadable(&paths.runs());
    for unreadable in &unreadable {
        terminal::message(&format!("warning: {}", unreadable.why));
    }
    if json {
        let states: Vec<State> = runs.iter().map(Run::state).collect();
        terminal::print(&serde_json::to_string_pretty(&states)?);
        return Ok(Exit::Passed);
    }
    if runs.is_empty() && unreadable.is_empty() {
        // With its place: a mistake in a variable leads to another.
        terminal::print(&format!("no runs in {}", paths.runs().display()));
        return Ok(Exit::Passed);
    }
    let mut text = String::new();
    for run in &runs {
        let state = &run.state();
        writeln!(
            text,
            "{}  {} on {}, {}",
            state.run,
            state.services.join(", "),
            state.target,
            standing(run)
        )?;
        for (service, environment) in &state.environments {
            if state.environments.len() > 1 {
                writeln!(text, "    {service}:")?;
            }
            for (name, value) in environment {
                writeln!(text, "    {name}={value}")?;
            }
        }
        for resource in &state.resources {
            writeln!(text, "    resource: {}", describe(resource))?;
        }
    }
    terminal::print(&named(&text));
    Ok(Exit::Passed)
}

fn standing(run: &Run) -> String {
    let state = run.state();
    match (run.busy(), &state.owner) {
        (Some(pid), Some(_)) => format!("running in process {pid}"),
        (Some(pid), None) => format!("kept, in use by process {pid}"),
        (None, Some(owner)) => format!(
            "abandoned: its process {} is gone; `cargo xtask reap` removes it",
            owner.pid
        ),
        (None, None) if run.is_abandoned() => "expired: `cargo xtask reap` removes it".to_owned(),
        (None, None) => format!("kept, expires {}", remaining(&state)),
    }
}
