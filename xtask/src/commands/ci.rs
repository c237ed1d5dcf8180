//! `cargo xtask ci`: the table of services as a CI system wants it.

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::table::Table;
use e2e_runner::table::suite::Suite;

/// What setting up and cleaning up may take beside the suite, in minutes: a cold build of everything on two cores.
const AROUND: u64 = 25;

/// Prints the services that have a suite as a GitHub Actions matrix.
pub fn matrix(table: &Table) -> Exit {
    let entries: Vec<_> = table
        .all()
        .iter()
        .filter(|service| !service.suites.is_empty())
        .map(|service| {
            let longest: Duration = service.suites.iter().map(Suite::longest).sum();
            let minutes = longest.as_secs().div_ceil(60) + AROUND;
            json!({"service": service.name, "profile": service.profile, "timeout_minutes": minutes})
        })
        .collect();
    terminal::print(&json!({"include": entries}).to_string());
    Exit::Passed
}

/// What `ci` prints.
#[derive(Debug, Subcommand)]
pub enum Ci {
    /// The services as a GitHub Actions matrix, one line of JSON
    #[command(
        after_help = "Examples:\n  echo \"matrix=$(cargo xtask ci matrix)\" >> \"$GITHUB_OUTPUT\""
    )]
    Matrix,
}
