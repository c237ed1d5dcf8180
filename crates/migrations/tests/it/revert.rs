//! Reverting: what depends goes first, and reverted is not the same as never applied.

use migrations::{Config, Error, MigrationState, Revert, apply, revert, status};
use testkit::postgres::database;

use crate::{files, fresh, goose, value};

#[tokio::test]
async fn what_requires_a_migration_is_reverted_before_it() {
    let database = database("all").await;
    let config = Config::new(database.url());
    let report = revert(
        &config,
        &Revert::Ids(vec!["resource_references".to_owned()]),
    )
    .await
    .unwrap();
    let order: Vec<&str> = report
        .reverted
        .iter()
        .map(|reverted| reverted.id.as_str())
        .collect();
    assert_eq!(
        order,
        [
            "resource_action_traces_readable",
            "oscillation_detection_summary",
            "action_history_summary",
            "store_oscillation_detection",
            "detect_scale_oscillation",
            "get_resource_id",
            "retention_operations",
            "oscillation_detections",
            "resource_action_traces_partitions",
            "resource_action_traces",
            "action_histories",
            "resource_references"
        ]
    );
    assert_eq!(
        value(&database, "SELECT to_regclass('audit_events') IS NOT NULL").await,
        "t"
    );
}

#[tokio::test]
async fn what_was_applied_last_is_reverted_first_whatever_the_files_say() {
    let (_database, config) = fresh().await;
    let profile = |name: &str| config.clone().profile(name);
    let last = async || {
        let report = revert(&config, &Revert::Last(1)).await.unwrap();
        report.reverted.into_iter().next().unwrap().id
    };
    // The files have it the other way round.
    apply(&profile("notification-audit")).await.unwrap();
    apply(&profile("audit")).await.unwrap();
    assert_eq!(last().await, "audit_events_partitions");
    // What is applied again is the last again.
    apply(&profile("audit")).await.unwrap();
    assert_eq!(last().await, "audit_events_partitions");
    let notification = Revert::Ids(vec!["notification_audit".to_owned()]);
    revert(&config, &notification).await.unwrap();
    apply(&profile("notification-audit")).await.unwrap();
    assert_eq!(last().await, "notification_audit");
}

#[tokio::test]
async fn reverted_is_distinguished_from_never_applied() {
    let (_database, config) = fresh().await;
    apply(&config.clone().profile("audit")).await.unwrap();
    revert(
        &config,
        &Revert::Ids(vec!["audit_events_partitions".to_owned()]),
    )
    .await
    .unwrap();
    let state = async |id: &str| {
        let status = status(&config).await.unwrap();
        status
            .migrations
            .into_iter()
            .find(|line| line.id == id)
            .unwrap()
            .state
    };
    assert_eq!(
        state("audit_events_partitions").await,
        MigrationState::Reverted
    );
    assert_eq!(state("notification_audit").await, MigrationState::Pending);
    assert_eq!(state("audit_events").await, MigrationState::Applied);
    let error = migrations::verify(&config.clone().profile("audit"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("was reverted at"), "{error}");
    let error = revert(&config, &Revert::Ids(vec!["notification_audit".to_owned()]))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotApplied { .. }), "{error}");
}

#[tokio::test]
async fn an_irreversible_migration_keeps_everything_below_it() {
    let (database, config) = fresh().await;
    let catalogue = files(&[
        (
            "0001_a.up.sql",
            "-- provides: table a\nCREATE TABLE IF NOT EXISTS a (i int);\n",
        ),
        ("0001_a.down.sql", "DROP TABLE IF EXISTS a;\n"),
        (
            "0002_a_forget.up.sql",
            "-- requires: a\n-- provides: table a\n-- irreversible: the rows are gone\nDELETE FROM a;\n",
        ),
    ]);
    let config = config.catalogue(catalogue);
    apply(&config).await.unwrap();
    let error = revert(&config, &Revert::All).await.unwrap_err();
    assert!(
        matches!(&error, Error::Irreversible { reason, .. } if reason == "the rows are gone"),
        "{error}"
    );
    assert_eq!(
        value(&database, "SELECT to_regclass('a') IS NOT NULL").await,
        "t"
    );
}

#[tokio::test]
async fn an_older_program_reverts_nothing_that_a_newer_one_applied() {
    let (database, config) = fresh().await;
    let newer = goose(&[(
        "1_t.sql",
        "-- +goose Up\nCREATE TABLE t (a int);\n-- +goose Down\nDROP TABLE t;\n",
    )]);
    apply(&config.clone().catalogue(newer)).await.unwrap();
    let error = revert(&config.catalogue(goose(&[])), &Revert::Last(1))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::UnknownMigration { ids } if *ids == ["1_t"]),
        "{error}"
    );
    assert_eq!(
        value(&database, "SELECT to_regclass('t') IS NOT NULL").await,
        "t"
    );
}

#[tokio::test]
async fn a_profile_s_down_leaves_everything_else() {
    let database = database("aianalysis").await;
    let gateway = Config::new(database.url()).profile("gateway");
    let in_force =
        "SELECT string_agg(id, ',' ORDER BY id) FROM schema_ledger WHERE reverted_at IS NULL";
    // Nothing else is in reach of that profile, by name.
    let named = Revert::Ids(vec!["remediation_workflow_catalog".to_owned()]);
    let error = revert(&gateway, &named).await.unwrap_err();
    assert!(matches!(error, Error::NotSelected { .. }), "{error}");
    let report = revert(&gateway, &Revert::All).await.unwrap();
    let reverted: Vec<&str> = report
        .reverted
        .iter()
        .map(|reverted| reverted.id.as_str())
        .collect();
    assert_eq!(
        reverted,
        [
            "audit_events_partitions",
            "audit_events",
            "monthly_partitions"
        ]
    );
    assert_eq!(
        value(&database, in_force).await,
        "remediation_workflow_catalog,touch_updated_at"
    );
}

#[tokio::test]
async fn what_others_build_on_a_profile_s_tables_is_not_reverted_with_it() {
    let database = database("all").await;
    let gateway = Config::new(database.url()).profile("gateway");
    let others = "SELECT count(*) FROM schema_ledger WHERE reverted_at IS NULL";
    let before = value(&database, others).await;
    for what in [Revert::All, Revert::Last(1)] {
        let error = revert(&gateway, &what).await.unwrap_err();
        assert!(
            matches!(&error, Error::StillNeeded { by, in_files: true, .. } if by == "audit_retention_holds" || by == "audit_events_event_data_gin"),
            "{error}"
        );
    }
    assert_eq!(value(&database, others).await, before);
}

#[tokio::test]
async fn tables_are_reverted_with_what_needs_them_or_not_at_all() {
    let database = database("all").await;
    let tables = |name: &str| Config::new(database.url()).tables([name]);
    let error = revert(&tables("resource_references"), &Revert::All)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::StillNeeded { migration, in_files: true, .. } if migration == "resource_references"),
        "{error}"
    );
    let report = revert(&tables("notification_audit"), &Revert::All)
        .await
        .unwrap();
    assert_eq!(report.reverted.len(), 1);
    assert_eq!(report.kept, ["touch_updated_at"]);
}

#[tokio::test]
async fn a_table_dropped_by_hand_is_made_again_by_the_command_that_verify_names() {
    let database = database("audit").await;
    let config = Config::new(database.url()).profile("audit");
    crate::run(&database, "DROP TABLE audit_events").await;
    let error = migrations::verify(&config).await.unwrap_err();
    let Error::MissingTable { again, .. } = &error else {
        panic!("{error}")
    };
    assert!(
        error
            .to_string()
            .contains("migrate --again audit_events,audit_events_partitions"),
        "{error}"
    );
    apply(&config.clone().again(again.clone())).await.unwrap();
    migrations::verify(&config).await.unwrap();
}

#[tokio::test]
async fn a_schema_without_its_ledger_is_recorded_if_it_has_the_shape_and_refused_if_not() {
    let database = database("audit").await;
    let config = Config::new(database.url()).profile("audit");
    crate::run(
        &database,
        "DROP TABLE schema_ledger; ALTER TABLE audit_events ADD tenant text",
    )
    .await;
    let error = migrations::baseline(&config, None).await.unwrap_err();
    assert!(matches!(error, Error::Drift { .. }), "{error}");
    crate::run(&database, "ALTER TABLE audit_events DROP tenant").await;
    let recorded = migrations::baseline(&config, None).await.unwrap();
    assert_eq!(recorded.recorded.len(), 3);
    migrations::verify(&config).await.unwrap();
}
