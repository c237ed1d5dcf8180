//! A schema that lacks something is distinguished from a database that is away (D10, D28).

use datastorage::clock::Clock;
use datastorage_api::DatabaseErrorKind as Kind;
use jiff::Timestamp;
use serde_json::json;
use testkit::wait::until;

use crate::queue::behind_proxy;
use crate::support::{SOON, Service, audit_database, event, event_at, migrate, with};

const EVENTS: &str = "/api/v1/audit/events";
const BATCH: &str = "/api/v1/audit/events/batch";

#[tokio::test(flavor = "multi_thread")]
async fn without_migrations_readiness_and_writes_name_the_missing_table() {
    let database = testkit::postgres::empty_database().await;
    let service = Service::start(database.url()).await;
    let ready = service.get("/health/ready").await.expect(503);
    assert_eq!(
        ready.body,
        json!({"status": "not_ready", "reason": "schema_incomplete", "profile": "audit", "missing": ["table audit_events"]})
    );
    service.get("/health").await.expect(200);
    service.get("/health/live").await.expect(200);
    for (path, body) in [(EVENTS, event("a")), (BATCH, json!([event("a")]))] {
        let answer = service.post(path, &body).await.expect(503);
        assert_eq!(answer.retry_after.as_deref(), Some("1"));
        let problem = answer.problem();
        assert_eq!(
            (
                problem.kind,
                problem.sqlstate.as_deref(),
                problem.relation.as_deref()
            ),
            (
                Some(Kind::RelationMissing),
                Some("42P01"),
                Some("audit_events")
            )
        );
        assert!(problem.detail.is_some_and(|detail| {
            detail.contains("relation \"audit_events\" does not exist")
                && detail.contains("migrations")
        }));
    }
    service.get(EVENTS).await.expect(503);
    assert_eq!(
        service
            .metric("datastorage_dlq_depth{stream=\"audit_events\"}")
            .await,
        Some(0.0)
    );

    migrate(database.url(), "audit").await;
    service.ready().await;
    service.post(EVENTS, &event("a")).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_without_partition_is_named() {
    let database = audit_database().await;
    let client = database.connect().await;
    // Without the function nobody makes the partition.
    client
        .batch_execute("DROP FUNCTION ensure_audit_events_partitions(timestamptz, integer)")
        .await
        .expect("dropped");
    let now: Timestamp = "2031-05-31T12:00:00Z".parse().expect("a time");
    let service = Service::with(database.url(), Clock::new(move || now), &[]).await;
    let ready = service.get("/health/ready").await.expect(503);
    assert_eq!(
        ready.body["missing"],
        json!([
            "partition of audit_events for 2031-05-31",
            "partition of audit_events for 2031-06-01"
        ])
    );
    let problem = service
        .post(EVENTS, &event_at("a", now))
        .await
        .expect(503)
        .problem();
    assert_eq!(
        (
            problem.kind,
            problem.sqlstate.as_deref(),
            problem.relation.as_deref()
        ),
        (
            Some(Kind::PartitionMissing),
            Some("23514"),
            Some("audit_events")
        )
    );

    client.batch_execute("CREATE TABLE odd PARTITION OF audit_events FOR VALUES FROM ('2031-05-01') TO ('2031-06-01')").await.expect("made");
    let ready = service.get("/health/ready").await.expect(503);
    assert_eq!(
        ready.body["missing"],
        json!(["partition of audit_events for 2031-06-01"])
    );
    service.post(EVENTS, &event_at("a", now)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_column_is_named() {
    let database = audit_database().await;
    database
        .connect()
        .await
        .batch_execute("ALTER TABLE audit_events DROP COLUMN severity")
        .await
        .expect("dropped");
    let service = Service::start(database.url()).await;
    let ready = service.get("/health/ready").await.expect(503);
    assert_eq!(
        ready.body["missing"],
        json!(["column audit_events.severity"])
    );
    let problem = service
        .post(EVENTS, &event("a"))
        .await
        .expect(503)
        .problem();
    assert_eq!(
        (problem.kind, problem.sqlstate.as_deref()),
        (Some(Kind::ColumnMissing), Some("42703"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_too_narrow_is_a_failure_of_the_server_reported_as_its_type() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    database
        .connect()
        .await
        .batch_execute("ALTER TABLE audit_events ALTER COLUMN severity TYPE varchar(3)")
        .await
        .expect("narrowed");
    let problem = service
        .post(EVENTS, &event("a"))
        .await
        .expect(500)
        .problem();
    assert_eq!(
        (problem.kind, problem.sqlstate.as_deref(), problem.retry),
        (Some(Kind::Type), Some("22001"), Some(false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_trail_is_append_only_for_the_service() {
    let database = audit_database().await;
    // One session for both writes: another one would begin after the role has lost its right, and work as the login.
    let settings = [("DATASTORAGE_SERVER_WORKERS", "1")];
    let service = Service::with(database.url(), Clock::system(), &settings).await;
    service.get("/health/ready").await.expect(200);
    service.post(EVENTS, &event("a")).await.expect(201);
    let client = database.connect().await;
    client
        .batch_execute("SET ROLE datastorage_app")
        .await
        .expect("the role exists");
    for statement in [
        "UPDATE audit_events SET severity = 'x'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
    ] {
        let error = client.batch_execute(statement).await.expect_err(statement);
        assert_eq!(
            error.code().map(tokio_postgres::error::SqlState::code),
            Some("42501"),
            "{statement}"
        );
    }
    client.batch_execute("RESET ROLE").await.expect("reset");
    // The service's own sessions work as that role, not as the login.
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'datastorage' AND datname = current_database()";
    assert!(
        client
            .query_one(sql, &[])
            .await
            .expect("a count")
            .get::<_, i64>(0)
            > 0
    );
    client
        .batch_execute("REVOKE INSERT ON audit_events FROM datastorage_app")
        .await
        .expect("revoked");
    let problem = service
        .post(EVENTS, &event("a"))
        .await
        .expect(503)
        .problem();
    assert_eq!(
        (problem.kind, problem.sqlstate.as_deref()),
        (Some(Kind::Permission), Some("42501"))
    );
}

/// An owner that made the role with the tables, as `migrate` leaves it, and a member that may not take it, which PostgreSQL 16
/// and later know.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_no_superuser_works_as_the_applications_role_where_it_may() {
    let server = testkit::postgres::own_server(embedded_postgres::Options::default()).await;
    let database = testkit::postgres::empty_database_on(&server).await;
    let admin = database.connect().await;
    let sql = format!(
        "CREATE ROLE owner1 LOGIN CREATEROLE PASSWORD 'p'; ALTER DATABASE \"{}\" OWNER TO owner1",
        database.name()
    );
    admin.batch_execute(&sql).await.expect("made");
    let url = |login: &str| {
        let (_, rest) = database.url().split_once('@').expect("a URL with a login");
        format!("postgres://{login}:p@{rest}")
    };
    migrate(&url("owner1"), "audit").await;
    let writers = "
        CREATE TABLE writer (name text); GRANT INSERT ON writer TO PUBLIC;
        CREATE FUNCTION note_writer() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO writer VALUES (current_user); RETURN NEW; END';
        CREATE TRIGGER note_writer AFTER INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION note_writer();
        CREATE ROLE member LOGIN PASSWORD 'p'";
    admin.batch_execute(writers).await.expect("made");
    let version = "SELECT current_setting('server_version_num')::integer >= 160000";
    let knows_set: bool = admin
        .query_one(version, &[])
        .await
        .expect("a version")
        .get(0);
    let options = if knows_set {
        " WITH INHERIT TRUE, SET FALSE"
    } else {
        ""
    };
    admin
        .batch_execute(&format!("GRANT datastorage_app TO member{options}"))
        .await
        .expect("granted");
    for (login, expected) in [
        ("owner1", "datastorage_app"),
        (
            "member",
            if knows_set {
                "member"
            } else {
                "datastorage_app"
            },
        ),
    ] {
        admin
            .batch_execute("TRUNCATE writer")
            .await
            .expect("emptied");
        let service = Service::start(&url(login)).await;
        service.post(EVENTS, &event(login)).await.expect(201);
        let row = admin
            .query_one("SELECT string_agg(DISTINCT name, ' ') FROM writer", &[])
            .await
            .expect("a row");
        assert_eq!(row.get::<_, String>(0), expected, "{login}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_missing_database_are_not_an_outage() {
    let database = audit_database().await;
    for (setting, value, kind, sqlstate) in [
        (
            "DATASTORAGE_DATABASE_PASSWORD",
            "wrong",
            Kind::Login,
            "28P01",
        ),
        (
            "DATASTORAGE_DATABASE_NAME",
            "nosuch",
            Kind::DatabaseMissing,
            "3D000",
        ),
    ] {
        let service = Service::with(database.url(), Clock::system(), &[(setting, value)]).await;
        let problem = service
            .post(EVENTS, &event("a"))
            .await
            .expect(503)
            .problem();
        assert_eq!(
            (problem.kind, problem.sqlstate.as_deref()),
            (Some(kind), Some(sqlstate))
        );
        assert!(!format!("{problem:?}").contains("wrong"), "{problem:?}");
        service.get("/health/ready").await.expect(503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_problems_base_is_a_setting() {
    let database = audit_database().await;
    let service = Service::with(
        database.url(),
        Clock::system(),
        &[("DATASTORAGE_PROBLEM_BASE", "https://kubernaut.ai/problems")],
    )
    .await;
    let problem = service.post(EVENTS, &json!({})).await.expect(400).problem();
    assert_eq!(
        problem.type_uri,
        "https://kubernaut.ai/problems/validation-error"
    );
    assert_eq!(problem.instance.as_deref(), Some(EVENTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_that_the_service_names_is_looked_for() {
    let database = testkit::postgres::database("datastorage").await;
    let service = Service::of_profile(database.url(), "datastorage").await;
    service.ready().await;
    let client = database.connect().await;
    for (table, column) in [
        ("remediation_workflow_catalog", "change_summary"),
        ("remediation_workflow_catalog", "is_latest_version"),
        ("notification_audit", "error_message"),
    ] {
        let drop_column = format!("ALTER TABLE {table} DROP COLUMN {column}");
        client.batch_execute(&drop_column).await.expect("dropped");
    }
    let body = service.get("/health/ready").await.expect(503).body;
    assert_eq!(
        body["missing"],
        json!([
            "column remediation_workflow_catalog.is_latest_version",
            "column remediation_workflow_catalog.change_summary",
            "column notification_audit.error_message",
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_fail_a_write_makes_the_instance_unready() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    service.ready().await;
    service.get("/health/ready").await.expect(200);
    let client = database.connect().await;
    for (spoil, missing, mend) in [
        // First: a connection that is opened after it does not take the role on.
        (
            "REVOKE INSERT ON audit_events FROM datastorage_app",
            "privilege INSERT on audit_events",
            "GRANT INSERT ON audit_events TO datastorage_app",
        ),
        (
            "ALTER TABLE audit_events ADD COLUMN tenant text NOT NULL",
            "a default for column audit_events.tenant, which this server does not write",
            "ALTER TABLE audit_events DROP COLUMN tenant",
        ),
        (
            "ALTER TABLE audit_events ALTER COLUMN duration_ms TYPE bigint",
            "type integer of column audit_events.duration_ms, which is bigint",
            "ALTER TABLE audit_events ALTER COLUMN duration_ms TYPE integer",
        ),
    ] {
        client.batch_execute(spoil).await.expect("spoilt");
        let ready = service.get("/health/ready").await.expect(503);
        assert_eq!(ready.body["missing"], json!([missing]), "{spoil}");
        client.batch_execute(mend).await.expect("mended");
        service.get("/health/ready").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_cannot_be_made_are_shown_by_a_metric_long_before_writes_fail() {
    let database = audit_database().await;
    let client = database.connect().await;
    client
        .batch_execute("REVOKE EXECUTE ON FUNCTION ensure_audit_events_partitions FROM PUBLIC, datastorage_app")
        .await
        .expect("revoked");
    let service = Service::start(database.url()).await;
    testkit::wait::until("the metric to say so", SOON, async || {
        match service.metric("datastorage_partitions_ahead").await {
            Some(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    client
        .batch_execute(
            "GRANT EXECUTE ON FUNCTION ensure_audit_events_partitions TO datastorage_app",
        )
        .await
        .expect("granted");
    testkit::wait::until("the metric to take it back", SOON, async || {
        match service.metric("datastorage_partitions_ahead").await {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let append_only = service.metric("datastorage_append_only").await;
    assert_eq!(append_only, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_takes_no_event_keeps_queued_ones_waiting_and_is_no_outage() {
    let (database, proxy, url) = behind_proxy().await;
    let service = Service::start(&url).await;
    let client = database.connect().await;
    let timed = |id: &str| with(event(id), json!({"duration_ms": 7}));
    for (stored, (change, mend)) in (1..).zip([
        (
            "ALTER TABLE audit_events ALTER COLUMN duration_ms TYPE bigint",
            "ALTER TABLE audit_events ALTER COLUMN duration_ms TYPE integer",
        ),
        (
            "ALTER TABLE audit_events ADD COLUMN tenant text; UPDATE audit_events SET tenant = ''; ALTER TABLE audit_events ALTER COLUMN tenant SET NOT NULL",
            "ALTER TABLE audit_events DROP COLUMN tenant",
        ),
    ]) {
        proxy.down();
        service.post(EVENTS, &timed(change)).await.expect(202);
        client.batch_execute(change).await.expect("changed");
        proxy.heal();
        until("new events to be refused for now", SOON, async || {
            let answer = service.post(EVENTS, &timed("direct")).await;
            let kind = match answer.status.as_u16() {
                503 => answer.problem().kind,
                _ => None,
            };
            match kind {
                Some(Kind::Type | Kind::Constraint) => Ok(()),
                _ => Err(format!("{} {kind:?}", answer.status)),
            }
        })
        .await;
        let parked = service.metric("datastorage_queue_parked").await;
        assert_eq!(parked, Some(0.0));
        client.batch_execute("DELETE FROM audit_events WHERE correlation_id = 'direct'").await.expect("deleted");
        client.batch_execute(mend).await.expect("mended");
        until("the queued event to be stored", SOON, async || {
            let sql = "SELECT count(*) FROM audit_events WHERE correlation_id LIKE 'ALTER%'";
            match client.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0) {
                count if count == stored => Ok(()),
                count => Err(count),
            }
        })
        .await;
    }
}
