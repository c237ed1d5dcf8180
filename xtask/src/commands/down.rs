//! `cargo xtask down`: stops what `up`, a kept run or an embedded `migrate` left running.

use clap::Args;

use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Door;
use e2e_runner::run::teardown::release;
use e2e_runner::state::Run;
use e2e_runner::table::Table;

/// Flags of `down`.
#[derive(Debug, Args)]
pub struct Down {
    /// The services whose environments are stopped, with all that share them; none stops all
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
}

/// Runs the verb. Runs that are under way are named and left alone.
pub fn run(door: &Door, table: &Table, args: &Down) -> anyhow::Result<Exit> {
    for name in &args.services {
        table.find(name)?;
    }
    let paths = Paths::find(door)?;
    let mut first = None;
    let mut stopped = 0;
    for run in Run::list(&paths.runs()) {
        let state = run.state();
        if !args.services.is_empty()
            && !state
                .services
                .iter()
                .any(|name| args.services.contains(name))
        {
            continue;
        }
        if state
            .owner
            .as_ref()
            .is_some_and(e2e_runner::state::Owner::lives)
        {
            terminal::say(&format!(
                "{} is under way: its own process ends it",
                state.run
            ));
            continue;
        }
        match release(&run, door) {
            Ok(what) => {
                stopped += 1;
                terminal::say(&format!("{}: {what}", state.run));
            }
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    if stopped == 0 && first.is_none() {
        terminal::say("nothing to stop");
    }
    first.map_or(Ok(Exit::Passed), |failure| Err(failure.into()))
}
