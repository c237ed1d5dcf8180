//! Migrations outside a transaction: cut anywhere, they go on where they were, and an invalid index is built again.

use migrator::{Config, Error, Event, apply};

use crate::{files, fresh, goose, run, value};

const INDEX: &str = "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE IF NOT EXISTS more (a int);\nINSERT INTO more VALUES (1);\n\
    CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one_each ON t (a);\nINSERT INTO more VALUES (2);\n";

#[tokio::test]
async fn an_index_that_a_failed_build_left_invalid_is_built_again() {
    let (database, config) = fresh().await;
    run(
        &database,
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)",
    )
    .await;
    let (events, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let config = config
        .catalogue(goose(&[("1_index.sql", INDEX)]))
        .observe(move |event| drop(events.send(event.clone())));
    let error = apply(&config).await.unwrap_err();
    let Error::MigrationFailed(failure) = &error else {
        panic!("{error}")
    };
    assert_eq!((failure.line, failure.sqlstate.as_str()), (5, "23505"));
    assert_eq!(
        value(
            &database,
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_each'::regclass"
        )
        .await,
        "f"
    );

    run(
        &database,
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t)",
    )
    .await;
    apply(&config).await.unwrap();
    assert_eq!(
        value(
            &database,
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_each'::regclass"
        )
        .await,
        "t"
    );
    // The steps before the failure ran once.
    assert_eq!(
        value(
            &database,
            "SELECT string_agg(a::text, ',' ORDER BY a) FROM more"
        )
        .await,
        "1,2"
    );
    drop(config);
    let mut repaired = false;
    while let Some(event) = seen.recv().await {
        repaired |= matches!(event, Event::Repaired { .. });
    }
    assert!(repaired);
}

/// A kill between a step's effect and its record, and in the middle of a step.
#[tokio::test]
async fn killed_after_any_step_a_run_converges_by_itself() {
    for statement in 1.. {
        let (database, config) = fresh().await;
        run(
            &database,
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1)",
        )
        .await;
        run(
            &database,
            &format!(
                "CREATE SCHEMA chaos; CREATE SEQUENCE chaos.statements;
                 CREATE FUNCTION chaos.kill() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                     IF nextval('chaos.statements') = {statement} THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                 END $$;
                 CREATE EVENT TRIGGER chaos ON ddl_command_end EXECUTE FUNCTION chaos.kill();"
            ),
        )
        .await;
        apply(&config.catalogue(goose(&[("1_index.sql", INDEX)])))
            .await
            .unwrap_or_else(|error| panic!("killed after statement {statement}: {error}"));
        assert_eq!(
            value(
                &database,
                "SELECT indisvalid FROM pg_index WHERE indexrelid = 'one_each'::regclass"
            )
            .await,
            "t"
        );
        assert_eq!(
            value(
                &database,
                "SELECT string_agg(a::text, ',' ORDER BY a) FROM more"
            )
            .await,
            "1,2",
            "killed after statement {statement}"
        );
        if value(&database, "SELECT last_value FROM chaos.statements")
            .await
            .parse::<u32>()
            .unwrap()
            < statement
        {
            assert!(statement > 3, "the trigger fired too seldom");
            return;
        }
    }
}

#[tokio::test]
async fn what_a_file_puts_between_begin_and_commit_is_one_step() {
    let (database, config) = fresh().await;
    let file = "-- +goose NO TRANSACTION\n-- +goose Up\nBEGIN;\nCREATE TABLE a (i int);\nSELECT 1 / 0;\nCOMMIT;\nCREATE TABLE b (i int);\n";
    let config = config.catalogue(goose(&[("1_unit.sql", file)]));
    assert!(matches!(
        apply(&config).await,
        Err(Error::MigrationFailed(_))
    ));
    assert_eq!(
        value(
            &database,
            "SELECT to_regclass('a') IS NULL AND to_regclass('b') IS NULL"
        )
        .await,
        "t"
    );
    assert!(
        migrator::status(&Config::new(database.url(), files(&[])))
            .await
            .is_ok()
    );
}
