//! D29: a repeat is answered like the first and stored once; an id with another time on the same date is a conflict.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{Service, audit_database, count, event_at, with};

const EVENTS: &str = "/api/v1/audit/events";
const BATCH: &str = "/api/v1/audit/events/batch";
const ID: &str = "018f0000-0000-4000-8000-000000000001";

fn keyed(time: Timestamp, id: &str) -> Value {
    with(event_at("keyed", time), json!({"event_id": id}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_same_answer_and_is_stored_once() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let body = keyed(Timestamp::now(), ID);
    let first = service.post(EVENTS, &body).await.expect(201);
    let second = service.post(EVENTS, &body).await.expect(201);
    assert_eq!(
        (first.body["event_id"].as_str(), &first.body),
        (Some(ID), &second.body)
    );
    service.post(BATCH, &json!([body, body])).await.expect(201);
    assert_eq!(count(&database.connect().await).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_compared_in_microseconds() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let now = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).expect("a time");
    service.post(EVENTS, &keyed(now, ID)).await.expect(201);
    service
        .post(EVENTS, &keyed(now + SignedDuration::from_nanos(900), ID))
        .await
        .expect(201);
    service
        .post(EVENTS, &keyed(now + SignedDuration::from_micros(1), ID))
        .await
        .expect(409);
    assert_eq!(count(&database.connect().await).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_stores_nothing_of_its_batch() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let now = Timestamp::now();
    service.post(EVENTS, &keyed(now, ID)).await.expect(201);
    let other = keyed(now, "018f0000-0000-4000-8000-000000000002");
    let answer = service
        .post(
            BATCH,
            &json!([other, keyed(now - SignedDuration::from_millis(5), ID)]),
        )
        .await
        .expect(409);
    assert!(
        answer
            .problem()
            .detail
            .is_some_and(|detail| detail.contains(ID))
    );
    // Two times for one id within one batch are a conflict, too.
    let twice = json!([
        keyed(now, "018f0000-0000-4000-8000-000000000003"),
        keyed(
            now - SignedDuration::from_secs(1),
            "018f0000-0000-4000-8000-000000000003"
        )
    ]);
    service.post(BATCH, &twice).await.expect(409);
    assert_eq!(count(&database.connect().await).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_on_another_date_is_another_event() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let now = Timestamp::now();
    service.post(EVENTS, &keyed(now, ID)).await.expect(201);
    service
        .post(EVENTS, &keyed(now - SignedDuration::from_hours(24), ID))
        .await
        .expect(201);
    assert_eq!(count(&database.connect().await).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_repeats_at_the_same_time_store_one_row_each() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let now = Timestamp::now();
    let ids: Vec<_> = (0..50)
        .map(|n| format!("018f0000-0000-4000-8000-0000000001{n:02}"))
        .collect();
    let forwards: Vec<_> = ids.iter().map(|id| keyed(now, id)).collect();
    let backwards: Vec<_> = forwards.iter().rev().cloned().collect();
    let (forwards, backwards) = (json!(forwards), json!(backwards));
    let answers =
        (0..20).map(|n| service.post(BATCH, if n % 2 == 0 { &forwards } else { &backwards }));
    for answer in futures_util::future::join_all(answers).await {
        answer.expect(201);
    }
    assert_eq!(count(&database.connect().await).await, 50);
}
