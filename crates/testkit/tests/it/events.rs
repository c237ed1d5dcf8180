//! Events are what the contract takes, and tests can make them into what it refuses.

use datastorage_api::parse_event;
use serde_json::{Value, json};
use testkit::events::{minimal, short, unique, with, without, workflow};

fn accepted(event: &Value) -> Result<(), String> {
    let body = event.to_string();
    parse_event(body.as_bytes(), jiff::Timestamp::now())
        .map(drop)
        .map_err(|error| error.to_string())
}

#[test]
fn every_builder_makes_a_valid_event() {
    let id = unique("wfe");
    let events = [
        minimal("gateway.signal.received", "gateway", "success", &id),
        short("workflow", "started", "success", "WorkflowExecution", &id),
        workflow::started(&id, &id),
        workflow::completed(&id, &id),
        workflow::failed(&id, &id),
    ];
    for event in events {
        assert_eq!(accepted(&event), Ok(()), "{event}");
    }
}

#[test]
fn an_event_can_be_made_invalid_field_by_field() {
    let event = minimal("workflow.started", "workflow", "success", &unique("wfe"));
    assert!(accepted(&without(event.clone(), "event_data")).is_err());
    assert!(accepted(&with(event, json!({"event_outcome": "banana"}))).is_err());
}

#[test]
fn correlation_ids_are_never_the_same() {
    assert_ne!(unique("wfe"), unique("wfe"));
}
