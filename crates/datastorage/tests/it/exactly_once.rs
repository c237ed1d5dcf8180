//! D29: a repeat is answered like the first and stored once; an id with another time on the same date, or with other content, is a
//! conflict.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::queue::{behind_proxy, depth_becomes};
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

/// `body` with other content: each has one member that differs.
fn others(body: &Value) -> Vec<Value> {
    [
        json!({"event_data": {"phase": "Other"}}),
        json!({"event_data": {"phase": "Running", "more": 12_345_678_901_234_567_890_u64}}),
        json!({"event_outcome": "failure"}),
        json!({"correlation_id": "other"}),
        json!({"severity": "warning"}),
        json!({"duration_ms": 7}),
        json!({"namespace": "other"}),
    ]
    .into_iter()
    .map(|member| with(body.clone(), member))
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_other_content_is_a_conflict_and_changes_nothing() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let body = keyed(Timestamp::now(), ID);
    let fresh = with(
        body.clone(),
        json!({"event_id": "018f0000-0000-4000-8000-000000000002"}),
    );
    service.post(EVENTS, &body).await.expect(201);
    for other in others(&body) {
        let answer = service.post(EVENTS, &other).await.expect(409);
        assert!(
            answer
                .problem()
                .detail
                .is_some_and(|detail| detail.contains(ID))
        );
        service
            .post(BATCH, &json!([fresh, other]))
            .await
            .expect(409);
        // Within one batch, too.
        let other = with(other, json!({"event_id": fresh["event_id"]}));
        service
            .post(BATCH, &json!([fresh, other]))
            .await
            .expect(409);
    }
    service.post(EVENTS, &body).await.expect(201);
    assert_eq!(count(&database.connect().await).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_compared_as_it_is_stored() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let body = with(
        keyed(Timestamp::now(), ID),
        json!({"event_data": {"a": 1, "b": "é"}}),
    );
    service.post(EVENTS, &body).await.expect(201);
    // Another order of members, another form of a number and of a character, and a default that is said.
    let text = body.to_string();
    let other = text.replace(r#""a":1,"b":"é""#, r#""b" : "\u00e9", "a": 1.0"#);
    assert_ne!(text, other);
    service.post_text(EVENTS, &other).await.expect(201);
    let said = with(body, json!({"severity": "info", "actor_type": "service"}));
    service.post(EVENTS, &said).await.expect(201);
    assert_eq!(count(&database.connect().await).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_event_whose_id_is_taken_by_other_content_is_parked_with_the_reason() {
    let (database, proxy, url) = behind_proxy().await;
    let service = Service::start(&url).await;
    let body = keyed(Timestamp::now(), ID);
    service.post(EVENTS, &body).await.expect(201);
    proxy.down();
    // Away, nobody knows what is stored.
    let other = with(body.clone(), json!({"event_data": {"phase": "Other"}}));
    service.post(EVENTS, &other).await.expect(202);
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    let parked = service.get("/api/v1/queue/parked").await.expect(200).body;
    let entry = &parked["entries"][0];
    assert_eq!(
        (&parked["total"], &entry["payload"]["event_id"]),
        (&json!(1), &json!(ID))
    );
    assert!(
        entry["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("other content")),
        "{entry}"
    );
    assert_eq!(count(&database.connect().await).await, 1);
    proxy.down();
    // The same is queued, and found stored.
    service.post(EVENTS, &body).await.expect(202);
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    assert_eq!(service.metric("datastorage_queue_parked").await, Some(1.0));
}
