//! `cargo xtask reap`: removes what a killed run left and what has expired.

use clap::Args;

use crate::commands::args::Format;
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::abandoned;

/// Flags of `reap`.
#[derive(Debug, Args)]
pub struct Reap {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Runs the verb: everything that can go goes, then what could not is named.
pub fn run(runner: &Runner, args: &Reap) -> anyhow::Result<Exit> {
    let paths = Paths::find(runner)?;
    let (removed, left) = abandoned::remove_all(runner, &paths, terminal::message);
    let (servers, swept) = match embedded_postgres::sweep(&[]) {
        Ok(servers) => (servers, None),
        Err(error) => {
            let failure = Failure::new(Exit::LeftBehind, format!("PostgreSQL servers: {error:#}"));
            (Vec::new(), Some(failure))
        }
    };
    for dir in &servers {
        terminal::message(&format!("PostgreSQL in {}: removed", dir.display()));
    }
    let left = abandoned::together(left.into_iter().chain(swept).collect());
    if args.format == Format::Json {
        let document = serde_json::json!({
            "runs_removed": removed,
            "servers_removed": servers,
            "left_behind": left.as_ref().map(ToString::to_string),
        });
        terminal::print(&serde_json::to_string_pretty(&document)?);
    } else if removed + servers.len() == 0 && left.is_none() {
        terminal::message("nothing was left behind");
    }
    left.map_or(Ok(Exit::Passed), |failure| Err(failure.into()))
}
