//! What earlier runs left, and where the local target gets its PostgreSQL from.

use embedded_postgres::{Wanted, cache_directory, locate};

use crate::commands::doctor::check::{Check, For, Level};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::settings;
use e2e_runner::state::Run;

/// Every check on runs and on PostgreSQL's binaries.
pub fn checks(runner: &Runner) -> Vec<Check> {
    let runs = Paths::find(runner).map(|paths| Run::list(&paths.runs()));
    vec![leftovers(&runs.unwrap_or_default()), postgres()]
}

fn leftovers(runs: &[Run]) -> Check {
    let left: Vec<String> = runs
        .iter()
        .filter(|run| run.is_abandoned())
        .map(Run::id)
        .collect();
    if left.is_empty() {
        let detail = format!("nothing left, {} environments up", runs.len());
        return Check::ok("earlier runs", For::Both, detail);
    }
    Check::ok(
        "earlier runs",
        For::Both,
        format!("left: {}", left.join(", ")),
    )
    .with_problem(
        Level::Warning,
        "cargo xtask reap, which the next run does by itself",
    )
}

fn postgres() -> Check {
    let pinned = Wanted::default();
    let fetch = "cargo run --manifest-path crates/postgres-fetch/Cargo.toml, which the first run does by itself";
    if let Ok(found) = locate(&pinned) {
        return Check::ok("PostgreSQL", For::Local, found.to_string());
    }
    let any = Wanted {
        installed: true,
        ..pinned
    };
    match locate(&any) {
        Ok(found) => Check::ok(
            "PostgreSQL",
            For::Local,
            format!("{found}; the cache is empty"),
        )
        .with_problem(Level::Warning, fetch),
        Err(error) => {
            let detail = format!("{error}; the cache is {}", cache_directory().display());
            let check = Check::ok("PostgreSQL", For::Local, detail);
            // A variable that names no PostgreSQL is not put right by a fetch.
            if settings::names_postgres_programs() {
                check.with_problem(
                    Level::Problem,
                    format!("correct or unset {}", e2e_env::POSTGRES_BIN),
                )
            } else {
                check.with_problem(Level::Warning, fetch)
            }
        }
    }
}
