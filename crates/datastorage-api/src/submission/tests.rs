//! Both forms, their defaults, and every violation named.

use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2025-12-18T10:00:00Z".parse().expect("a time")
}

fn full() -> Value {
    json!({
        "version": "1.0", "event_type": "workflow.started", "event_timestamp": "2025-12-18T09:59:00.123456789Z",
        "event_category": "workflow", "event_action": "started", "event_outcome": "success",
        "correlation_id": "wfe-1", "event_data": {"a": 1}
    })
}

fn parse(value: &Value) -> Result<AuditEventRequest, SubmissionError> {
    parse_event(value.to_string().as_bytes(), now())
}

fn violations(value: &Value) -> Vec<(String, String)> {
    match parse(value) {
        Err(SubmissionError::Fields { errors, .. }) => errors
            .iter()
            .map(|(f, w)| (f.to_owned(), w.to_owned()))
            .collect(),
        other => panic!("expected violations, got {other:?}"),
    }
}

#[test]
fn the_full_form_gets_the_defaults_of_the_contract() {
    let id = Uuid::from_u128(7);
    let stored = parse(&full()).expect("valid").into_stored(|| id);
    assert_eq!(stored.event_id, id);
    assert_eq!(
        stored.event_timestamp,
        "2025-12-18T09:59:00.123456Z".parse().expect("a time")
    );
    assert_eq!(
        (stored.actor_type.as_str(), stored.actor_id.as_str()),
        ("service", "workflow-service")
    );
    assert_eq!(
        (stored.resource_type.as_str(), stored.resource_id.as_str()),
        ("workflow", "wfe-1")
    );
    assert_eq!((stored.severity.as_str(), stored.namespace), ("info", None));
}

#[test]
fn the_short_form_of_the_troubleshooting_guide_is_accepted() {
    let body = br#"[{"event_category":"workflow","event_action":"workflow.started","event_outcome":"success","resource_type":"WorkflowExecution","correlation_id":"test-123"}]"#;
    let events = parse_batch(body, now()).expect("valid");
    assert_eq!(events[0].event_type, "workflow.started");
    assert_eq!(events[0].version, "1.0");
    assert_eq!(events[0].event_timestamp, now());
    assert_eq!(events[0].event_data.as_str(), "{}");
}

#[test]
fn the_short_form_takes_its_time_from_a_version_7_id() {
    let body = json!({"event_id": "019b30e6-dee0-7000-8000-000000000001", "event_category": "gateway", "event_action": "received",
        "event_outcome": "success", "resource_type": "Signal", "correlation_id": "c"});
    let event = parse(&body).expect("valid");
    assert_eq!(
        event.event_timestamp,
        "2025-12-18T09:59:55.36Z".parse().expect("a time")
    );
    assert_eq!(event.event_type, "gateway.received");
}

#[test]
fn every_violation_is_listed_by_field() {
    let found = violations(&json!({
        "version": "12345678901", "event_type": 5, "event_timestamp": "2025-12-18T09:59:00", "event_category": "banana",
        "event_action": "", "correlation_id": "a\u{0}b", "event_data": [1], "duration_ms": 1.5, "parent_event_id": "nope"
    }));
    let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "correlation_id",
            "duration_ms",
            "event_action",
            "event_category",
            "event_data",
            "event_outcome",
            "event_timestamp",
            "event_type",
            "parent_event_id",
            "version"
        ]
    );
}

#[test]
fn lengths_count_characters_as_the_columns_do() {
    let mut event = full();
    event["event_action"] = json!("ä".repeat(50));
    assert!(parse(&event).is_ok());
    event["event_action"] = json!("ä".repeat(51));
    assert_eq!(
        violations(&event),
        [(
            "event_action".to_owned(),
            "must have at most 50 characters, has 51".to_owned()
        )]
    );
}

#[test]
fn the_bounds_of_time_are_named() {
    let mut event = full();
    event["event_timestamp"] = json!("2025-12-18T10:06:00Z");
    assert!(
        violations(&event)[0]
            .1
            .contains("timestamp is in the future")
    );
    event["event_timestamp"] = json!("2025-12-11T09:59:59Z");
    assert!(violations(&event)[0].1.contains("too old"));
    event["event_id"] = json!("019b30e6-dee0-7000-8000-000000000001");
    event["event_timestamp"] = json!("2025-11-01T00:00:00Z");
    assert!(parse(&event).is_ok());
    event["event_timestamp"] = json!("2025-10-31T23:59:59Z");
    assert!(violations(&event)[0].1.contains("too old"));
}

#[test]
fn a_batch_names_the_first_wrong_event_and_all_violations() {
    let mut wrong = full();
    wrong["event_outcome"] = json!("maybe");
    let body = json!([full(), wrong, 5]).to_string();
    let error = parse_batch(body.as_bytes(), now()).expect_err("two are wrong");
    assert_eq!(
        error.to_string(),
        "event at index 1: event_outcome must be one of success, failure, pending"
    );
    let SubmissionError::Fields { errors, .. } = error else {
        panic!("by field")
    };
    assert_eq!(
        errors.iter().map(|(field, _)| field).collect::<Vec<_>>(),
        ["[1].event_outcome", "[2]"]
    );
}

#[test]
fn bodies_of_another_kind_say_what_was_expected() {
    for (body, expected) in [
        ("{}", "the body must be an array of events"),
        ("[]", "batch cannot be empty"),
        (
            "[{]",
            "the body is not JSON: expected value at line 1 column 2",
        ),
    ] {
        let error = parse_batch(body.as_bytes(), now())
            .expect_err(body)
            .to_string();
        assert!(
            error.starts_with(expected.split(':').next().expect("a prefix")),
            "{error}"
        );
    }
    assert_eq!(
        parse_event(b"[]", now()).expect_err("an array").to_string(),
        "an event must be an object"
    );
}
