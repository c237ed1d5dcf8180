//! Identity: files are known by their source, and what is in a database under another name is told and taken over, never run twice.

use migrator::{Adopt, Config, Error, Revert, adopt, apply, baseline, plan, revert};

use crate::{fresh, goose, run, value};

const ROWS: &str = "-- +goose Up\nCREATE TABLE IF NOT EXISTS t (a int);\nINSERT INTO t VALUES (1);\n-- +goose Down\nDROP TABLE t;\n";
const GOOSE: &str = "CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, \
    tstamp timestamp DEFAULT now()); INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true), (1, true);";

fn named(config: &Config, source: &str, files: &[(&str, &str)]) -> Config {
    config.clone().catalogue(goose(files).with_source(source))
}

#[tokio::test]
async fn two_directories_of_one_database_know_nothing_of_each_other() {
    let (database, config) = fresh().await;
    let billing = named(&config, "billing/migrations", &[("001_init.sql", ROWS)]);
    let notes = named(
        &config,
        "notes/migrations",
        &[(
            "001_init.sql",
            "-- +goose Up\nCREATE TABLE notes (a int);\n-- +goose Down\nDROP TABLE notes;\n",
        )],
    );
    apply(&billing).await.unwrap();
    assert_eq!(apply(&notes).await.unwrap().applied.len(), 1);
    assert_eq!(
        revert(&notes, &Revert::All).await.unwrap().reverted.len(),
        1
    );
    assert_eq!(
        revert(&notes, &Revert::Last(1))
            .await
            .unwrap()
            .reverted
            .len(),
        0
    );
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "1");
}

#[tokio::test]
async fn a_directory_under_another_name_is_told_and_taken_over() {
    let (database, config) = fresh().await;
    apply(&named(&config, "old", &[("001_t.sql", ROWS)]))
        .await
        .unwrap();
    let moved = named(
        &config,
        "new",
        &[
            ("001_t.sql", ROWS),
            ("002_u.sql", "-- +goose Up\nCREATE TABLE u (a int);\n"),
        ],
    );
    let error = apply(&moved).await.unwrap_err();
    assert!(
        matches!(&error, Error::OtherSource { other, rows: 1, .. } if other == "old"),
        "{error}"
    );
    let adopted = adopt(&moved, &Adopt::Source("old".to_owned()))
        .await
        .unwrap();
    assert_eq!(adopted.recorded, ["001_t"]);
    assert_eq!(apply(&moved).await.unwrap().applied.len(), 1);
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "1");
    // A source of the same content may be meant, too.
    let third = named(
        &config,
        "third",
        &[
            ("001_t.sql", ROWS),
            ("002_u.sql", "-- +goose Up\nCREATE TABLE u (a int);\n"),
        ],
    );
    assert!(matches!(
        apply(&third).await,
        Err(Error::OtherSource { .. })
    ));
    assert!(matches!(
        apply(&third.new_source()).await,
        Err(Error::MigrationFailed(_))
    ));
}

#[tokio::test]
async fn a_renamed_file_is_told_and_takes_its_row_over() {
    let (database, config) = fresh().await;
    let second = (
        "002_u.sql",
        "-- +goose Up\nCREATE TABLE u (a int);\n-- +goose Down\nDROP TABLE u;\n",
    );
    apply(&named(&config, "team", &[("001_t.sql", ROWS), second]))
        .await
        .unwrap();
    let renamed = named(&config, "team", &[("001_better_name.sql", ROWS), second]);
    let error = plan(&renamed).await.unwrap_err();
    assert!(
        matches!(&error, Error::RenamedFile { id, file } if id == "001_t" && file == "001_better_name.sql"),
        "{error}"
    );
    assert_eq!(
        adopt(&renamed, &Adopt::Renamed).await.unwrap().recorded,
        ["001_better_name"]
    );
    assert_eq!(apply(&renamed).await.unwrap().up_to_date, 2);
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "1");
    // What required it does so under its new name.
    assert_eq!(
        revert(&renamed, &Revert::Ids(vec!["001_better_name".to_owned()]))
            .await
            .unwrap()
            .reverted
            .len(),
        2
    );
    assert!(matches!(
        adopt(&renamed, &Adopt::Renamed).await,
        Err(Error::NothingToAdopt { .. })
    ));
}

#[tokio::test]
async fn a_database_that_goose_manages_is_not_migrated_again() {
    let (database, config) = fresh().await;
    run(
        &database,
        &format!("{GOOSE} CREATE TABLE t (a int); INSERT INTO t VALUES (1);"),
    )
    .await;
    let team = named(
        &config,
        "team",
        &[
            ("00001_t.sql", ROWS),
            ("00002_u.sql", "-- +goose Up\nCREATE TABLE u (a int);\n"),
        ],
    );
    let error = apply(&team).await.unwrap_err();
    assert!(
        matches!(&error, Error::GooseDatabase { count: 1, .. }),
        "{error}"
    );
    assert_eq!(
        adopt(&team, &Adopt::Goose(None)).await.unwrap().recorded,
        ["00001_t"]
    );
    assert_eq!(apply(&team).await.unwrap().applied.len(), 1);
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "1");
}

#[tokio::test]
async fn a_goose_version_without_a_file_stops_the_take_over() {
    let (database, config) = fresh().await;
    run(&database, &format!("{GOOSE} INSERT INTO goose_db_version (version_id, is_applied) VALUES (7, true), (8, true), (8, false)")).await;
    let team = named(&config, "team", &[("1_t.sql", ROWS)]);
    let error = adopt(&team, &Adopt::Goose(None)).await.unwrap_err();
    assert!(
        matches!(&error, Error::CannotAdopt { reason } if reason.contains("version 7")),
        "{error}"
    );
    assert_eq!(
        value(&database, "SELECT count(*) FROM schema_ledger").await,
        "0"
    );
    let error = adopt(&team, &Adopt::Goose(Some("no_such_table".to_owned())))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NothingToAdopt { .. }), "{error}");
}

#[tokio::test]
async fn a_schema_without_a_ledger_is_recorded_up_to_where_it_is() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE t (a int)").await;
    let team = named(
        &config,
        "team",
        &[
            ("1_t.sql", ROWS),
            ("2_u.sql", "-- +goose Up\nCREATE TABLE u (a int);\n"),
        ],
    );
    let error = baseline(&team, Some("3_v")).await.unwrap_err();
    assert!(matches!(error, Error::CannotAdopt { .. }), "{error}");
    let error = baseline(&team, None).await.unwrap_err();
    assert!(
        matches!(&error, Error::CannotAdopt { reason } if reason == "2_u creates table u, which is not there"),
        "{error}"
    );
    let recorded = baseline(&team, Some("1_t")).await.unwrap();
    assert_eq!(recorded.recorded, ["1_t"]);
    assert!(
        recorded
            .compared
            .starts_with("1 tables that these files create are there"),
        "{}",
        recorded.compared
    );
    assert_eq!(apply(&team).await.unwrap().applied.len(), 1);
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "0");
}

#[tokio::test]
async fn a_copy_of_a_directory_with_one_file_changed_is_told_all_the_same() {
    let (database, config) = fresh().await;
    let second = (
        "002_u.sql",
        "-- +goose Up\nCREATE TABLE IF NOT EXISTS u (a int);\n",
    );
    apply(&named(&config, "old", &[("001_t.sql", ROWS), second]))
        .await
        .unwrap();
    let changed = (
        "002_u.sql",
        "-- +goose Up\nCREATE TABLE IF NOT EXISTS u (a int, b int);\n",
    );
    for files in [
        vec![("001_t.sql", ROWS), changed],
        vec![("001_t.sql", ROWS)],
        vec![("001_renamed.sql", ROWS)],
    ] {
        let error = apply(&named(&config, "new", &files)).await.unwrap_err();
        assert!(
            matches!(
                &error,
                Error::OtherSource {
                    same: 1,
                    rows: 2,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert_eq!(value(&database, "SELECT count(*) FROM t").await, "1");
}

#[tokio::test]
async fn a_goose_table_of_another_name_in_another_schema_is_found() {
    let (database, config) = fresh().await;
    let elsewhere = GOOSE.replace("goose_db_version", "g.my_versions");
    run(
        &database,
        &format!("CREATE SCHEMA g; {elsewhere} CREATE TABLE t (a int); INSERT INTO t VALUES (1);"),
    )
    .await;
    let team = named(&config, "team", &[("1_t.sql", ROWS)]);
    let error = apply(&team).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`migrate adopt --from-goose=g.my_versions`"),
        "{error}"
    );
    // The same when there is a ledger already.
    apply(
        &named(
            &config,
            "others",
            &[("1_o.sql", "-- +goose Up\nSELECT 1;\n")],
        )
        .new_source(),
    )
    .await
    .unwrap();
    assert!(matches!(
        apply(&team).await,
        Err(Error::GooseDatabase { .. })
    ));
    adopt(&team, &Adopt::Goose(Some("g.my_versions".to_owned())))
        .await
        .unwrap();
    assert_eq!(apply(&team).await.unwrap().up_to_date, 1);
}

#[tokio::test]
async fn files_whose_tables_are_not_there_are_not_taken_over_from_goose() {
    let (database, config) = fresh().await;
    run(&database, GOOSE).await;
    let wrong = named(
        &config,
        "team",
        &[(
            "00001_other.sql",
            "-- +goose Up\nCREATE TABLE something_else (a int);\n",
        )],
    );
    let error = adopt(&wrong, &Adopt::Goose(None)).await.unwrap_err();
    assert!(
        matches!(&error, Error::CannotAdopt { reason } if reason.contains("something_else, which is not there")),
        "{error}"
    );
}

#[tokio::test]
async fn renamed_files_of_one_content_get_a_row_each() {
    let (_database, config) = fresh().await;
    let one = "-- +goose Up\nSELECT 1;\n-- +goose Down\n";
    apply(&named(
        &config,
        "team",
        &[("001_a.sql", one), ("002_b.sql", one)],
    ))
    .await
    .unwrap();
    let renamed = named(&config, "team", &[("001_x.sql", one), ("002_y.sql", one)]);
    assert_eq!(
        adopt(&renamed, &Adopt::Renamed).await.unwrap().recorded,
        ["001_x", "002_y"]
    );
    assert_eq!(apply(&renamed).await.unwrap().up_to_date, 2);
    let again = named(&config, "other", &[("001_x.sql", one), ("002_z.sql", one)]);
    assert_eq!(
        adopt(&again, &Adopt::Source("team".to_owned()))
            .await
            .unwrap()
            .recorded
            .len(),
        2
    );
    assert_eq!(apply(&again).await.unwrap().up_to_date, 2);
}

#[tokio::test]
async fn a_ledger_of_an_older_build_is_completed_by_the_statement_that_the_message_names() {
    let (database, config) = fresh().await;
    let team = named(&config, "team", &[("1_t.sql", ROWS)]);
    apply(&team).await.unwrap();
    run(
        &database,
        "ALTER TABLE schema_ledger DROP step_checksums, DROP step_session",
    )
    .await;
    let error = apply(&team).await.unwrap_err().to_string();
    assert!(error.contains("is of an older build"), "{error}");
    let statement = error.split('`').nth(1).unwrap();
    run(&database, statement).await;
    assert_eq!(apply(&team).await.unwrap().up_to_date, 1);
}
