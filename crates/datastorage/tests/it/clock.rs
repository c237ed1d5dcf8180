//! Months end, zones differ: with a clock that the test sets.

use datastorage::clock::Clock;
use jiff::Timestamp;
use serde_json::json;

use crate::support::{Service, audit_database, event_at, with};

const EVENTS: &str = "/api/v1/audit/events";

async fn at(url: &str, now: &str) -> Service {
    let now = time(now);
    let service = Service::with(url, Clock::new(move || now), &[]).await;
    service.ready().await;
    service
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

async fn partition_of(
    database: &testkit::postgres::Database,
    correlation_id: &str,
) -> (String, String) {
    let sql = "SELECT tableoid::regclass::text, event_date::text FROM audit_events WHERE correlation_id = $1";
    let row = database
        .connect()
        .await
        .query_one(sql, &[&correlation_id])
        .await
        .expect("one row");
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_second_of_a_month_and_the_first_of_the_next_go_to_their_partitions() {
    let database = audit_database().await;
    let service = at(database.url(), "2031-04-01T00:00:00Z").await;
    service
        .post(
            EVENTS,
            &event_at("last", time("2031-03-31T23:59:59.999999999Z")),
        )
        .await
        .expect(201);
    service
        .post(EVENTS, &event_at("first", time("2031-04-01T00:00:00Z")))
        .await
        .expect(201);
    assert_eq!(
        partition_of(&database, "last").await,
        ("audit_events_y2031m03".to_owned(), "2031-03-31".to_owned())
    );
    assert_eq!(
        partition_of(&database, "first").await,
        ("audit_events_y2031m04".to_owned(), "2031-04-01".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_in_the_event_does_not_move_its_utc_date() {
    let database = audit_database().await;
    let service = at(database.url(), "2031-04-01T01:00:00Z").await;
    let east = with(
        event_at("east", time("2031-04-01T00:00:00Z")),
        json!({"event_timestamp": "2031-04-01T01:30:00+02:00"}),
    );
    service.post(EVENTS, &east).await.expect(201);
    assert_eq!(
        partition_of(&database, "east").await,
        ("audit_events_y2031m03".to_owned(), "2031-03-31".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_zone_of_the_database_does_not_matter() {
    let database = audit_database().await;
    let zone = format!(
        "ALTER DATABASE \"{}\" SET timezone = 'Pacific/Kiritimati'",
        database.name()
    );
    database
        .connect()
        .await
        .batch_execute(&zone)
        .await
        .expect("set");
    let service = at(database.url(), "2031-03-31T23:30:00Z").await;
    let body = with(
        event_at("zone", time("2031-03-31T23:30:00Z")),
        json!({"event_id": "018f0000-0000-4000-8000-000000000001"}),
    );
    service.post(EVENTS, &body).await.expect(201);
    service.post(EVENTS, &body).await.expect(201);
    assert_eq!(
        partition_of(&database, "zone").await,
        ("audit_events_y2031m03".to_owned(), "2031-03-31".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_week_of_a_month_still_takes_last_months_events() {
    let database = audit_database().await;
    let service = at(database.url(), "2031-03-05T12:00:00Z").await;
    service
        .post(EVENTS, &event_at("late", time("2031-02-26T12:00:00Z")))
        .await
        .expect(201);
    let problem = service
        .post(EVENTS, &event_at("too late", time("2031-02-26T11:59:59Z")))
        .await
        .expect(400)
        .problem();
    assert!(
        problem
            .detail
            .is_some_and(|detail| detail.contains("too old"))
    );
    let replayed = with(
        event_at("replayed", time("2031-02-01T00:00:00Z")),
        json!({"event_id": "018f0000-0000-4000-8000-000000000001"}),
    );
    service.post(EVENTS, &replayed).await.expect(201);
    assert_eq!(
        partition_of(&database, "replayed").await.0,
        "audit_events_y2031m02"
    );
    let problem = service
        .post(EVENTS, &event_at("ahead", time("2031-03-05T12:05:01Z")))
        .await
        .expect(400)
        .problem();
    assert!(
        problem
            .detail
            .is_some_and(|detail| detail.contains("timestamp is in the future"))
    );
}
