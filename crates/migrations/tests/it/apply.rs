//! One run and the next.

use std::sync::{Arc, Mutex};

use migrations::{Error, Selection, apply, apply_all, apply_audit, drift, plan, status, verify};

use crate::{INSERT_EVENT, files, fresh, goose, run, value};

#[tokio::test]
async fn the_audit_profile_makes_the_table_its_partitions_and_its_indexes() {
    let (database, config) = fresh().await;
    let report = apply(&config.profile("workflowexecution")).await.unwrap();
    assert_eq!(report.applied.len(), 3);
    assert_eq!(report.partitions.len(), 5, "{:?}", report.partitions);
    assert_eq!(
        value(&database, "SELECT count(*) FROM audit_events").await,
        "0"
    );
    for name in ["audit_events_y2025m12", "audit_events_y2026m01"] {
        assert_eq!(
            value(
                &database,
                &format!("SELECT to_regclass('{name}') IS NOT NULL")
            )
            .await,
            "t",
            "{name}"
        );
    }
    for name in [
        "correlation",
        "event_type",
        "timestamp",
        "resource",
        "actor",
    ] {
        assert_eq!(
            value(
                &database,
                &format!("SELECT to_regclass('idx_audit_events_{name}') IS NOT NULL")
            )
            .await,
            "t",
            "{name}"
        );
    }
    assert_eq!(
        value(
            &database,
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 'audit_events'"
        )
        .await,
        "29"
    );
}

#[tokio::test]
async fn the_whole_schema_has_its_columns() {
    let database = testkit::postgres::database("all").await;
    for (table, columns) in [
        ("remediation_workflow_catalog", "37"),
        ("resource_action_traces", "45"),
        ("notification_audit", "13"),
    ] {
        let sql =
            format!("SELECT count(*) FROM information_schema.columns WHERE table_name = '{table}'");
        assert_eq!(value(&database, &sql).await, columns, "{table}");
    }
}

#[tokio::test]
async fn a_second_run_has_nothing_to_do_and_takes_no_lock() {
    let (database, config) = fresh().await;
    apply_audit(&config).await.unwrap();
    let client = database.connect().await;
    // Whoever needed the lock now would wait until the deadline.
    client
        .batch_execute("SELECT pg_advisory_lock(1263878725, 1296648018)")
        .await
        .unwrap();
    let report = apply_audit(&config).await.unwrap();
    assert_eq!(
        (
            report.applied.len(),
            report.up_to_date,
            report.partitions.len()
        ),
        (0, 3, 0)
    );
}

#[tokio::test]
async fn a_wider_selection_adds_what_is_missing() {
    let (_database, config) = fresh().await;
    apply_audit(&config).await.unwrap();
    let report = apply(&config.clone().profile("aianalysis")).await.unwrap();
    let ids: Vec<&str> = report
        .applied
        .iter()
        .map(|applied| applied.id.as_str())
        .collect();
    assert_eq!(
        (ids, report.up_to_date),
        (vec!["touch_updated_at", "remediation_workflow_catalog"], 3)
    );
    assert_eq!(apply_all(&config).await.unwrap().up_to_date, 5);
}

#[tokio::test]
async fn what_is_written_names_the_tables() {
    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (_database, config) = fresh().await;
    let buffer = Buffer::default();
    apply(&config.tables(["audit_events"]).log_to(buffer.clone()))
        .await
        .unwrap();
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("applied audit_events in ") && text.contains(": table audit_events\n"),
        "{text}"
    );
    assert!(
        text.contains("created partition audit_events_y20"),
        "{text}"
    );
}

#[tokio::test]
async fn the_application_may_append_and_nothing_else() {
    let database = testkit::postgres::database("all").await;
    let client = database.connect().await;
    let may = async |sql: &str| {
        client
            .batch_execute(&format!(
                "BEGIN; SET LOCAL ROLE datastorage_app; {sql}; ROLLBACK"
            ))
            .await
            .map_err(|error| {
                error
                    .code()
                    .map(|code| code.code().to_owned())
                    .unwrap_or_default()
            })
    };
    assert_eq!(may(INSERT_EVENT).await, Ok(()));
    assert_eq!(
        may("SELECT count(*) FROM audit_events; SELECT count(*) FROM schema_ledger").await,
        Ok(())
    );
    assert_eq!(may("SELECT ensure_audit_events_partitions()").await, Ok(()));
    let notification = "INSERT INTO notification_audit (remediation_id, notification_id, recipient, channel, message_summary, status, sent_at) \
         VALUES ('r', 'n', 'x', 'email', 'm', 'sent', now())";
    assert_eq!(may(notification).await, Ok(()));
    assert_eq!(
        may("UPDATE remediation_workflow_catalog SET status = 'disabled'").await,
        Ok(())
    );
    for forbidden in [
        "UPDATE audit_events SET severity = 'x'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "DELETE FROM audit_events_y2025m12",
        "DELETE FROM notification_audit",
        "UPDATE notification_audit SET status = 'failed'",
        "DELETE FROM remediation_workflow_catalog",
        "UPDATE schema_ledger SET checksum = ''",
        "SELECT ensure_monthly_partitions('audit_events', now(), 3)",
    ] {
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(may(forbidden).await, Err("42501".to_owned()), "{forbidden}");
    }
}

#[tokio::test]
async fn equal_tables_outside_the_ledger_are_taken_over_with_their_rows() {
    let (database, config) = fresh().await;
    apply_audit(&config).await.unwrap();
    run(
        &database,
        "DELETE FROM schema_ledger; CREATE TABLE kept AS SELECT 1",
    )
    .await;
    let report = apply_audit(&config).await.unwrap();
    assert_eq!(report.applied.len(), 3);
    verify(&config.profile("audit")).await.unwrap();
}

#[tokio::test]
async fn looking_changes_nothing() {
    let (database, config) = fresh().await;
    let first = plan(&config).await.unwrap();
    assert_eq!(first.hash, plan(&config).await.unwrap().hash);
    assert!(!status(&config).await.unwrap().is_complete());
    assert!(verify(&config).await.is_err());
    assert!(drift(&config).await.is_err());
    assert_eq!(
        value(
            &database,
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        )
        .await,
        "0"
    );
}

#[tokio::test]
async fn an_approved_plan_is_the_one_that_runs() {
    let (_database, config) = fresh().await;
    let approved = plan(&config.clone().profile("audit")).await.unwrap();
    let other = apply(
        &config
            .clone()
            .profile("aianalysis")
            .only_plan(&approved.hash),
    )
    .await
    .unwrap_err();
    assert!(matches!(other, Error::PlanChanged { .. }), "{other}");
    let report = apply(&config.profile("audit").only_plan(&approved.hash))
        .await
        .unwrap();
    assert_eq!(report.applied.len(), 3);
}

#[tokio::test]
async fn a_hundred_migrations_in_one_message_are_a_hundred_transactions() {
    let mut sources = Vec::new();
    for number in 1..=100 {
        let up = format!(
            "-- provides: table t{number}\nCREATE TABLE IF NOT EXISTS t{number} (id bigint PRIMARY KEY);\n"
        );
        sources.push((format!("{number:04}_t{number}.up.sql"), up));
        sources.push((
            format!("{number:04}_t{number}.down.sql"),
            format!("DROP TABLE IF EXISTS t{number};\n"),
        ));
    }
    let pairs: Vec<(&str, &str)> = sources
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let (database, config) = fresh().await;
    let report = apply(&config.catalogue(files(&pairs)).select(Selection::all()))
        .await
        .unwrap();
    assert_eq!(report.applied.len(), 100);
    assert_eq!(
        value(
            &database,
            "SELECT count(DISTINCT xmin::text) FROM schema_ledger"
        )
        .await,
        "100"
    );
}

#[tokio::test]
async fn indexes_of_an_empty_database_are_built_by_one_process_and_large_tables_keep_theirs() {
    let (empty, config) = fresh().await;
    let (adopted, theirs) = fresh().await;
    run(&adopted, "CREATE TABLE large (a int)").await;
    let file = "-- +goose Up\nCREATE TABLE seen AS SELECT current_setting('max_parallel_maintenance_workers') AS workers;\n";
    for (database, config, workers) in [(empty, config, "0"), (adopted, theirs, "2")] {
        apply(&config.catalogue(goose(&[("1_seen.sql", file)])))
            .await
            .unwrap();
        assert_eq!(value(&database, "SELECT workers FROM seen").await, workers);
    }
}
