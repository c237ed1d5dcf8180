//! Each cause is made on a real database and found by its name; its repair, or what a person decides, leaves a healthy one.

use diagnose::{Cause, Diagnosis, Repair, Verdict, diagnose, repair};
use migrations::Config;
use testkit::postgres::{Database, database, empty_database, empty_database_on, own_server};

use crate::{run, value};

fn config(database: &Database) -> Config {
    Config::new(database.url()).profile("audit")
}

async fn examine(database: &Database) -> Diagnosis {
    diagnose(&config(database), &[]).await.unwrap()
}

fn causes(diagnosis: &Diagnosis) -> Vec<Cause> {
    diagnosis
        .findings
        .iter()
        .map(|finding| finding.cause)
        .collect()
}

/// The first finding is this one, and its repair with those of the others leaves nothing to find.
async fn is_found_and_repaired(database: &Database, cause: Cause, evidence: &str) {
    let diagnosis = examine(database).await;
    assert_eq!(causes(&diagnosis).first(), Some(&cause), "{diagnosis:#?}");
    let first = &diagnosis.findings[0];
    assert!(
        first.evidence.iter().any(|line| line.contains(evidence)),
        "{first:#?}"
    );
    let mut steps: Vec<Repair> = Vec::new();
    for step in diagnosis
        .findings
        .iter()
        .flat_map(|finding| &finding.repair)
    {
        assert!(!matches!(step, Repair::Manual(_)), "{diagnosis:#?}");
        if !steps.contains(step) {
            steps.push(step.clone());
        }
    }
    repair(&config(database), &steps).await.unwrap();
    let after = examine(database).await;
    assert!(after.is_healthy(), "after {steps:#?}: {after:#?}");
}

/// The first finding is this one, and is left as it is until a person runs the statements that it names.
async fn is_found_and_left_to_a_person(database: &Database, cause: Cause, evidence: &str) {
    let diagnosis = examine(database).await;
    assert_eq!(causes(&diagnosis).first(), Some(&cause), "{diagnosis:#?}");
    let first = &diagnosis.findings[0];
    assert!(
        first.evidence.iter().any(|line| line.contains(evidence)),
        "{first:#?}"
    );
    let all = diagnosis
        .findings
        .iter()
        .flat_map(|finding| &finding.repair);
    let steps: Vec<Repair> = all.cloned().collect();
    repair(&config(database), &steps).await.unwrap();
    let still = examine(database).await;
    assert_eq!(causes(&still), causes(&diagnosis), "{still:#?}");
    let mut run_by_hand = Vec::new();
    for step in steps {
        let Repair::Person(sql) = step else {
            panic!("{diagnosis:#?}")
        };
        if !run_by_hand.contains(&sql) {
            run(database, &sql).await;
            run_by_hand.push(sql);
        }
    }
    let after = examine(database).await;
    assert!(after.is_healthy(), "after {run_by_hand:#?}: {after:#?}");
}

#[tokio::test]
async fn a_column_that_no_migration_makes_keeps_its_data() {
    let database = database("audit").await;
    run(
        &database,
        "ALTER TABLE audit_events ADD COLUMN tenant text; INSERT INTO audit_events (event_id, event_timestamp, event_date, event_type, \
         event_category, event_action, event_outcome, actor_type, actor_id, resource_type, resource_id, correlation_id, event_data, tenant) \
         VALUES (gen_random_uuid(), now(), (now() AT TIME ZONE 'UTC')::date, 'gateway.received', 'gateway', 'received', 'success', 'service', \
         'gateway', 'signal', 's', 'c', '{}', 'precious')",
    )
    .await;
    let diagnosis = examine(&database).await;
    let all = diagnosis
        .findings
        .iter()
        .flat_map(|finding| &finding.repair);
    let steps: Vec<Repair> = all.cloned().collect();
    let drop = "ALTER TABLE audit_events DROP COLUMN tenant".to_owned();
    assert_eq!(steps, [Repair::Person(drop)]);
    repair(&config(&database), &steps).await.unwrap();
    assert_eq!(
        value(&database, "SELECT tenant FROM audit_events").await,
        "precious"
    );
    assert_eq!(causes(&examine(&database).await), [Cause::Drift]);
}

#[tokio::test]
async fn a_repair_waits_for_a_run_of_migrations() {
    let database = database("audit").await;
    run(&database, "ALTER TABLE audit_events DROP COLUMN severity").await;
    let migrating = database.connect().await;
    migrating
        .batch_execute("SELECT pg_advisory_lock(1263878725, 1296648018)")
        .await
        .unwrap();
    let diagnosis = examine(&database).await;
    let steps = diagnosis.findings[0].repair.clone();
    let config = config(&database).deadline(std::time::Duration::from_secs(2));
    let error = repair(&config, &steps).await.unwrap_err();
    assert!(
        matches!(error, migrator::Error::LockTimeout { .. }),
        "{error}"
    );
    drop(migrating);
}

#[tokio::test]
async fn a_migrated_database_has_a_clean_bill_and_keeps_no_row_of_the_probe() {
    let healthy = database("audit").await;
    let diagnosis = examine(&healthy).await;
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    assert!(
        diagnosis
            .checks
            .iter()
            .all(|check| check.verdict == Verdict::Ok),
        "{diagnosis:#?}"
    );
    assert_eq!(
        crate::value(&healthy, "SELECT count(*) FROM audit_events").await,
        "0"
    );
}

#[tokio::test]
async fn an_empty_database_lacks_its_migrations() {
    let empty = empty_database().await;
    let diagnosis = examine(&empty).await;
    assert_eq!(causes(&diagnosis), [Cause::MigrationNotApplied]);
    is_found_and_repaired(
        &empty,
        Cause::MigrationNotApplied,
        "table audit_events is not there",
    )
    .await;
}

#[tokio::test]
async fn a_reverted_migration_is_distinguished_from_one_that_never_ran() {
    let reverted = database("audit").await;
    migrations::revert(&config(&reverted), &migrations::Revert::All)
        .await
        .unwrap();
    is_found_and_repaired(
        &reverted,
        Cause::MigrationReverted,
        "audit_events was reverted at 20",
    )
    .await;
}

#[tokio::test]
async fn a_table_that_somebody_dropped_is_missing() {
    let dropped = database("audit").await;
    run(&dropped, "DROP TABLE audit_events").await;
    is_found_and_repaired(&dropped, Cause::MissingTable, "table audit_events: missing").await;
}

#[tokio::test]
async fn a_column_that_somebody_dropped_is_missing() {
    let database = database("audit").await;
    run(&database, "ALTER TABLE audit_events DROP COLUMN severity").await;
    is_found_and_repaired(&database, Cause::MissingColumn, "column severity: missing").await;
}

#[tokio::test]
async fn a_column_of_another_type_is_a_type_mismatch() {
    let database = database("audit").await;
    run(
        &database,
        "ALTER TABLE audit_events ALTER COLUMN duration_ms TYPE uuid USING NULL",
    )
    .await;
    is_found_and_left_to_a_person(
        &database,
        Cause::TypeMismatch,
        "column duration_ms: expected `integer`, found `uuid`",
    )
    .await;
}

#[tokio::test]
async fn a_constraint_that_refuses_events_is_named_on_the_table_and_on_a_single_partition() {
    let database = database("audit").await;
    run(
        &database,
        "ALTER TABLE audit_events ADD CONSTRAINT only_failures CHECK (event_outcome = 'failure')",
    )
    .await;
    is_found_and_left_to_a_person(&database, Cause::Constraint, "only_failures").await;

    // On the partition alone no comparison of the parent shows it: the refused probe does.
    run(
        &database,
        "DO $$ BEGIN EXECUTE format('ALTER TABLE audit_events_y%sm%s ADD CONSTRAINT here CHECK (severity = ''none'')', \
         to_char(now() AT TIME ZONE 'UTC', 'YYYY'), to_char(now() AT TIME ZONE 'UTC', 'MM')); END $$",
    )
    .await;
    is_found_and_left_to_a_person(&database, Cause::Constraint, "here").await;

    run(
        &database,
        "ALTER TABLE audit_events ADD COLUMN tenant text NOT NULL",
    )
    .await;
    is_found_and_left_to_a_person(&database, Cause::Constraint, "tenant").await;
}

#[tokio::test]
async fn a_month_without_a_partition_is_named_with_its_days() {
    let database = database("audit").await;
    run(
        &database,
        "DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit_events'::regclass \
         AND inhrelid::regclass::text NOT IN ('audit_events_y2025m12', 'audit_events_y2026m01') LOOP EXECUTE format('DROP TABLE %s', p); END LOOP; END $$",
    )
    .await;
    is_found_and_repaired(&database, Cause::NoPartition, "until 2026-02-01").await;
}

#[tokio::test]
async fn a_lost_index_or_function_is_drift_and_comes_back() {
    let database = database("audit").await;
    run(
        &database,
        "DROP INDEX idx_audit_events_correlation; DROP FUNCTION ensure_audit_events_partitions",
    )
    .await;
    is_found_and_repaired(&database, Cause::Drift, "missing").await;
}

#[tokio::test]
async fn a_held_lock_is_found_with_its_holder() {
    let database = database("audit").await;
    let holder = database.connect().await;
    holder
        .batch_execute(
            "SET application_name = 'forgotten'; BEGIN; LOCK TABLE audit_events IN SHARE MODE",
        )
        .await
        .unwrap();
    is_found_and_left_to_a_person(
        &database,
        Cause::Blocked,
        "(forgotten, idle in transaction for",
    )
    .await;
}

#[tokio::test]
async fn a_full_server_is_reported_whether_or_not_a_slot_is_left_for_the_examination() {
    let server = own_server(embedded_postgres::Options {
        max_connections: 8,
        ..Default::default()
    })
    .await;
    let full = empty_database_on(&server).await;
    let client = full.connect().await;
    client
        .batch_execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        .await
        .unwrap();
    // Of eight slots three are kept for superusers.
    let mut idle = vec![client];
    for _ in 0..4 {
        idle.push(full.connect().await);
    }
    let diagnosis = examine(&full).await;
    assert_eq!(causes(&diagnosis)[0], Cause::ConnectionsExhausted);
    assert!(
        diagnosis.findings[0]
            .evidence
            .contains(&"5 of 5 connections are used by others".to_owned()),
        "{diagnosis:#?}"
    );
    let guest = format!(
        "postgres://guest:guest@127.0.0.1:{}/{}",
        server.port().unwrap(),
        full.name()
    );
    let refused = diagnose(&Config::new(guest).profile("audit"), &[])
        .await
        .unwrap();
    assert_eq!(causes(&refused), [Cause::ConnectionsExhausted]);
    assert!(
        refused.findings[0].evidence[0].contains("SQLSTATE 53300"),
        "{refused:#?}"
    );
}

#[tokio::test]
async fn no_server_no_login_and_no_database_are_three_causes() {
    let server = testkit::postgres::server().await;
    let port = server.port().unwrap();
    for (url, cause) in [
        (
            "postgres://slm_user@127.0.0.1:9/action_history".to_owned(),
            Cause::Connection,
        ),
        (
            format!(
                "postgres://{}:wrong@127.0.0.1:{port}/postgres",
                server.user()
            ),
            Cause::Login,
        ),
        (server.url("nowhere"), Cause::NoSuchDatabase),
    ] {
        let diagnosis = diagnose(&Config::new(url).profile("audit"), &[])
            .await
            .unwrap();
        assert_eq!(causes(&diagnosis), [cause]);
        assert!(!format!("{diagnosis:?}").contains("wrong"), "{diagnosis:?}");
    }
}

#[tokio::test]
async fn a_role_without_privileges_and_a_database_set_read_only_are_reported() {
    let database = database("audit").await;
    let port = testkit::postgres::server().await.port().unwrap();
    run(
        &database,
        "DROP ROLE IF EXISTS onlooker; CREATE ROLE onlooker LOGIN PASSWORD 'p'",
    )
    .await;
    let url = format!("postgres://onlooker:p@127.0.0.1:{port}/{}", database.name());
    let diagnosis = diagnose(&Config::new(url).profile("audit"), &[])
        .await
        .unwrap();
    assert!(
        causes(&diagnosis).contains(&Cause::Permission),
        "{diagnosis:#?}"
    );

    run(
        &database,
        &format!(
            "ALTER DATABASE {} SET default_transaction_read_only = on",
            database.name()
        ),
    )
    .await;
    assert_eq!(causes(&examine(&database).await), [Cause::ReadOnly]);
}

/// From PostgreSQL 16 on there are such members; Data Storage works as the login then.
#[tokio::test]
async fn a_login_that_may_not_take_the_applications_role_is_probed_as_itself() {
    let database = database("audit").await;
    let login = format!("member_{}", database.name());
    let create = format!(
        "CREATE ROLE {login} LOGIN PASSWORD 'p'; GRANT SELECT ON schema_ledger TO {login};"
    );
    let old = value(
        &database,
        "SELECT current_setting('server_version_num')::integer < 160000",
    )
    .await
        == "t";
    let options = if old {
        ""
    } else {
        " WITH INHERIT TRUE, SET FALSE"
    };
    run(
        &database,
        &format!("{create} GRANT datastorage_app TO {login}{options}"),
    )
    .await;
    let port = testkit::postgres::server().await.port().unwrap();
    let url = format!("postgres://{login}:p@127.0.0.1:{port}/{}", database.name());
    let diagnosis = diagnose(&Config::new(url).profile("audit"), &[])
        .await
        .unwrap();
    let who = if old {
        "datastorage_app"
    } else {
        "the login itself"
    };
    let probe = diagnosis
        .checks
        .iter()
        .find(|check| check.name == "SQL probe")
        .unwrap();
    assert!(
        probe.detail.contains(&format!("was written as {who}")),
        "{diagnosis:#?}"
    );
    run(
        &database,
        &format!("DROP OWNED BY {login}; DROP ROLE {login}"),
    )
    .await;
}

#[tokio::test]
async fn a_probe_that_is_not_here_was_written_elsewhere() {
    let database = database("audit").await;
    let written = ["diagnose-0".to_owned()];
    let diagnosis = diagnose(&config(&database), &written).await.unwrap();
    assert_eq!(causes(&diagnosis), [Cause::OtherDatabase]);
}

#[tokio::test]
async fn the_server_checks_that_the_client_which_repairs_is_still_connected() {
    let database = empty_database().await;
    let sql = "CREATE TABLE seen AS SELECT current_setting('client_connection_check_interval')";
    let step = Repair::Sql(sql.to_owned());
    repair(&config(&database), &[step]).await.unwrap();
    let expected = if cfg!(target_os = "linux") {
        "500ms"
    } else {
        "0"
    };
    assert_eq!(value(&database, "TABLE seen").await, expected);
}
