//! Reverting: exactly the selection and what needs it, shown before, in steps that go on, by the Down that the file has now.

use migrator::{Config, Error, LossKind, Revert, RevertPlan, apply, plan_revert, revert};

use crate::{files, fresh, goose, run, value};

const TABLE: &str = "-- +goose Up\nCREATE TABLE t (a int);\nINSERT INTO t VALUES (1), (2);\n-- +goose Down\nDROP TABLE t;\n";

async fn fails(config: &Config, what: &Revert) -> Error {
    revert(config, what).await.expect_err("it is refused")
}

#[tokio::test]
async fn what_is_lost_is_shown_with_its_rows_and_nothing_is_changed_by_looking() {
    let (database, config) = fresh().await;
    let config = config.catalogue(goose(&[("1_t.sql", TABLE)]));
    apply(&config).await.unwrap();
    let plan = plan_revert(&config, &Revert::All).await.unwrap();
    assert_eq!(plan.reverts, ["1_t"]);
    let [loss] = plan.losses.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (loss.table.as_str(), loss.what, loss.rows, loss.estimated),
        ("t", LossKind::Dropped, 2, false)
    );
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "2");
}

#[tokio::test]
async fn only_what_was_approved_is_reverted() {
    let (database, config) = fresh().await;
    let both = goose(&[
        ("1_t.sql", TABLE),
        (
            "2_u.sql",
            "-- +goose Up\nCREATE TABLE u (a int);\n-- +goose Down\nDROP TABLE u;\n",
        ),
    ]);
    let first = config.clone().catalogue(goose(&[("1_t.sql", TABLE)]));
    apply(&first).await.unwrap();
    let plan = plan_revert(&first, &Revert::All).await.unwrap();
    let both = config.catalogue(both);
    apply(&both).await.unwrap();
    let error = fails(&both.clone().only_plan(&plan.hash), &Revert::All).await;
    assert!(matches!(error, Error::PlanChanged { .. }), "{error}");
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "2");
}

#[tokio::test]
async fn what_the_files_do_not_hold_is_not_reverted() {
    let (database, config) = fresh().await;
    let second = (
        "2_u.sql",
        "-- +goose Up\nCREATE TABLE u (a int);\n-- +goose Down\nDROP TABLE u;\n",
    );
    apply(
        &config
            .clone()
            .catalogue(goose(&[("1_t.sql", TABLE), second])),
    )
    .await
    .unwrap();
    let without = config.catalogue(goose(&[("1_t.sql", TABLE)]));
    for what in [Revert::All, Revert::Last(1)] {
        let error = fails(&without, &what).await;
        assert!(
            matches!(&error, Error::UnknownMigration { ids } if *ids == ["2_u"]),
            "{error}"
        );
    }
    let error = fails(&without, &Revert::Ids(vec!["1_t".to_owned()])).await;
    assert!(
        matches!(&error, Error::StillNeeded { by, in_files: false, .. } if by == "2_u"),
        "{error}"
    );
    assert_eq!(value(&database, "SELECT count(*) FROM u, t").await, "0");
}

#[tokio::test]
async fn a_corrected_down_is_the_one_that_runs_and_an_empty_one_may_be_added() {
    let (database, config) = fresh().await;
    let broken =
        "-- +goose Up\nCREATE TABLE t (a int);\n-- +goose Down\nDROP TABLE IF NOT EXISTS t;\n";
    let none = "-- +goose Up\nSELECT 1;\n";
    let before = config
        .clone()
        .catalogue(goose(&[("1_t.sql", broken), ("2_n.sql", none)]));
    apply(&before).await.unwrap();
    let error = fails(&before, &Revert::All).await;
    assert!(
        matches!(&error, Error::Irreversible { migration, .. } if migration == "2_n"),
        "{error}"
    );
    let added = format!("{none}-- +goose Down\n");
    let half = config
        .clone()
        .catalogue(goose(&[("1_t.sql", broken), ("2_n.sql", &added)]));
    let Error::MigrationFailed(failure) = fails(&half, &Revert::All).await else {
        panic!("the Down is no SQL")
    };
    assert_eq!((failure.file.as_str(), failure.line), ("1_t.sql", 4));
    let corrected = broken.replace("IF NOT EXISTS ", "");
    let corrected = config.catalogue(goose(&[("1_t.sql", &corrected), ("2_n.sql", &added)]));
    assert_eq!(
        revert(&corrected, &Revert::All)
            .await
            .unwrap()
            .reverted
            .len(),
        1
    );
    assert_eq!(
        value(&database, "SELECT to_regclass('t') IS NULL").await,
        "t"
    );
}

#[tokio::test]
async fn a_down_in_steps_that_failed_goes_on_where_it_was() {
    let (database, config) = fresh().await;
    let file = |last: &str| {
        format!(
            "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE t (a int);\nCREATE INDEX CONCURRENTLY i ON t (a);\n\
             -- +goose Down\nALTER TABLE t RENAME TO t_old;\nDROP INDEX CONCURRENTLY i;\nDROP TABLE {last};\n"
        )
    };
    let broken = config
        .clone()
        .catalogue(goose(&[("1_t.sql", &file("t_gone"))]));
    apply(&broken).await.unwrap();
    let Error::MigrationFailed(failure) = fails(&broken, &Revert::All).await else {
        panic!("the table is not there")
    };
    assert_eq!((failure.file.as_str(), failure.line), ("1_t.sql", 8));
    // The done steps are fixed, and nothing is applied on top of half a Down.
    let error = apply(&broken).await.unwrap_err();
    assert!(
        matches!(error, Error::HalfReverted { done: 2, .. }),
        "{error}"
    );
    let other = file("t_old").replace("RENAME TO t_old", "RENAME TO t_new");
    let error = fails(
        &config.clone().catalogue(goose(&[("1_t.sql", &other)])),
        &Revert::All,
    )
    .await;
    assert!(
        matches!(
            error,
            Error::StepChanged {
                step: 1,
                done: 2,
                ..
            }
        ),
        "{error}"
    );
    let corrected = config.catalogue(goose(&[("1_t.sql", &file("t_old"))]));
    assert_eq!(
        revert(&corrected, &Revert::All)
            .await
            .unwrap()
            .reverted
            .len(),
        1
    );
    assert_eq!(
        value(
            &database,
            "SELECT count(*) FROM pg_class WHERE relname IN ('t', 't_old', 'i')"
        )
        .await,
        "0"
    );
    assert_eq!(apply(&corrected).await.unwrap().applied.len(), 1);
}

#[tokio::test]
async fn nothing_is_made_in_a_database_where_nothing_is_applied() {
    let (database, config) = fresh().await;
    let config = config.catalogue(goose(&[("1_t.sql", TABLE)]));
    assert_eq!(
        revert(&config, &Revert::Last(1))
            .await
            .unwrap()
            .reverted
            .len(),
        0
    );
    assert_eq!(
        value(&database, "SELECT to_regclass('schema_ledger') IS NULL").await,
        "t"
    );
}

#[tokio::test]
async fn a_setting_of_a_down_is_gone_in_the_next_one() {
    let (database, config) = fresh().await;
    run(&database, "CREATE SCHEMA app").await;
    let catalogue = files(&[
        (
            "0001_t.up.sql",
            "-- provides: table t\nCREATE TABLE IF NOT EXISTS t (a int);",
        ),
        ("0001_t.down.sql", "DROP TABLE t;"),
        (
            "0002_u.up.sql",
            "-- provides: table u\nCREATE TABLE IF NOT EXISTS u (a int);",
        ),
        (
            "0002_u.down.sql",
            "SET search_path = app; DROP TABLE public.u;",
        ),
    ]);
    let config = config.catalogue(catalogue);
    apply(&config).await.unwrap();
    assert_eq!(
        revert(&config, &Revert::All).await.unwrap().reverted.len(),
        2
    );
    assert_eq!(
        value(&database, "SELECT to_regclass('public.t') IS NULL").await,
        "t"
    );
}

#[tokio::test]
async fn a_down_that_the_server_refuses_without_a_place_is_still_told_by_its_line() {
    let (_database, config) = fresh().await;
    let file = "-- +goose Up\nCREATE TABLE t (a int PRIMARY KEY);\n-- +goose Down\nSELECT 1;\n\nALTER TABLE t ALTER a DROP NOT NULL;\n";
    let config = config.catalogue(goose(&[("1_t.sql", file)]));
    apply(&config).await.unwrap();
    let Error::MigrationFailed(failure) = fails(&config, &Revert::All).await else {
        panic!("a key's column is never null")
    };
    assert_eq!((failure.line, failure.sqlstate.as_str()), (6, "42P16"));
}

/// What reverting a file with this Down would take, in a database with some tables.
async fn plan_of(down: &str) -> RevertPlan {
    let (database, config) = fresh().await;
    run(
        &database,
        "CREATE SCHEMA app; CREATE TYPE mood AS ENUM ('a');
         CREATE TABLE app.t (a int); INSERT INTO app.t SELECT generate_series(1, 50);
         CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1); INSERT INTO p VALUES (1), (1);
         CREATE TABLE m (a int, b mood); INSERT INTO m VALUES (1, 'a');
         CREATE TABLE parent (a int PRIMARY KEY); CREATE TABLE child (a int REFERENCES parent); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1), (1)",
    )
    .await;
    let file = format!("-- +goose Up\nSELECT 1;\n-- +goose Down\n{down}\n");
    let config = config.catalogue(goose(&[("1_s.sql", &file)]));
    apply(&config).await.expect("applied");
    let plan = plan_revert(&config, &Revert::All).await.expect("planned");
    assert_eq!(value(&database, "SELECT (SELECT count(*) FROM app.t) + (SELECT count(*) FROM p) + (SELECT count(b) FROM m)").await, "53");
    plan
}

#[tokio::test]
async fn whatever_a_down_takes_is_found_however_it_is_written() {
    for (down, expected) in [
        (
            "DROP SCHEMA app CASCADE;",
            vec!["drops table app.t (50 rows)"],
        ),
        ("DROP TABLE p_1;", vec!["drops table p_1 (2 rows)"]),
        ("DROP TABLE p;", vec!["drops table p (2 rows)"]),
        (
            "DO $$ BEGIN EXECUTE 'DROP TABLE m'; END $$;",
            vec!["drops table m (1 rows)"],
        ),
        (
            "DROP TYPE mood CASCADE;",
            vec!["drops columns of table m (1 rows)"],
        ),
        (
            "SET search_path = app; DROP TABLE t;",
            vec!["drops table app.t (50 rows)"],
        ),
        (
            "WITH gone AS (DELETE FROM app.t WHERE a < 4 RETURNING 1) SELECT count(*) FROM gone;",
            vec!["deletes or changes rows of table app.t (3 rows)"],
        ),
        (
            "UPDATE m SET b = NULL;",
            vec!["deletes or changes rows of table m (1 rows)"],
        ),
        (
            "TRUNCATE parent CASCADE;",
            vec![
                "empties or rewrites table parent (1 rows)",
                "empties or rewrites table child (2 rows)",
            ],
        ),
        ("SELECT 2;", vec![]),
    ] {
        let plan = plan_of(down).await;
        let losses: Vec<String> = plan.losses.iter().map(ToString::to_string).collect();
        assert_eq!(
            (losses, plan.note),
            (expected.into_iter().map(str::to_owned).collect(), None),
            "{down}"
        );
    }
}

#[tokio::test]
async fn a_down_that_cannot_be_tried_says_that_more_may_be_lost() {
    let plan = plan_of("DROP INDEX CONCURRENTLY IF EXISTS i;\nDROP TABLE app.t;").await;
    assert_eq!(plan.losses.len(), 1);
    let note = plan.note.unwrap();
    assert!(
        note.contains("may hide more: `DROP INDEX CONCURRENTLY IF` cannot be tried"),
        "{note}"
    );
    let plan = plan_of("DROP TABLE nothing;").await;
    assert!(plan.note.unwrap().contains("does not exist"));
}

#[tokio::test]
async fn a_file_that_is_not_the_one_that_was_applied_reverts_nothing() {
    let (database, config) = fresh().await;
    apply(&config.clone().catalogue(goose(&[("1_t.sql", TABLE)])))
        .await
        .unwrap();
    let other = config.catalogue(goose(&[(
        "1_t.sql",
        "-- +goose Up\nCREATE TABLE o (a int);\n-- +goose Down\nDROP TABLE o;\n",
    )]));
    for what in [Revert::All, Revert::Ids(vec!["1_t".to_owned()])] {
        let error = fails(&other, &what).await;
        assert!(matches!(error, Error::ChecksumMismatch { .. }), "{error}");
    }
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "2");
}
