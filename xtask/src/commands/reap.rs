//! `cargo xtask reap`: removes what a killed run left and what has expired.

use crate::exit::Exit;
use crate::lifecycle::abandoned::abandoned;
use crate::lifecycle::teardown::release;
use crate::paths::Paths;
use crate::process::Door;
use crate::report;

/// Runs the verb.
pub fn run(door: &Door) -> anyhow::Result<Exit> {
    let paths = Paths::find(door)?;
    let mut removed = 0;
    for run in abandoned(&paths) {
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
