//! A team's own files in goose's format, with what trips other runners.

use std::path::Path;

use migrator::{Catalogue, Error, Revert, apply, revert};

use crate::{fresh, goose, run, value};

#[tokio::test]
async fn what_trips_other_runners_is_applied() {
    let (database, config) = fresh().await;
    let catalogue = goose(&[
        (
            "001_do.sql",
            "-- +goose Up\nCREATE TABLE t (a int);\nDO $$ BEGIN\n  INSERT INTO t VALUES (1); INSERT INTO t VALUES (2);\nEND $$;\n-- +goose Down\nDROP TABLE t;\n",
        ),
        (
            "002_function.sql",
            "-- +goose Up\n-- +goose StatementBegin\nCREATE FUNCTION f() RETURNS text LANGUAGE sql AS $body$ SELECT 'a;b' $body$;\n-- +goose StatementEnd\n-- +goose Down\nDROP FUNCTION f();\n",
        ),
        (
            "003_index.sql",
            "-- +goose Up\nCREATE INDEX CONCURRENTLY i ON t (a);\n-- +goose Down\nDROP INDEX CONCURRENTLY i;\n",
        ),
        (
            "004_commit.sql",
            "-- +goose Up\nCREATE TABLE u (a int);\nCOMMIT;\nCREATE TABLE v (a int);\n-- +goose Down\nDROP TABLE v;\nDROP TABLE u;\n",
        ),
        (
            "004_same_number.sql",
            "-- +goose Up\nCREATE TABLE w (a int);\n-- +goose Down\nDROP TABLE w;\n",
        ),
    ]);
    let report = apply(&config.clone().catalogue(catalogue.clone()))
        .await
        .unwrap();
    assert_eq!(report.applied.len(), 5);
    assert_eq!(report.warnings.len(), 3, "{:?}", report.warnings);
    assert_eq!(
        value(&database, "SELECT f() || (SELECT count(*) FROM t)").await,
        "a;b2"
    );
    assert_eq!(
        apply(&config.clone().catalogue(catalogue.clone()))
            .await
            .unwrap()
            .up_to_date,
        5
    );
    assert_eq!(
        revert(&config.catalogue(catalogue), &Revert::All)
            .await
            .unwrap()
            .reverted
            .len(),
        5
    );
    assert_eq!(value(&database, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname IN ('t', 'u', 'v', 'w', 'i')").await, "0");
}

#[tokio::test]
async fn a_down_section_that_is_not_sql_reverts_nothing() {
    let (database, config) = fresh().await;
    let file =
        "-- +goose Up\nCREATE TABLE t (a int);\n-- +goose Down\nDROP TABLE IF NOT EXISTS t;\n";
    let config = config.catalogue(goose(&[("014_t.sql", file)]));
    apply(&config).await.unwrap();
    let error = revert(&config, &Revert::Last(1)).await.unwrap_err();
    let Error::MigrationFailed(failure) = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (failure.line, failure.sqlstate.as_str()),
        (4, "42601"),
        "{error}"
    );
    assert_eq!(value(&database, "SELECT to_regclass('t') IS NOT NULL AND (SELECT reverted_at IS NULL FROM schema_ledger)").await, "t");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let error = Catalogue::from_goose_dir("team", Path::new("/nowhere/migrations")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/migrations"), "{error}");
}

#[tokio::test]
async fn the_statement_that_records_a_migration_does_not_carry_the_other_ones_text() {
    let (database, config) = fresh().await;
    let catalogue = goose(&[
        ("001_t.sql", "-- +goose Up\nCREATE TABLE t (a int);\n"),
        (
            "002_kept.sql",
            "-- +goose Up\nCREATE TABLE kept AS SELECT statement FROM pg_prepared_statements WHERE name = 'schema_record';\n",
        ),
    ]);
    apply(&config.catalogue(catalogue)).await.unwrap();
    let kept = value(&database, "SELECT statement FROM kept").await;
    assert!(kept.starts_with("PREPARE schema_record"), "{kept}");
    assert!(!kept.contains("CREATE TABLE"), "{kept}");
}

#[tokio::test]
async fn a_database_without_plpgsql_is_migrated_all_the_same() {
    let (database, config) = fresh().await;
    run(&database, "DROP EXTENSION plpgsql").await;
    let catalogue = goose(&[
        ("001_t.sql", "-- +goose Up\nCREATE TABLE t (a int);\n"),
        ("002_u.sql", "-- +goose Up\nCREATE TABLE u (a int);\n"),
    ]);
    let report = apply(&config.catalogue(catalogue)).await.unwrap();
    assert_eq!(report.applied.len(), 2);
}
