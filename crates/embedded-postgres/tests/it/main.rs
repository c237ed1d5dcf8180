//! Tests against the server that `postgres-fetch` caches, else one of this machine: real processes, real kills.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]

mod accounts;
mod crashes;
mod detached;
mod life;

use embedded_postgres::{Installation, Wanted, locate};
use tokio_postgres::NoTls;

/// Returns the cached PostgreSQL, else any of this machine.
fn installation() -> Installation {
    locate(&Wanted::default())
        .or_else(|_| {
            locate(&Wanted {
                installed: true,
                ..Wanted::default()
            })
        })
        .unwrap_or_else(|error| panic!("these tests need PostgreSQL: {error}"))
}

/// Runs one statement on a connection of its own and returns the first column of its first row as text.
async fn query(url: &str, statement: &str) -> Result<String, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    let rows = client.simple_query(statement).await?;
    drop(client);
    connection.await.unwrap()?;
    let value = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => {
            Some(row.get(0).unwrap_or_default().to_owned())
        }
        _ => None,
    });
    Ok(value.unwrap_or_default())
}

/// Returns whether a process runs; one that only waits for its parent to look does not.
fn exists(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, state)| !state.starts_with('Z'))
}
