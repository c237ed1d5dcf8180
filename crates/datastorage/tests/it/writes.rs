//! POST one event or a batch.

use serde_json::{Value, json};

use crate::support::{Service, audit_database, count, event, http, send, with};

const EVENTS: &str = "/api/v1/audit/events";
const BATCH: &str = "/api/v1/audit/events/batch";

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_committed_before_its_201() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let answer = service.post(EVENTS, &event("one")).await.expect(201);
    assert_eq!(answer.body["message"], "Audit event created successfully");
    let row = database.connect().await.query_one("SELECT event_id::text, event_date = (event_timestamp AT TIME ZONE 'UTC')::date, retention_days, is_sensitive FROM audit_events", &[]).await.expect("one row");
    assert_eq!(row.get::<_, String>(0), answer.body["event_id"]);
    assert!(row.get::<_, bool>(1));
    assert_eq!((row.get::<_, i32>(2), row.get::<_, bool>(3)), (2555, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_of_the_troubleshooting_guide_gets_a_201() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let body = r#"[{"event_category":"workflow","event_action":"workflow.started","event_outcome":"success","resource_type":"WorkflowExecution","correlation_id":"test-123"}]"#;
    let answer = service.post_text(BATCH, body).await.expect(201);
    assert_eq!(
        answer.body["message"],
        "1 audit events created successfully"
    );
    let page = service
        .get("/api/v1/audit/events?correlation_id=test-123&event_category=workflow")
        .await
        .expect(200);
    assert_eq!(page.body["data"][0]["event_type"], "workflow.started");
    assert_eq!(page.body["data"][0]["resource_type"], "WorkflowExecution");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_its_order_and_its_versions() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let batch: Vec<_> = (0..40)
        .map(|n| {
            with(
                event(&format!("batch-{n:02}")),
                json!({"version": format!("2.{n}")}),
            )
        })
        .collect();
    let answer = service.post(BATCH, &json!(batch)).await.expect(201);
    let client = database.connect().await;
    let rows = client
        .query(
            "SELECT event_id::text, event_version FROM audit_events ORDER BY correlation_id",
            &[],
        )
        .await
        .expect("rows");
    let stored: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let ids: Vec<String> = serde_json::from_value(answer.body["event_ids"].clone()).expect("ids");
    let expected: Vec<_> = ids
        .into_iter()
        .enumerate()
        .map(|(n, id)| (id, format!("2.{n}")))
        .collect();
    assert_eq!(stored, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_event_refuses_the_batch_and_every_violation_is_named() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let wrong = with(
        event("c"),
        json!({"event_outcome": "banana", "event_type": "x".repeat(101), "event_data": "text"}),
    );
    let answer = service
        .post(BATCH, &json!([event("a"), wrong, event("b")]))
        .await
        .expect(400);
    let problem = answer.problem();
    assert_eq!(problem.name(), "validation-error");
    assert!(
        problem
            .detail
            .as_deref()
            .is_some_and(|detail| detail.starts_with("event at index 1: ")),
        "{problem:?}"
    );
    let fields: Vec<_> = problem
        .field_errors
        .iter()
        .map(|(field, _)| field.to_owned())
        .collect();
    assert_eq!(
        fields,
        ["[1].event_data", "[1].event_outcome", "[1].event_type"]
    );
    assert_eq!(count(&database.connect().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_length_that_is_accepted_can_be_stored() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let text = |length: usize| "ß".repeat(length);
    let longest = with(
        event(&text(255)),
        json!({
            "version": text(10), "event_type": text(100), "event_action": text(50), "actor_type": text(50), "actor_id": text(255),
            "resource_type": text(100), "resource_id": text(255), "namespace": text(253), "cluster_name": text(255),
            "severity": text(20), "duration_ms": i32::MAX
        }),
    );
    service.post(EVENTS, &longest).await.expect(201);
    // The defaults are derived from other fields and must fit theirs.
    service.post(EVENTS, &event(&text(255))).await.expect(201);
    for field in [
        "version",
        "event_type",
        "event_action",
        "actor_type",
        "actor_id",
        "resource_type",
        "resource_id",
        "namespace",
        "cluster_name",
        "severity",
        "correlation_id",
    ] {
        let length = longest[field].as_str().expect("text").chars().count() + 1;
        let answer = service
            .post(EVENTS, &with(longest.clone(), json!({field: text(length)})))
            .await
            .expect(400);
        assert_eq!(
            answer
                .problem()
                .field_errors
                .iter()
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>(),
            [field]
        );
    }
    assert_eq!(count(&database.connect().await).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn event_data_comes_back_as_it_was_sent() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let data = r#"{"big":123456789012345678901234567890,"precise":0.1000000000000000055511151231257827,"text":"äöü \u0001 \ud83d\ude00","list":[null,true,{}]}"#;
    let body = event("data")
        .to_string()
        .replace(r#"{"phase":"Running"}"#, data);
    service.post_text(EVENTS, &body).await.expect(201);
    let text = http()
        .get(service.url("/api/v1/audit/events"))
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("text");
    assert!(text.contains("123456789012345678901234567890"), "{text}");
    assert!(
        text.contains("0.1000000000000000055511151231257827"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jsonb_cannot_hold_is_a_400_and_not_a_database_error() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    for data in [
        r#"{"a":"\u0000"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":1e200000}"#,
        "[]",
        "\"text\"",
        "7",
        &deep,
    ] {
        let body = event("data")
            .to_string()
            .replace(r#"{"phase":"Running"}"#, data);
        let problem = service.post_text(EVENTS, &body).await.expect(400).problem();
        assert_eq!(
            problem.field_errors.iter().next().map(|(field, _)| field),
            Some("event_data"),
            "{problem:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_the_operation_does_not_take_are_client_errors_that_name_the_reason() {
    let database = audit_database().await;
    let service = Service::with(
        database.url(),
        datastorage::clock::Clock::system(),
        &[("DATASTORAGE_SERVER_BODY_LIMIT", "2048")],
    )
    .await;
    for (path, body, detail) in [
        (BATCH, "{}", "must be an array"),
        (BATCH, "[]", "batch cannot be empty"),
        (BATCH, "[{", "not JSON"),
        (EVENTS, "", "not JSON"),
        (EVENTS, "[]", "must be an object"),
        (EVENTS, "\u{feff}{}", "not JSON"),
    ] {
        let problem = service.post_text(path, body).await.expect(400).problem();
        assert!(
            problem
                .detail
                .as_deref()
                .is_some_and(|text| text.contains(detail)),
            "{body}: {problem:?}"
        );
    }
    let unlabelled = http().post(service.url(EVENTS)).body("{}");
    send(unlabelled).await.expect(415);
    let large = json!([with(
        event("large"),
        json!({"event_data": {"a": "x".repeat(4096)}})
    )]);
    assert_eq!(
        service
            .post(BATCH, &large)
            .await
            .expect(413)
            .problem()
            .name(),
        "payload-too-large"
    );
    assert_eq!(
        service.get("/nowhere").await.expect(404).problem().name(),
        "not-found"
    );
    assert_eq!(
        service.get(BATCH).await.expect(405).problem().name(),
        "method-not-allowed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_must_exist_for_a_single_event() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let child = |parent: &Value| with(event("family"), json!({"parent_event_id": parent}));
    let problem = service
        .post(
            EVENTS,
            &child(&json!("00000000-0000-4000-8000-000000000001")),
        )
        .await
        .expect(400)
        .problem();
    assert_eq!(
        problem.detail.as_deref(),
        Some("parent event does not exist")
    );
    let parent = service
        .post(EVENTS, &event("family"))
        .await
        .expect(201)
        .body["event_id"]
        .clone();
    service.post(EVENTS, &child(&parent)).await.expect(201);
    let page = service
        .get("/api/v1/audit/events?correlation_id=family")
        .await
        .expect(200);
    assert_eq!(page.body["data"][0]["parent_event_id"], parent);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_transactions_and_each_gets_its_own_answer() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let taken = with(event("taken"), json!({"event_id": uuid::Uuid::now_v7()}));
    service.post(EVENTS, &taken).await.expect(201);
    let conflict = with(
        taken,
        json!({"event_timestamp": (jiff::Timestamp::now() - jiff::SignedDuration::from_millis(1)).to_string()}),
    );
    let requests = (0..40).map(|n| {
        let (status, body) = if n % 10 == 3 {
            (409, conflict.clone())
        } else {
            (201, event(&format!("shared-{n}")))
        };
        let service = &service;
        async move { service.post(EVENTS, &body).await.expect(status) }
    });
    futures_util::future::join_all(requests).await;
    assert_eq!(count(&database.connect().await).await, 37);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_move_with_a_write() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let body = with(event("metrics"), json!({"event_category": "gateway"}));
    service.post(EVENTS, &body).await.expect(201);
    service.post(EVENTS, &json!({})).await.expect(400);
    for (name, expected) in [
        (
            "datastorage_audit_traces_total{service=\"gateway\",status=\"success\"}",
            1.0,
        ),
        (
            "datastorage_audit_lag_seconds_count{service=\"gateway\"}",
            1.0,
        ),
        (
            "datastorage_write_total{table=\"audit_events\",status=\"success\"}",
            1.0,
        ),
        (
            "datastorage_write_duration_seconds_count{table=\"audit_events\"}",
            1.0,
        ),
        (
            "datastorage_validation_failures_total{field=\"event_category\",reason=\"invalid\"}",
            1.0,
        ),
        ("datastorage_group_commit_events_count", 1.0),
        ("datastorage_dlq_depth{stream=\"audit_events\"}", 0.0),
        ("datastorage_queue_available", 1.0),
        ("datastorage_database_available", 1.0),
    ] {
        assert_eq!(service.metric(name).await, Some(expected), "{name}");
    }
}
