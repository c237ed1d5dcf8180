//! The library against real PostgreSQL: one server per test process, a database per test.
//!
//! `E2E_POSTGRES_BIN` chooses the major version; the proofs hold on each that is supported.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod apply;
mod concurrency;
mod crash;
mod documents;
mod errors;
mod fingerprint;
mod leases;
mod objects;
mod partitions;
#[cfg(feature = "pgbouncer")]
mod pgbouncer;
mod pooler;
mod profiles;
mod proofs;
mod retention;
mod revert;
mod roles;
mod schema;
mod team;
mod template;
mod two_phase;

use std::time::Duration;

use migrations::Config;
use testkit::migration_files::{files, goose};
use testkit::postgres::{Database, empty_database, run, value};

/// An event of today in the columns that have no default.
const INSERT_EVENT: &str = "INSERT INTO audit_events (event_date, event_type, event_category, event_action, event_outcome, actor_type, actor_id, \
     resource_type, resource_id, correlation_id, event_data) \
     VALUES ((now() AT TIME ZONE 'UTC')::date, 't', 'c', 'a', 'success', 'x', 'x', 'r', 'r', 'c', '{}')";

/// An empty database and a run on it.
async fn fresh() -> (Database, Config) {
    let database = empty_database().await;
    let config = Config::new(database.url()).deadline(Duration::from_mins(1));
    (database, config)
}
