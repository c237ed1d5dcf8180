//! `cargo xtask reap`: removes what a killed run left and what has expired.

use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::abandoned::abandoned;
use e2e_runner::run::teardown::release;

/// Runs the verb.
pub fn run(runner: &Runner) -> anyhow::Result<Exit> {
    let paths = Paths::find(runner)?;
    let mut removed = 0;
    for run in abandoned(&paths) {
        let what = release(&run, runner)?;
        terminal::message(&format!("{}: {what}", run.id()));
        removed += 1;
    }
    let servers = embedded_postgres::sweep(&[])?;
    for dir in &servers {
        terminal::message(&format!("PostgreSQL in {}: removed", dir.display()));
    }
    if removed + servers.len() == 0 {
        terminal::message("nothing was left behind");
    }
    Ok(Exit::Passed)
}
