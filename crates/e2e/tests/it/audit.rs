//! Sending audit events and waiting until they can be read.

use std::time::{Duration, Instant};

use datastorage_client::types::{AuditEvent, AuditEventRequest};
use datastorage_client::{Client, QueryAuditEvents, Written};
use serde_json::Value;
use testkit::wait;

/// How long the services' suites wait for their audit events to be visible.
pub(crate) const VISIBLE_WITHIN: Duration = Duration::from_mins(1);

/// Sends events in one batch, as the services do, and returns when they are committed.
pub(crate) async fn send(datastorage: &Client, events: &[Value]) {
    let events: Vec<AuditEventRequest> = events.iter().map(request).collect();
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

/// Returns the events of a correlation id, oldest first, once there are at least `count`, and prints how long that took.
pub(crate) async fn visible(
    datastorage: &Client,
    correlation_id: &str,
    count: usize,
) -> Vec<AuditEvent> {
    let query = QueryAuditEvents {
        event_category: Some("workflow".to_owned()),
        correlation_id: Some(correlation_id.to_owned()),
        ..QueryAuditEvents::default()
    };
    visible_by(datastorage, &query, count).await
}

/// Returns the events that `query` finds, oldest first, once there are at least `count`, and prints how long that took.
pub(crate) async fn visible_by(
    datastorage: &Client,
    query: &QueryAuditEvents,
    count: usize,
) -> Vec<AuditEvent> {
    let started = Instant::now();
    let probe = async || match datastorage.query_audit_events(query).await {
        Ok(page) if page.data.len() >= count => Ok(page.data),
        Ok(page) => {
            let types: Vec<_> = page
                .data
                .iter()
                .map(|event| event.event_type.as_str())
                .collect();
            Err(format!("{} events {types:?}", types.len()))
        }
        Err(error) => Err(error.to_string()),
    };
    let what = format!(
        "at least {count} audit events of {}",
        query.correlation_id.as_deref().unwrap_or("any workflow")
    );
    let mut events = wait::until(&what, VISIBLE_WITHIN, probe).await;
    println!(
        "{} events visible after {:.0?}",
        events.len(),
        started.elapsed()
    );
    events.reverse();
    events
}

/// Returns the events' types.
pub(crate) fn types(events: &[AuditEvent]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.event_type.as_str())
        .collect()
}

/// Checks that a stored event has every field of the sent one, with the same value.
pub(crate) fn assert_stored_as_sent(stored: &AuditEvent, sent: &Value) {
    let stored = serde_json::to_value(stored).unwrap();
    for (name, value) in sent.as_object().unwrap() {
        // Stored in microseconds, sent in nanoseconds.
        if name == "event_timestamp" {
            let seconds = |text: &Value| text.as_str().unwrap()[..19].to_owned();
            assert_eq!(seconds(&stored[name]), seconds(value), "{name}");
        } else {
            assert_eq!(&stored[name], value, "{name}");
        }
    }
}
