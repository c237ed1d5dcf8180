//! Databases of a server that somebody else runs: created for one run, dropped after it.

use crate::config::Config;
use crate::error::Error;
use crate::session::{Run, Session};
use crate::sql::identifier;

/// Connects to the server of `config` and leaves again: what fails here would fail later.
///
/// # Errors
/// As [`crate::apply`] for connecting.
pub async fn probe(config: &Config) -> Result<(), Error> {
    run(config, "SELECT 1", "connecting to the server").await
}

/// Creates an empty database on the server of `config`.
///
/// # Errors
/// As [`crate::apply`] for connecting; [`Error::Database`] if it exists or may not be created.
pub async fn create_database(config: &Config, name: &str) -> Result<(), Error> {
    run(
        config,
        &format!("CREATE DATABASE {}", identifier(name)),
        "creating a database",
    )
    .await
}

/// Drops a database with the connections to it; one that is not there is no error.
///
/// # Errors
/// As [`crate::apply`] for connecting; [`Error::Database`] if it may not be dropped.
pub async fn drop_database(config: &Config, name: &str) -> Result<(), Error> {
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name));
    run(config, &sql, "dropping a database").await
}

pub(crate) async fn run(config: &Config, sql: &str, stage: &str) -> Result<(), Error> {
    Run::bounded(&config.on_maintenance_database(), async |run| {
        let session = Session::open(&run).await?;
        let result = session.query(stage, sql).await.map(drop);
        session.close().await;
        result
    })
    .await
}
