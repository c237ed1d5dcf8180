//! Causes that are made on real PostgreSQL, found and repaired.
//!
//! `E2E_POSTGRES_BIN` chooses the major version.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod diagnose;

use testkit::postgres::Database;

/// The first column of the first row, as text.
async fn value(database: &Database, sql: &str) -> String {
    let rows = database.connect().await.simple_query(sql).await.unwrap();
    let row = rows.into_iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.and_then(|row| row.get(0).map(str::to_owned))
        .unwrap_or_default()
}

async fn run(database: &Database, sql: &str) {
    database.connect().await.batch_execute(sql).await.unwrap();
}
