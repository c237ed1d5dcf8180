//! What earlier runs left, and where the local target gets its PostgreSQL from.

use std::path::Path;

use embedded_postgres::{cache_directory, locate};

use crate::bundle;
use crate::doctor::check::{Check, For, Level};
use crate::paths::{self, Paths};
use crate::process::Runner;
use crate::run::finished;
use crate::run::local::installation;
use crate::settings;
use crate::state::{Run, Unreadable};

/// Every check on runs and on PostgreSQL's binaries.
pub(super) fn checks(runner: &Runner) -> Vec<Check> {
    let dir = Paths::find(runner).map(|paths| paths.runs());
    let dir = dir.unwrap_or_default();
    vec![
        leftovers(&Run::list(&dir), &Run::unreadable(&dir)),
        reports(&dir, finished::bytes(&dir)),
        postgres(),
    ]
}

fn leftovers(runs: &[Run], unreadable: &[Unreadable]) -> Check {
    if !unreadable.is_empty() {
        let why: Vec<&str> = unreadable.iter().map(|one| one.why.as_str()).collect();
        return Check::ok("earlier runs", For::Both, why.join("; ")).with_problem(
            Level::Warning,
            "use the version of the tool that wrote it, and its `down` or `reap`",
        );
    }
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

/// A hundred red runs on Kind, with all their evidence, are an eighth of it.
const REPORTS: u64 = 1_000_000_000;

fn reports(dir: &Path, bytes: u64) -> Check {
    let detail = format!("{} MB in {}", bytes / 1_000_000, dir.display());
    let check = Check::ok("disk, reports", For::Both, detail);
    if bytes < REPORTS {
        return check;
    }
    check.with_problem(
        Level::Warning,
        "cargo xtask reap, or remove the directories of runs that nobody asks for any more",
    )
}

fn postgres() -> Check {
    match locate(&installation::any()) {
        Ok(found) => Check::ok("PostgreSQL", For::Local, found.to_string()),
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
                let fetcher = paths::bundled(bundle::FETCHER).ok().flatten();
                let fetcher = fetcher.map_or("cargo run -p postgres-fetch".to_owned(), |program| {
                    program.display().to_string()
                });
                let fetch = format!("{fetcher}, which the first run does by itself");
                check.with_problem(Level::Warning, fetch)
            }
        }
    }
}
