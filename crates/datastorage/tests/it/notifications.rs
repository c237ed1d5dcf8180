//! The notification log: stored once, queued while the database is away, refused by field.

use datastorage::clock::Clock;
use serde_json::{Value, json};
use testkit::postgres::{Database, database};
use testkit::wait::until;

use crate::support::{SOON, Service, with};

pub(crate) const NOTIFICATIONS: &str = "/api/v1/audit/notifications";

pub(crate) fn record(id: &str) -> Value {
    json!({
        "remediation_id": "rr-1", "notification_id": id, "recipient": "sre@example.com", "channel": "email",
        "message_summary": "checkout was restarted", "status": "sent", "sent_at": jiff::Timestamp::now().to_string(),
        "delivery_status": "250 OK", "escalation_level": 1
    })
}

async fn count(database: &Database) -> i64 {
    let client = database.connect().await;
    let row = client
        .query_one("SELECT count(*) FROM notification_audit", &[])
        .await;
    row.expect("a count").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_comes_back_with_its_number_and_times() {
    let database = database("datastorage").await;
    let service = Service::of_profile(database.url(), "datastorage").await;
    let sent = with(
        record("n-1"),
        json!({"sent_at": "2026-01-02T03:04:05.123456789+02:00"}),
    );
    let stored = service.post(NOTIFICATIONS, &sent).await.expect(201).body;
    assert_eq!(stored["sent_at"], "2026-01-02T01:04:05.123456Z");
    assert_eq!(stored["created_at"], stored["updated_at"]);
    assert_eq!(stored["error_message"], Value::Null);
    for member in [
        "remediation_id",
        "notification_id",
        "recipient",
        "channel",
        "status",
        "escalation_level",
    ] {
        assert_eq!(stored[member], sent[member], "{member}");
    }
    assert_eq!(count(&database).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_id_is_taken_once() {
    let database = database("datastorage").await;
    let service = Service::of_profile(database.url(), "datastorage").await;
    let sent = record("n-1");
    service.post(NOTIFICATIONS, &sent).await.expect(201);
    let problem = service
        .post(NOTIFICATIONS, &sent)
        .await
        .expect(409)
        .problem();
    assert_eq!(
        (problem.name(), problem.title.as_str()),
        ("conflict", "Resource Conflict")
    );
    assert_eq!(
        serde_json::Value::Object(problem.extensions),
        json!({"resource": "notification_audit", "field": "notification_id", "value": "n-1"})
    );
    assert_eq!(count(&database).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_violation_is_named() {
    let database = database("datastorage").await;
    let service = Service::of_profile(database.url(), "datastorage").await;
    let wrong = with(
        record("n-1"),
        json!({"remediation_id": "", "recipient": "x".repeat(256), "channel": "webhook", "status": "pending",
            "message_summary": "x".repeat(1001), "escalation_level": 101, "sent_at": "yesterday"}),
    );
    let problem = service
        .post(NOTIFICATIONS, &wrong)
        .await
        .expect(400)
        .problem();
    let named: Vec<_> = problem
        .field_errors
        .iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(
        named,
        [
            "channel",
            "escalation_level",
            "message_summary",
            "recipient",
            "remediation_id",
            "sent_at",
            "status"
        ]
    );
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(6);
    let ahead = with(record("n-2"), json!({"sent_at": ahead.to_string()}));
    let problem = service
        .post(NOTIFICATIONS, &ahead)
        .await
        .expect(400)
        .problem();
    assert!(
        problem
            .detail
            .expect("a detail")
            .contains("sent_at must not be in the future")
    );
    assert_eq!(count(&database).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_queued_while_the_database_is_away_are_stored_once_and_a_taken_id_is_parked() {
    let mut server = testkit::postgres::own_server(embedded_postgres::Options::default()).await;
    let database = testkit::postgres::database_on(&server, "datastorage").await;
    let profile = [("DATASTORAGE_SCHEMA_PROFILE", "datastorage")];
    let service = Service::with(database.url(), Clock::system(), &profile).await;
    service
        .post(NOTIFICATIONS, &record("before"))
        .await
        .expect(201);

    server.kill().await.expect("killed");
    let first = record("during");
    let accepted = service.post(NOTIFICATIONS, &first).await.expect(202).body;
    assert_eq!(
        accepted,
        json!({"status": "accepted", "message": "audit record queued for processing"})
    );
    service.post(NOTIFICATIONS, &first).await.expect(202);
    let taken = with(record("before"), json!({"recipient": "other@example.com"}));
    service.post(NOTIFICATIONS, &taken).await.expect(202);

    server.restart().await.expect("restarted");
    let parked = until("the queue to be drained", SOON, async || {
        let parked = service.get("/api/v1/queue/parked").await.body;
        if parked["total"] == 1 {
            Ok(parked)
        } else {
            Err(parked)
        }
    })
    .await;
    assert_eq!(parked["entries"][0]["table"], "notification_audit");
    assert_eq!(
        parked["entries"][0]["payload"]["recipient"],
        "other@example.com"
    );
    assert_eq!(count(&database).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_finds_the_queue_full_gets_503_and_is_stored_when_it_is_sent_again() {
    let mut server = testkit::postgres::own_server(embedded_postgres::Options::default()).await;
    let database = testkit::postgres::database_on(&server, "datastorage").await;
    let settings = [
        ("DATASTORAGE_SCHEMA_PROFILE", "datastorage"),
        ("DATASTORAGE_QUEUE_MAX_ENTRIES", "1"),
    ];
    let service = Service::with(database.url(), Clock::system(), &settings).await;
    server.kill().await.expect("killed");
    service
        .post(NOTIFICATIONS, &record("n-1"))
        .await
        .expect(202);
    let refused = record("n-2");
    let answer = service.post(NOTIFICATIONS, &refused).await.expect(503);
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    let problem = answer.problem();
    assert_eq!(
        (problem.name(), problem.retry),
        ("service-unavailable", Some(true))
    );
    let detail = problem.detail.expect("a detail");
    assert!(detail.contains("the queue is full"), "{detail}");

    server.restart().await.expect("restarted");
    until("the record to be taken", SOON, async || {
        match service.post(NOTIFICATIONS, &refused).await.status.as_u16() {
            201 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    until(
        "the queued record to be stored",
        SOON,
        async || match count(&database).await {
            2 => Ok(()),
            count => Err(count),
        },
    )
    .await;
}
