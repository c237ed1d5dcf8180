//! `cargo xtask reap`: removes what a killed run left and what has expired.

use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Door;
use e2e_runner::run::abandoned::abandoned;
use e2e_runner::run::teardown::release;

/// Runs the verb.
pub fn run(door: &Door) -> anyhow::Result<Exit> {
    let paths = Paths::find(door)?;
    let mut removed = 0;
    for run in abandoned(&paths) {
        let what = release(&run, door)?;
        terminal::say(&format!("{}: {what}", run.id()));
        removed += 1;
    }
    let servers = embedded_postgres::sweep(&[])?;
    for dir in &servers {
        terminal::say(&format!("PostgreSQL in {}: removed", dir.display()));
    }
    if removed + servers.len() == 0 {
        terminal::say("nothing was left behind");
    }
    Ok(Exit::Passed)
}
