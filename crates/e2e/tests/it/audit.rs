//! Finding audit events, and holding them against what a service's team expects.

use std::time::Duration;

use datastorage_client::types::{AuditEvent, AuditEventRequest, AuditEventsQueryResponse};
use datastorage_client::{Client, Error, QueryAuditEvents, Written};
use serde_json::{Value, json};
use testkit::wait;

use crate::environment::datastorage;
use crate::service::Emitted;

/// How long events may take to be stored, with Data Storage or its database restarted in between; the suites of the services wait a minute
/// without that.
pub(crate) const STORED_WITHIN: Duration = Duration::from_mins(2);
/// How long a read may fail, for Data Storage may be starting again.
const READ_WITHIN: Duration = Duration::from_mins(1);

/// In an expected event: any value will do but none, `""` and `null`.
pub(crate) const SOME: &str = "<some value>";

/// Asks for the events of a correlation id.
pub(crate) fn correlated(correlation_id: &str) -> QueryAuditEvents {
    QueryAuditEvents {
        correlation_id: Some(correlation_id.to_owned()),
        ..QueryAuditEvents::default()
    }
}

/// Asks for the events of a correlation id in a category.
pub(crate) fn correlated_in(category: &str, correlation_id: &str) -> QueryAuditEvents {
    QueryAuditEvents {
        event_category: Some(category.to_owned()),
        ..correlated(correlation_id)
    }
}

/// Returns the events that `query` finds, oldest first.
pub(crate) async fn found(query: &QueryAuditEvents) -> Vec<AuditEvent> {
    let mut events = page(query).await.data;
    events.reverse();
    events
}

/// Returns all events of a correlation id, however many, oldest first.
pub(crate) async fn found_all(correlation_id: &str) -> Vec<AuditEvent> {
    let mut query = QueryAuditEvents {
        limit: Some(1000),
        ..correlated(correlation_id)
    };
    let mut events = Vec::new();
    loop {
        let page = page(&query).await;
        events.extend(page.data);
        query.cursor = page.pagination.next_cursor;
        if query.cursor.is_none() {
            events.reverse();
            return events;
        }
    }
}

async fn page(query: &QueryAuditEvents) -> AuditEventsQueryResponse {
    let datastorage = datastorage();
    wait::until("a page of audit events", READ_WITHIN, async || {
        datastorage.query_audit_events(query).await
    })
    .await
}

/// Sends events in one batch, as the services' client does, and returns when they are committed.
pub(crate) async fn send(datastorage: &Client, events: &[Value]) {
    let events: Vec<_> = events.iter().map(request).collect();
    match datastorage.create_audit_events_batch(&events).await {
        Ok(Written::Committed(answer)) => assert_eq!(answer.event_ids.len(), events.len()),
        Ok(Written::Queued(answer)) => {
            panic!("Data Storage queued the events, its database is away: {answer:?}")
        }
        Err(error) => panic!("{error}"),
    }
}

/// Returns an event as the contract's type.
pub(crate) fn request(event: &Value) -> AuditEventRequest {
    // From text: the free object in it is kept as it was written.
    serde_json::from_str(&event.to_string()).unwrap_or_else(|error| panic!("{error} in {event}"))
}

/// Returns what all events of a kind have with what one of them has of its own; objects in both are put together.
pub(crate) fn event(common: &Value, own: Value) -> Value {
    match (common, own) {
        (Value::Object(common), Value::Object(own)) => {
            let mut event = common.clone();
            for (name, own) in own {
                let common = event.remove(&name).unwrap_or_default();
                event.insert(name, self::event(&common, own));
            }
            Value::Object(event)
        }
        (_, own) => own,
    }
}

/// Holds events against what is expected of each, in order, and names every field that differs.
///
/// An expected event has the members that matter; [`SOME`] stands for any value.
pub(crate) fn check(events: &[AuditEvent], expected: &[Value]) {
    let mut faults = Vec::new();
    if events.len() != expected.len() {
        let wanted: Vec<_> = expected
            .iter()
            .map(|event| event["event_type"].as_str().unwrap_or("any type"))
            .collect();
        faults.push(format!(
            "count: expected {} {wanted:?}, found {} {:?}",
            expected.len(),
            events.len(),
            types(events)
        ));
    }
    for (event, expected) in events.iter().zip(expected) {
        let found = serde_json::to_value(event).unwrap();
        let place = format!("{} {}", event.event_type, event.event_id);
        let mut differing = Vec::new();
        compare("", expected, &found, &mut differing);
        faults.extend(
            differing
                .into_iter()
                .map(|fault| format!("{fault}, in {place}")),
        );
    }
    assert!(
        faults.is_empty(),
        "not as expected:\n  {}",
        faults.join("\n  ")
    );
}

fn compare(path: &str, expected: &Value, found: &Value, faults: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(_)) => {
            for (name, expected) in expected {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                compare(&path, expected, &found[name], faults);
            }
        }
        (Value::String(some), found) if some == SOME => {
            if found.is_null() || found == "" {
                faults.push(format!("{path}: expected some value, found {found}"));
            }
        }
        _ if expected == found => {}
        _ => faults.push(format!("{path}: expected {expected}, found {found}")),
    }
}

/// Checks that the stored events are those that were emitted: none lost, none twice, in the same order.
pub(crate) fn check_complete(events: &[AuditEvent], emitted: &[Emitted]) {
    let expected: Vec<_> = emitted
        .iter()
        .map(|event| json!({"event_type": event.event_type, "event_id": event.event_id}))
        .collect();
    check(events, &expected);
}

/// Returns the events' types.
pub(crate) fn types(events: &[AuditEvent]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.event_type.as_str())
        .collect()
}

/// Checks that an answer says which table is missing, in words and in fields that a program can read (D28).
pub(crate) fn assert_names_the_missing_table<T: std::fmt::Debug>(
    answer: Result<T, Error>,
    table: &str,
) {
    let error = answer.expect_err("without the table nothing can be stored or read");
    assert_unavailable(&error, table);
    let sqlstate = error
        .problem()
        .and_then(|problem| problem.details.sqlstate.as_deref());
    assert_eq!(sqlstate, Some("42P01"), "{error}");
}

/// Checks that an operation cannot be served for want of a table, which is named in words and in a field.
pub(crate) fn assert_unavailable(error: &Error, table: &str) {
    let problem = error
        .problem()
        .unwrap_or_else(|| panic!("not a problem document: {error}"));
    assert_eq!(problem.status, 503, "{error}");
    assert_eq!(problem.details.relation.as_deref(), Some(table), "{error}");
    let detail = problem.details.detail.as_deref().unwrap_or_default();
    assert!(detail.contains(table), "{error}");
}
