//! Many runs at once: each waits its turn, none fails, none starves.

use std::collections::BTreeSet;
use std::time::Duration;

use embedded_postgres::Options;
use migrations::{Config, Error, Event, apply};
use testkit::postgres::{empty_database_on, own_server};

use crate::fingerprint::{assert_same, fingerprint};
use crate::{fresh, goose};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_runs_at_once_all_succeed() {
    let server = own_server(Options {
        max_connections: 450,
        ..Options::default()
    })
    .await;
    let reference = empty_database_on(&server).await;
    apply(&Config::new(reference.url()).profile("audit"))
        .await
        .unwrap();
    let expected = fingerprint(&reference).await;
    for round in 0..2 {
        let database = empty_database_on(&server).await;
        let runs: Vec<_> = (0..200)
            .map(|_| {
                let config = Config::new(database.url())
                    .profile("audit")
                    .deadline(Duration::from_mins(2));
                tokio::spawn(async move { apply(&config).await })
            })
            .collect();
        let mut applied = 0;
        for run in runs {
            applied += run
                .await
                .unwrap()
                .unwrap_or_else(|error| panic!("round {round}: {error}"))
                .applied
                .len();
        }
        assert_eq!(applied, 3, "each migration is applied by one run");
        assert_same(
            &expected,
            &fingerprint(&database).await,
            "after two hundred runs",
        );
    }
    server.stop().await.unwrap();
}

/// Roles belong to the whole server, and every database's lock is its own.
#[tokio::test(flavor = "multi_thread")]
async fn databases_that_migrate_at_once_do_not_race_for_the_role() {
    let server = own_server(Options {
        max_connections: 200,
        ..Options::default()
    })
    .await;
    let mut databases = Vec::new();
    for _ in 0..12 {
        databases.push(empty_database_on(&server).await);
    }
    let runs: Vec<_> = databases
        .iter()
        .map(|database| {
            let config = Config::new(database.url())
                .profile("audit")
                .deadline(Duration::from_mins(1));
            tokio::spawn(async move { apply(&config).await })
        })
        .collect();
    for run in runs {
        assert_eq!(run.await.unwrap().unwrap().warnings, Vec::<String>::new());
    }
    drop(databases);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_lock_that_stays_taken_is_named_with_its_holder() {
    let (database, config) = fresh().await;
    let client = database.connect().await;
    client
        .batch_execute(
            "SET application_name = 'somebody'; SELECT pg_advisory_lock(1263878725, 1296648018)",
        )
        .await
        .unwrap();
    let (events, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let config = config
        .profile("audit")
        .deadline(Duration::from_secs(2))
        .observe(move |event| drop(events.send(event.clone())));
    let error = apply(&config).await.unwrap_err();
    let Error::LockTimeout {
        holder: Some(holder),
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(holder.application, "somebody");
    assert!(error.to_string().contains("held by pid "), "{error}");
    drop(config);
    let mut waits = 0;
    while let Some(event) = seen.recv().await {
        waits += usize::from(matches!(event, Event::WaitingForLock { .. }));
    }
    assert!(waits >= 1);
}

/// A waiter that blocked for long would make the server call this a deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_built_concurrently_while_others_wait() {
    let (database, config) = fresh().await;
    crate::run(
        &database,
        "CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 20000) g",
    )
    .await;
    let catalogue = std::sync::Arc::new(goose(&[(
        "1_pause.sql",
        "-- +goose NO TRANSACTION\n-- +goose Up\nSELECT pg_sleep(1.5);\nCREATE INDEX CONCURRENTLY i ON t (a);\nCREATE INDEX CONCURRENTLY j ON t (a);\n",
    )]));
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let config = config.clone().catalogue(std::sync::Arc::clone(&catalogue));
            tokio::spawn(async move { apply(&config).await })
        })
        .collect();
    let mut appliers = BTreeSet::new();
    for (index, run) in runs.into_iter().enumerate() {
        if run.await.unwrap().unwrap().applied.len() == 1 {
            appliers.insert(index);
        }
    }
    assert_eq!(appliers.len(), 1);
    assert_eq!(crate::value(&database, "SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid IN ('i'::regclass, 'j'::regclass)").await, "2");
}
