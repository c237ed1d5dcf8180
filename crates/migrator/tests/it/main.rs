//! The engine against real PostgreSQL: one server per test process, a database per test.
//!
//! `E2E_POSTGRES_BIN` chooses the major version.

mod adopt;
mod blocked;
mod copied_rows;
mod directories;
mod goose;
mod names;
mod refused_files;
mod revert;
mod session_settings;
mod steps;
mod templates;
mod tls;
mod trace;
mod url;
mod verify;

use std::time::Duration;

use migrator::Config;
use testkit::migration_files::{files, goose};
use testkit::postgres::{Database, empty_database, run, value};

/// An empty database and a run on it, of nothing yet.
async fn fresh() -> (Database, Config) {
    let database = empty_database().await;
    let config = Config::new(database.url(), files(&[])).deadline(Duration::from_mins(1));
    (database, config)
}
