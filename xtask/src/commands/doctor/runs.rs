//! What earlier runs left, and where the local target gets its PostgreSQL from.

use embedded_postgres::{Wanted, cache_directory, locate};

use super::{Check, For, Level};
use e2e_runner::paths::Paths;
use e2e_runner::process::Door;
use e2e_runner::state::Run;

/// Every check on runs and on PostgreSQL's binaries.
pub fn checks(door: &Door) -> Vec<Check> {
    let runs = Paths::find(door).map(|paths| Run::list(&paths.runs()));
    vec![leftovers(&runs.unwrap_or_default()), postgres()]
}

fn leftovers(runs: &[Run]) -> Check {
    let left: Vec<String> = runs
        .iter()
        .filter(|run| run.state().is_abandoned())
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
    .not(
        Level::Warning,
        "cargo xtask reap, which the next run does by itself",
    )
}

fn postgres() -> Check {
    let pinned = Wanted::default();
    let fetch = "cargo run -p postgres-fetch, which the first run does by itself";
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
        .not(Level::Warning, fetch),
        Err(error) => {
            let detail = format!("{error}; the cache is {}", cache_directory().display());
            let check = Check::ok("PostgreSQL", For::Local, detail);
            // A variable that names no PostgreSQL is not put right by a fetch.
            if std::env::var_os(e2e_env::POSTGRES_BIN).is_some_and(|value| !value.is_empty()) {
                check.not(
                    Level::Problem,
                    format!("correct or unset {}", e2e_env::POSTGRES_BIN),
                )
            } else {
                check.not(Level::Warning, fetch)
            }
        }
    }
}
