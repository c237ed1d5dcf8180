//! What a migration waits for is said while it waits, and again where the wait was too long.

use std::time::Duration;

use migrator::{Blocker, Catalogue, Config, Error, Event, Revert, apply, revert};
use testkit::postgres::Database;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{fresh, goose, run};

/// A run that tells what it waits for.
fn listening(
    config: &Config,
    catalogue: Catalogue,
    deadline: u64,
) -> (Config, UnboundedReceiver<Blocker>) {
    let (events, seen) = tokio::sync::mpsc::unbounded_channel();
    let config = config
        .clone()
        .catalogue(catalogue)
        .deadline(Duration::from_secs(deadline))
        .observe(move |event| {
            if let Event::WaitingForTable(blocker) = event {
                drop(events.send(blocker.clone()));
            }
        });
    (config, seen)
}

/// Another session that holds table t.
async fn holder(database: &Database) -> tokio_postgres::Client {
    let client = database.connect().await;
    let sql = "SET application_name = 'reporting'; BEGIN; SELECT * FROM t";
    client.batch_execute(sql).await.expect("a held table");
    client
}

const COLUMN: &str =
    "-- +goose Up\nALTER TABLE t ADD COLUMN b int;\n-- +goose Down\nALTER TABLE t DROP COLUMN b;\n";
const INDEX: &str = "-- +goose NO TRANSACTION\n-- +goose Up\nALTER TABLE t ADD COLUMN b int;\n";

#[tokio::test]
async fn a_wait_for_a_table_names_its_holder_and_ends_with_it() {
    for file in [COLUMN, INDEX] {
        let (database, config) = fresh().await;
        run(&database, "CREATE TABLE t (a int)").await;
        let holder = holder(&database).await;
        let (config, mut seen) = listening(&config, goose(&[("1_column.sql", file)]), 60);
        let applying = tokio::spawn(async move { apply(&config).await });
        let blocker = seen.recv().await.unwrap();
        assert_eq!(blocker.table.as_deref(), Some("t"));
        assert_eq!(blocker.holder.application, "reporting");
        holder.batch_execute("COMMIT").await.unwrap();
        assert_eq!(applying.await.unwrap().unwrap().applied.len(), 1);
    }
}

#[tokio::test]
async fn a_deadline_in_such_a_wait_names_lock_and_holder() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE t (a int)").await;
    let _holder = holder(&database).await;
    // Shorter than one wait of the migration, and longer.
    for deadline in [2, 5] {
        let (config, _seen) = listening(&config, goose(&[("1_column.sql", COLUMN)]), deadline);
        let error = apply(&config).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("a lock on t, held by pid"), "{text}");
        assert!(text.contains("reporting"), "{text}");
        assert!(text.contains("pg_terminate_backend"), "{text}");
    }
}

#[tokio::test]
async fn reverting_names_its_holder_too() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE t (a int)").await;
    let (config, mut seen) = listening(&config, goose(&[("1_column.sql", COLUMN)]), 60);
    apply(&config).await.unwrap();
    let holder = holder(&database).await;
    let reverting = tokio::spawn(async move { revert(&config, &Revert::All).await });
    let blocker = seen.recv().await.unwrap();
    assert_eq!(blocker.holder.application, "reporting");
    holder.batch_execute("COMMIT").await.unwrap();
    // The wait may have been cut by its own limit, which says so.
    match reverting.await.unwrap() {
        Ok(reverted) => assert_eq!(reverted.reverted.len(), 1),
        Err(Error::MigrationFailed(failure)) => assert_eq!(failure.sqlstate, "55P03"),
        Err(error) => panic!("{error}"),
    }
}
