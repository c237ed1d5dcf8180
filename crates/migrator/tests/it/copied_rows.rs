//! COPY FROM STDIN with its rows in the file, and files that change how the server reads them: sent statement by statement, in one
//! transaction all the same.

use migrator::{Catalogue, Error, apply};

use crate::{fresh, goose, run, value};

const COPY: &str = "-- +goose Up\nCREATE TABLE t (a int, b text);\nCOPY t (a, b) FROM STDIN; -- its rows\n1\tit's; one\n\
    2\t-- +not goose\n3\t\\N\n\\.\n\nINSERT INTO t VALUES (4, 'four');\n-- +goose Down\nDROP TABLE t;\n";

#[tokio::test]
async fn rows_in_a_file_are_copied() {
    let (database, config) = fresh().await;
    let catalogue = goose(&[
        ("001_before.sql", "-- +goose Up\nCREATE TABLE before ();\n"),
        ("002_t.sql", COPY),
        (
            "003_csv.sql",
            "-- +goose Up\nCOPY t FROM STDIN WITH (FORMAT csv);\r\n5,\"a\r\nb\"\r\n\\.\r\nCOPY t FROM STDIN;\n\\.\n",
        ),
        (
            "004_after.sql",
            "-- +goose Up\nCREATE TABLE after AS SELECT count(*) FROM t;\n",
        ),
    ]);
    let report = apply(&config.catalogue(catalogue)).await.unwrap();
    let applied: Vec<&str> = report
        .applied
        .iter()
        .map(|applied| applied.id.as_str())
        .collect();
    assert_eq!(applied, ["001_before", "002_t", "003_csv", "004_after"]);
    assert_eq!(
        value(
            &database,
            "SELECT string_agg(concat(a, b), '|' ORDER BY a) FROM t"
        )
        .await,
        "1it's; one|2-- +not goose|3|4four|5a\nb"
    );
    assert_eq!(value(&database, "SELECT count FROM after").await, "5");
}

#[tokio::test]
async fn a_row_that_is_refused_is_named_by_its_line_and_leaves_nothing() {
    let (database, config) = fresh().await;
    let file = COPY.replace("2\t", "two\t");
    let catalogue = goose(&[
        ("001_before.sql", "-- +goose Up\nCREATE TABLE before ();\n"),
        ("002_t.sql", &file),
    ]);
    let error = apply(&config.clone().catalogue(catalogue))
        .await
        .unwrap_err();
    let Error::MigrationFailed(failure) = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (failure.line, failure.sqlstate.as_str()),
        (5, "22P02"),
        "{error}"
    );
    let left = "SELECT to_regclass('t') IS NULL AND (SELECT string_agg(id, ',') = '001_before' FROM schema_ledger)";
    assert_eq!(value(&database, left).await, "t");
    // The session goes on: corrected, the file runs.
    let corrected = goose(&[
        ("001_before.sql", "-- +goose Up\nCREATE TABLE before ();\n"),
        ("002_t.sql", COPY),
    ]);
    assert_eq!(
        apply(&config.catalogue(corrected))
            .await
            .unwrap()
            .applied
            .len(),
        1
    );
}

#[tokio::test]
async fn a_statement_after_the_rows_that_fails_is_named_by_its_line() {
    let (database, config) = fresh().await;
    let file = COPY.replace(
        "INSERT INTO t VALUES (4, 'four')",
        "INSERT INTO t VALUES (4, 1 / 0)",
    );
    let error = apply(&config.catalogue(goose(&[("002_t.sql", &file)])))
        .await
        .unwrap_err();
    let Error::MigrationFailed(failure) = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (failure.line, failure.sqlstate.as_str()),
        (9, "22012"),
        "{error}"
    );
    assert_eq!(
        value(&database, "SELECT to_regclass('t') IS NULL").await,
        "t"
    );
}

#[test]
fn a_copy_without_rows_or_receiver_is_refused() {
    for (file, says) in [
        (
            "-- +goose Up\nCREATE TABLE t (a int);\nCOPY t (a) FROM STDIN WITH (FORMAT csv);\n-- +goose Down\n",
            "line 3: COPY FROM STDIN has no rows",
        ),
        (
            "-- +goose Up\nCOPY t FROM STDIN;\n1\n-- +goose Down\n\\.\n",
            "line 4: `-- +goose Down` is among the rows",
        ),
        (
            "-- +goose Up\nSELECT 1;\nCOPY t TO STDOUT;\n",
            "line 3: COPY to STDOUT",
        ),
    ] {
        let files = [("001_t.sql".to_owned(), file.to_owned())];
        let error = Catalogue::from_goose_files("team", files)
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn escape_strings_of_old_dumps_mean_what_they_did() {
    let (database, config) = fresh().await;
    let catalogue = goose(&[
        (
            "001_t.sql",
            "-- +goose Up\nSET standard_conforming_strings = off;\nCREATE TABLE t (a text);\nINSERT INTO t VALUES ('a\\nb');\n\
             INSERT INTO t VALUES ('it\\'s;');\n-- +goose Down\n",
        ),
        (
            "002_u.sql",
            "-- +goose Up\nCREATE TABLE u AS SELECT 'a\\nb'::text AS a;\n",
        ),
    ]);
    apply(&config.catalogue(catalogue)).await.unwrap();
    assert_eq!(
        value(&database, "SELECT string_agg(length(a)::text, ',') FROM t").await,
        "3,5"
    );
    assert_eq!(value(&database, "SELECT length(a) FROM u").await, "4");
}

#[tokio::test]
async fn the_own_format_copies_rows_as_well() {
    let (database, config) = fresh().await;
    let files = [
        (
            "0001_t.up.sql",
            "-- provides: table t\nCREATE TABLE IF NOT EXISTS t (a int);\nCOPY t FROM STDIN;\n7\n\\.\n",
        ),
        ("0001_t.down.sql", "DROP TABLE t;"),
    ];
    let catalogue = Catalogue::from_files("shop", files, "").unwrap();
    run(&database, "CREATE TABLE other ()").await;
    apply(&config.catalogue(catalogue)).await.unwrap();
    assert_eq!(value(&database, "SELECT a FROM t").await, "7");
}
