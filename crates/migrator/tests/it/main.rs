//! The engine against real PostgreSQL: one server per test process, a database per test.
//!
//! `E2E_POSTGRES_BIN` chooses the major version.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod goose;
mod names;
mod steps;

use std::time::Duration;

use migrator::{Catalogue, Config};
use testkit::postgres::{Database, empty_database, run, value};

/// An empty database and a run on it, of nothing yet.
async fn fresh() -> (Database, Config) {
    let database = empty_database().await;
    let config = Config::new(database.url(), files(&[])).deadline(Duration::from_mins(1));
    (database, config)
}

/// Migrations from `(file name, text)` pairs, without profiles and shapes.
fn files(files: &[(&str, &str)]) -> Catalogue {
    Catalogue::from_files("test", files.iter().copied(), "").unwrap()
}

/// The goose files of a team.
fn goose(files: &[(&str, &str)]) -> Catalogue {
    Catalogue::from_goose_files(
        "team",
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned())),
    )
    .unwrap()
}
