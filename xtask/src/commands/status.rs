//! `cargo xtask status`: what runs, what is kept, what was left.

use std::fmt::Write as _;

use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Door;
use e2e_runner::run::teardown::describe;
use e2e_runner::state::{Owner, Run, State};

/// Runs the verb.
pub fn run(door: &Door, json: bool) -> anyhow::Result<Exit> {
    let paths = Paths::find(door)?;
    let states: Vec<State> = Run::list(&paths.runs()).iter().map(Run::state).collect();
    if json {
        terminal::print(&serde_json::to_string_pretty(&states)?);
        return Ok(Exit::Passed);
    }
    if states.is_empty() {
        terminal::print("nothing runs and nothing is kept");
        return Ok(Exit::Passed);
    }
    let mut text = String::new();
    for state in &states {
        writeln!(
            text,
            "{}  {} on {}, {}",
            state.run,
            state.services.join(", "),
            state.target,
            standing(state)
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
            writeln!(text, "    holds {}", describe(resource))?;
        }
    }
    terminal::print(&text);
    Ok(Exit::Passed)
}

fn standing(state: &State) -> String {
    match &state.owner {
        Some(owner) if Owner::lives(owner) => format!("under way in process {}", owner.pid),
        Some(owner) => format!(
            "left by process {}, which is gone: `cargo xtask reap` removes it",
            owner.pid
        ),
        None if state.expires < jiff::Timestamp::now() => {
            "expired: `cargo xtask reap` removes it".to_owned()
        }
        None => format!("kept until {}", state.expires),
    }
}
