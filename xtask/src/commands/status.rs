//! `cargo xtask status`: what runs, what is kept, what was left.

use std::fmt::Write as _;

use crate::exit::Exit;
use crate::paths::Paths;
use crate::process::Door;
use crate::run::teardown::describe;
use crate::state::{Owner, Run, State};
use crate::terminal;

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
