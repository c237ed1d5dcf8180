//! `cargo xtask reap`: removes what a killed run left and what has expired.

use crate::exit::Exit;
use crate::lifecycle::release::release;
use crate::paths::Paths;
use crate::process::Door;
use crate::report;
use crate::state::{Run, State};

/// Runs the verb.
pub fn run(door: &Door) -> anyhow::Result<Exit> {
    let paths = Paths::find(door)?;
    let mut removed = 0;
    for run in Run::list(&paths.runs())
        .into_iter()
        .filter(|run| abandoned(&run.state()))
    {
        let what = release(&run, door)?;
        report::say(&format!("{}: {what}", run.id()));
        removed += 1;
    }
    let servers = embedded_postgres::sweep(&[])?;
    for dir in &servers {
        report::say(&format!("PostgreSQL in {}: removed", dir.display()));
    }
    if removed + servers.len() == 0 {
        report::say("nothing was left behind");
    }
    Ok(Exit::Passed)
}

/// The same at the start of a run, where a failure is only told: it must not keep a new run from starting.
pub fn before_a_run(door: &Door, paths: &Paths) {
    for run in Run::list(&paths.runs())
        .into_iter()
        .filter(|run| abandoned(&run.state()))
    {
        match release(&run, door) {
            Ok(what) => report::say(&format!("removed what {} had left: {what}", run.id())),
            Err(failure) => report::say(&format!(
                "what {} left cannot be removed: {failure}",
                run.id()
            )),
        }
    }
}

/// Whether a run's owner is gone, or its time is over.
pub fn abandoned(state: &State) -> bool {
    match &state.owner {
        Some(owner) => !owner.lives(),
        None => state.expires < jiff::Timestamp::now(),
    }
}
