//! Each thing that can be wrong is an error of its own, with SQLSTATE, cause and next move.

use std::time::Duration;

use migrations::{Config, Error, Selection, apply, apply_audit, drift, plan, status, verify};
use testkit::postgres::{database, empty_database, server};

use crate::{files, fresh, goose, run, value};

#[tokio::test]
async fn six_things_that_are_often_confused_are_six_errors() {
    let server = server().await;
    let port = server.port().unwrap();
    let short = Duration::from_millis(600);
    let kind = async |config: Config| {
        verify(&config.profile("audit").deadline(Duration::from_secs(10)))
            .await
            .unwrap_err()
    };

    let absent =
        apply(&Config::new("postgres://slm_user@127.0.0.1:9/action_history").deadline(short))
            .await
            .unwrap_err();
    assert!(matches!(absent, Error::PostgresNotReady { .. }), "{absent}");
    assert!(
        absent.to_string().contains("not ready at 127.0.0.1:9")
            && absent.to_string().contains("refused"),
        "{absent}"
    );

    let no_database = kind(Config::new(server.url("nowhere"))).await;
    assert!(
        matches!(no_database, Error::NoSuchDatabase { .. })
            && no_database.sqlstate() == Some("3D000"),
        "{no_database}"
    );

    let wrong = format!(
        "postgres://{}:wrong@127.0.0.1:{port}/postgres",
        server.user()
    );
    let wrong = kind(Config::new(wrong)).await;
    assert!(
        matches!(wrong, Error::AuthFailed { .. }) && wrong.sqlstate() == Some("28P01"),
        "{wrong}"
    );

    let (unprivileged, _) = fresh().await;
    run(&unprivileged, "DROP ROLE IF EXISTS nobody_in_particular; CREATE ROLE nobody_in_particular LOGIN PASSWORD 'p'").await;
    let url = format!(
        "postgres://nobody_in_particular:p@127.0.0.1:{port}/{}",
        unprivileged.name()
    );
    let denied = apply(&Config::new(url).profile("audit")).await.unwrap_err();
    assert!(
        matches!(denied, Error::PermissionDenied { .. }) && denied.sqlstate() == Some("42501"),
        "{denied}"
    );

    let empty = empty_database().await;
    let missing = kind(Config::new(empty.url())).await;
    assert!(
        matches!(missing, Error::MissingTable { .. }) && missing.sqlstate() == Some("42P01"),
        "{missing}"
    );
    assert!(
        missing
            .to_string()
            .contains("audit_events was never applied"),
        "{missing}"
    );

    let gap = database("audit").await;
    run(&gap, "DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit_events'::regclass LOOP EXECUTE format('ALTER TABLE audit_events DETACH PARTITION %s', p); END LOOP; END $$").await;
    let missing = kind(Config::new(gap.url())).await;
    assert!(
        matches!(missing, Error::MissingPartition { .. }) && missing.sqlstate() == Some("23514"),
        "{missing}"
    );
    assert!(
        missing.to_string().contains("migrate partitions"),
        "{missing}"
    );
}

#[tokio::test]
async fn no_message_holds_the_password() {
    let url = "postgres://slm_user:hunter2@127.0.0.1:9/action_history?nonsense=1";
    for url in [
        url,
        "postgres://slm_user:hunter2@127.0.0.1:9/x",
        "postgres://slm_user:hunter2@[::1/x",
        "host='a' password=hunter2 port=x",
    ] {
        let config = Config::new(url).deadline(Duration::from_millis(300));
        let error = apply(&config).await.unwrap_err();
        assert!(
            !format!("{error} {error:?} {config:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_failing_statement_is_named_by_migration_file_and_line() {
    let (database, config) = fresh().await;
    let good = "-- provides: table a\nCREATE TABLE IF NOT EXISTS a (id int);\n";
    for (bad, line, sqlstate) in [
        (
            "CREATE TABLE b (id int);\n\nSELECT 'ä', missing_column;\n",
            5,
            "42703",
        ),
        (
            "CREATE TABLE b (id int);\nSELECT 1 / (SELECT 0);\nSELECT 2;\n",
            4,
            "22012",
        ),
        ("CREATE TABLE b (id int);\nCREATE TABEL c ();\n", 4, "42601"),
        (
            "CREATE TABLE b (id int);\n\nDO $$ BEGIN\n  PERFORM nothing_of_the_kind();\nEND $$;\n",
            5,
            "42883",
        ),
        ("INSERT INTO missing_table VALUES (1);\n", 3, "42P01"),
    ] {
        let bad = format!("-- requires: a\n-- provides: table b\n{bad}");
        let catalogue = files(&[
            ("0001_a.up.sql", good),
            ("0001_a.down.sql", ""),
            ("0002_b.up.sql", &bad),
            ("0002_b.down.sql", ""),
        ]);
        let error = apply(&config.clone().catalogue(catalogue))
            .await
            .unwrap_err();
        let Error::MigrationFailed(failure) = &error else {
            panic!("{error}")
        };
        assert_eq!(
            (
                failure.migration.as_str(),
                failure.file.as_str(),
                failure.line,
                failure.sqlstate.as_str()
            ),
            ("b", "0002_b.up.sql", line, sqlstate)
        );
        assert!(
            error.to_string().starts_with("migration 'b' failed: "),
            "{error}"
        );
        // What was committed before stays, and nothing of the failed one does.
        assert_eq!(
            value(&database, "SELECT string_agg(id, ',') FROM schema_ledger").await,
            "a"
        );
        assert_eq!(
            value(&database, "SELECT to_regclass('b') IS NULL").await,
            "t"
        );
        run(&database, "DROP TABLE a, schema_ledger").await;
    }
}

#[tokio::test]
async fn a_table_of_another_shape_is_drift_shown_as_a_difference() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE notification_audit (id bigserial PRIMARY KEY, remediation_id text, notification_id varchar(255), recipient varchar(255), \
         channel varchar(50), status varchar(50), created_at timestamptz, updated_at timestamptz, mine int); INSERT INTO notification_audit (mine) VALUES (7)").await;
    let error = apply(&config.tables(["notification_audit"]))
        .await
        .unwrap_err();
    let Error::Drift {
        migration: Some(migration),
        differences,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(migration, "notification_audit");
    let text = error.to_string();
    assert!(
        text.starts_with("migration 'notification_audit' failed: drift"),
        "{text}"
    );
    assert!(
        text.contains("table notification_audit, column mine: unexpected `integer`"),
        "{text}"
    );
    assert!(
        text.contains(
            "column remediation_id: expected `character varying(255) not null`, found `text`"
        ),
        "{text}"
    );
    assert!(text.contains("column sent_at: missing"), "{text}");
    assert!(differences.len() > 5);
    // Nothing was adopted, nothing lost.
    assert_eq!(
        value(&database, "SELECT mine FROM notification_audit").await,
        "7"
    );
    assert_eq!(
        value(
            &database,
            "SELECT count(*) FROM schema_ledger WHERE id = 'notification_audit'"
        )
        .await,
        "0"
    );
}

#[tokio::test]
async fn a_changed_file_and_an_unknown_row_are_different_errors() {
    let database = database("audit").await;
    let config = Config::new(database.url()).profile("aianalysis");
    run(
        &database,
        "UPDATE schema_ledger SET checksum = repeat('0', 64) WHERE id = 'audit_events'",
    )
    .await;
    let error = apply(&config).await.unwrap_err();
    let Error::ChecksumMismatch { migration, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(migration, "audit_events");
    assert!(
        status(&config)
            .await
            .unwrap()
            .to_string()
            .contains("its file was changed since")
    );

    let checksum = "UPDATE schema_ledger SET checksum = (SELECT checksum FROM schema_ledger WHERE id = 'audit_events_partitions')";
    run(&database, &format!("{checksum} WHERE false")).await;
    let other = testkit::postgres::database("audit").await;
    run(&other, "INSERT INTO schema_ledger (source, id, checksum, sequence, applied_at, steps_done, step_checksums, tool_version, requires) VALUES ('kubernaut', 'from_the_future', 'x', 100, now(), 0, '{}', '9', '{}')").await;
    run(&other, "INSERT INTO schema_ledger (source, id, checksum, sequence, applied_at, steps_done, tool_version, requires) VALUES ('another team', 'theirs', 'x', 100, now(), 0, '9', '{}')").await;
    // Nothing to do is still nothing to do; doing something would be guessing.
    apply_audit(&Config::new(other.url())).await.unwrap();
    let error = apply(&Config::new(other.url()).profile("aianalysis"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::UnknownMigration { ids } if ids == &["from_the_future"]),
        "{error}"
    );
    assert!(
        status(&Config::new(other.url()))
            .await
            .unwrap()
            .to_string()
            .contains("unknown to this program")
    );
}

#[tokio::test]
async fn comments_white_space_and_line_ends_do_not_change_a_file() {
    let (_database, config) = fresh().await;
    let first =
        "-- provides: table t\nCREATE TABLE IF NOT EXISTS t (a int, b text DEFAULT 'x  y');\n";
    let again = "-- provides: table t\r\n/* said better */\r\nCREATE TABLE IF NOT EXISTS t (\r\n  a int, -- one\r\n  b text DEFAULT 'x  y');\r\n";
    let other =
        "-- provides: table t\nCREATE TABLE IF NOT EXISTS t (a int, b text DEFAULT 'x y');\n";
    let pair = |up| {
        files(&[
            ("0001_t.up.sql", up),
            ("0001_t.down.sql", "DROP TABLE IF EXISTS t;"),
        ])
    };
    apply(&config.clone().catalogue(pair(first))).await.unwrap();
    assert_eq!(
        apply(&config.clone().catalogue(pair(again)))
            .await
            .unwrap()
            .up_to_date,
        1
    );
    assert!(matches!(
        apply(&config.catalogue(pair(other))).await,
        Err(Error::ChecksumMismatch { .. })
    ));
}

#[tokio::test]
async fn a_schema_made_by_another_tool_is_refused_with_the_way_out() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE audit_events (event_id uuid, event_date date) PARTITION BY RANGE (event_date); \
         CREATE TABLE audit_events_2025_12 PARTITION OF audit_events FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')").await;
    let error = apply_audit(&config).await.unwrap_err();
    assert!(matches!(error, Error::UnmanagedSchema { .. }), "{error}");
    assert!(
        error.to_string().contains("audit_events_2025_12") && error.to_string().contains("dropdb"),
        "{error}"
    );
}

#[tokio::test]
async fn a_table_dropped_by_hand_is_missing_in_spite_of_the_ledger() {
    let database = database("audit").await;
    let config = Config::new(database.url()).profile("audit");
    run(&database, "DROP TABLE audit_events").await;
    let error = verify(&config).await.unwrap_err();
    assert!(
        error.to_string().contains("somebody dropped it since"),
        "{error}"
    );
    assert_eq!(
        drift(&config).await.unwrap().differences[0].object,
        "table audit_events"
    );
}

#[tokio::test]
async fn a_table_lock_held_by_others_is_waited_out() {
    let (database, config) = fresh().await;
    run(&database, "CREATE TABLE busy (a int)").await;
    let mut client = database.connect().await;
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("LOCK TABLE busy").await.unwrap();
    let running = tokio::spawn({
        let catalogue = goose(&[(
            "1_busy.sql",
            "-- +goose Up\nALTER TABLE busy ADD COLUMN b int;\n",
        )]);
        let config = config.catalogue(catalogue).select(Selection::all());
        async move { apply(&config).await }
    });
    let waiting = async || match value(&database, "SELECT count(*) FROM pg_locks WHERE NOT granted")
        .await
        .as_str()
    {
        "0" => Err("nobody waits"),
        _ => Ok(()),
    };
    testkit::wait::until(
        "the migration to wait for the table",
        Duration::from_secs(10),
        waiting,
    )
    .await;
    transaction.commit().await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().applied.len(), 1);
    assert!(plan(&Config::new(database.url())).await.is_ok());
}
