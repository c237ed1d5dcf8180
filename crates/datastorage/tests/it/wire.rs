//! What clients of the existing service rely on: which requests are refused, with which words, and what goes through.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testkit::postgres::{Database, database};

use crate::support::{Service, event, event_at, http, send, with};

const EVENTS: &str = "/api/v1/audit/events";
const BATCH: &str = "/api/v1/audit/events/batch";
const SEARCH: &str = "/api/v1/workflows/search";

async fn service() -> (Database, Service) {
    let database = database("datastorage").await;
    let service = Service::of_profile(database.url(), "datastorage").await;
    (database, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_queries_are_validation_errors_with_the_documented_detail() {
    let (_database, service) = service().await;
    for (path, query, words) in [
        (EVENTS, "limit=0", vec!["limit", "must be at least 1"]),
        (EVENTS, "limit=-1", vec!["limit", "must be at least 1"]),
        (EVENTS, "limit=1001", vec!["limit", "must be at most 1000"]),
        (EVENTS, "limit=abc", vec!["limit"]),
        (EVENTS, "offset=-1", vec!["offset", "must be at least 0"]),
        (EVENTS, "event_outcome=banana", vec!["event_outcome"]),
        (EVENTS, "correlation_id=", vec!["correlation_id"]),
        (EVENTS, "since=junk", vec!["since", "invalid time format"]),
        (EVENTS, "until=24", vec!["until", "invalid time format"]),
        (
            "/api/v1/workflows",
            "limit=1001",
            vec!["limit", "must be at most 1000"],
        ),
        ("/api/v1/workflows", "status=gone", vec!["status"]),
    ] {
        let problem = service
            .get(&format!("{path}?{query}"))
            .await
            .expect(400)
            .problem();
        assert_eq!(
            problem.type_uri,
            "https://kubernaut.io/problems/validation-error"
        );
        assert_eq!(problem.instance.as_deref(), Some(path));
        let detail = problem.detail.expect("a detail");
        for word in words {
            assert!(detail.contains(word), "{query}: {detail}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_have_their_defaults_and_unknown_parameters_are_ignored() {
    let (_database, service) = service().await;
    let page = service
        .get(&format!("{EVENTS}?service=gateway&page=2"))
        .await
        .expect(200)
        .body;
    assert_eq!(page["data"], json!([]));
    assert_eq!(
        page["pagination"],
        json!({"limit": 50, "offset": 0, "total": 0, "has_more": false, "next_cursor": null})
    );
    let list = service
        .get("/api/v1/workflows?label=x")
        .await
        .expect(200)
        .body;
    assert_eq!(
        list,
        json!({"workflows": [], "limit": 100, "offset": 0, "total": 0, "has_more": false})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_bodies_say_what_existing_clients_look_for() {
    let (_database, service) = service().await;
    let filters = json!({"signal_type": "OOMKilled", "severity": "high", "component": "pod", "environment": "test", "priority": "P1"});
    let old = event_at("w", Timestamp::now() - SignedDuration::from_hours(8 * 24));
    let ahead = event_at("w", Timestamp::now() + SignedDuration::from_mins(10));
    for (path, body, words) in [
        (BATCH, json!({}), vec!["must be an array"]),
        (BATCH, json!([]), vec!["batch cannot be empty"]),
        (
            BATCH,
            json!([event("w"), {}]),
            vec!["event at index 1", "event_category"],
        ),
        (
            EVENTS,
            with(event("w"), json!({"event_data": [1]})),
            vec!["event_data", "must be an object"],
        ),
        (
            EVENTS,
            with(
                event("w"),
                json!({"event_timestamp": "2026-01-01T00:00:00"}),
            ),
            vec!["event_timestamp"],
        ),
        (
            EVENTS,
            old,
            vec!["invalid timestamp", "timestamp is too old"],
        ),
        (
            EVENTS,
            ahead,
            vec!["invalid timestamp", "timestamp is in the future"],
        ),
        (
            EVENTS,
            with(event("w"), json!({"parent_event_id": uuid::Uuid::now_v7()})),
            vec!["parent event does not exist"],
        ),
        (
            EVENTS,
            with(
                event("w"),
                json!({"event_category": "banking", "event_outcome": "fine"}),
            ),
            vec!["event_category", "event_outcome"],
        ),
        (
            SEARCH,
            json!({"filters": with(filters.clone(), json!({"priority": "*"}))}),
            vec!["filters.priority"],
        ),
        (
            SEARCH,
            json!({"filters": with(filters, json!({"signal_type": ""}))}),
            vec!["filters.signal_type"],
        ),
        (
            SEARCH,
            json!({"top_k": 101}),
            vec!["filters is required", "top_k"],
        ),
    ] {
        let problem = service.post(path, &body).await.expect(400).problem();
        assert_eq!(problem.name(), "validation-error");
        let detail = problem.detail.expect("a detail");
        for word in words {
            assert!(detail.contains(word), "{body}: {detail}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_known_messages_and_forms() {
    let (_database, service) = service().await;
    let one = service.post(EVENTS, &event("w")).await.expect(201).body;
    assert_eq!(one["message"], "Audit event created successfully");
    let three = service
        .post(BATCH, &json!([event("w"), event("w"), event("w")]))
        .await
        .expect(201)
        .body;
    assert_eq!(three["message"], "3 audit events created successfully");
    let charset = http()
        .post(service.url(EVENTS))
        .header("content-type", "application/json; charset=utf-8")
        .body(event("w").to_string());
    send(charset).await.expect(201);
    let ignored = with(
        event("w"),
        json!({"trace_id": "x", "retention_days": 1, "actor_id": null}),
    );
    service.post(EVENTS, &ignored).await.expect(201);
    let page = service
        .get(&format!("{EVENTS}?correlation_id=w&limit=4"))
        .await
        .expect(200)
        .body;
    assert_eq!(
        (
            &page["pagination"]["total"],
            &page["pagination"]["has_more"]
        ),
        (&json!(6), &json!(true))
    );
    for (path, body) in [
        (
            "/health",
            json!({"status": "healthy", "database": "connected"}),
        ),
        ("/health/live", json!({"status": "alive"})),
    ] {
        assert_eq!(service.get(path).await.expect(200).body, body);
    }
    service.ready().await;
    assert_eq!(
        service.get("/health/ready").await.body,
        json!({"status": "ready"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_time_that_clients_send_is_understood() {
    let (_database, service) = service().await;
    service.post(EVENTS, &event("now")).await.expect(201);
    let total = async |query: &str| -> Value {
        let path = format!("{EVENTS}?{query}");
        service.get(&path).await.expect(200).body["pagination"]["total"].clone()
    };
    for since in [
        "24h",
        "90m",
        "1h30m",
        "7d",
        "1.5d",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00%2B02:00",
        "2026-01-01T00:00:00.5Z",
    ] {
        assert_eq!(total(&format!("since={since}")).await, 1, "since {since}");
        assert_eq!(total(&format!("until={since}")).await, 0, "until {since}");
    }
    assert_eq!(total("since=-1h").await, 0, "a negative span lies ahead");
}
