//! A trace shows the locks of each statement on the tables that are there, and leaves nothing.

use migrator::{Config, Outcome, Trace, trace};

use crate::{fresh, goose, run, value};

const FILE: &str = "-- +goose Up\nCREATE TABLE made (a int);\nALTER TABLE t ADD COLUMN b int;\nUPDATE t SET b = 1;\nCREATE INDEX i ON u (a);\n\
    -- +goose StatementBegin\nDO $$ BEGIN COMMIT; END $$;\n-- +goose StatementEnd\nINSERT INTO u VALUES (1);\n";

/// Line, outcome and locks, as table and mode, of one statement.
type Seen<'a> = (usize, &'a Outcome, Vec<(&'a str, &'a str)>);

fn seen(trace: &Trace) -> Vec<Seen<'_>> {
    let statements = trace.migrations.iter().flat_map(|of| &of.statements);
    statements
        .map(|statement| {
            let locks = statement.locks.iter();
            let locks = locks.map(|lock| (lock.table.as_str(), lock.mode.as_str()));
            (statement.line, &statement.outcome, locks.collect())
        })
        .collect()
}

async fn of(config: &Config, name: &str, file: &str) -> Trace {
    let config = config.clone().catalogue(goose(&[(name, file)]));
    trace(&config)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn each_statement_is_shown_with_the_locks_that_it_is_the_first_to_take() {
    let (database, config) = fresh().await;
    run(
        &database,
        "CREATE TABLE t (a int); CREATE TABLE u (a int); INSERT INTO t VALUES (1)",
    )
    .await;
    let trace = of(&config, "1_all.sql", FILE).await;
    let not_run = Outcome::NotRun("invalid transaction termination".to_owned());
    assert_eq!(
        seen(&trace),
        [
            (2, &Outcome::Ran, vec![]),
            (3, &Outcome::Ran, vec![("t", "AccessExclusiveLock")]),
            (4, &Outcome::Ran, vec![]),
            (5, &Outcome::Ran, vec![("u", "ShareLock")]),
            (7, &not_run, vec![]),
            (9, &Outcome::Ran, vec![]),
        ]
    );
    assert!(!trace.has_failed());
    let left = "SELECT to_regclass('made') IS NULL AND to_regclass('schema_ledger') IS NULL AND \
         NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AND \
         NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'b')";
    assert_eq!(value(&database, left).await, "t");
    let page = trace.to_string();
    assert!(
        page.contains("1_all.sql:3 ALTER TABLE t ADD COLUMN b int ("),
        "{page}"
    );
    assert!(page.contains("AccessExclusiveLock on t for "), "{page}");
    assert!(
        page.contains("not run: invalid transaction termination"),
        "{page}"
    );
}

#[tokio::test]
async fn what_cannot_run_in_a_transaction_is_named_and_what_fails_ends_the_trace() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE t (a int)").await;
    let steps = "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY i ON t (a);\nDROP TABLE t;\n";
    let trace = of(&config, "1_steps.sql", steps).await;
    let reasons: Vec<&Outcome> = seen(&trace)
        .iter()
        .map(|(_, outcome, _)| *outcome)
        .collect();
    assert_eq!(
        reasons,
        [
            &Outcome::NotRun("it cannot run in a transaction".to_owned()),
            &Outcome::NotRun("its file runs outside a transaction".to_owned())
        ]
    );
    let wrong = "-- +goose Up\nALTER TABLE t ADD COLUMN a int;\nDROP TABLE t;\n";
    let trace = of(&config, "1_wrong.sql", wrong).await;
    assert!(trace.has_failed());
    assert!(
        matches!(seen(&trace)[0].1, Outcome::Failed(message) if message.contains("42701")),
        "{trace}"
    );
    assert!(matches!(seen(&trace)[1].1, Outcome::NotRun(_)), "{trace}");
    assert_eq!(
        value(&database, "SELECT to_regclass('t') IS NULL").await,
        "f"
    );
}
