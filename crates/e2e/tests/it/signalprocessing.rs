//! Audit events of the signal processing controller; the remediation request that its spec refers to correlates.

use datastorage_client::QueryAuditEvents;
use datastorage_client::types::AuditEvent;
use serde_json::{Value, json};
use testkit::events::{unique, with};

use crate::audit::{SOME, check, check_complete, correlated_in, event, found};
use crate::catalogue;
use crate::fault::{self, Component};
use crate::service::play;

fn names() -> Value {
    json!({"remediation": unique("rr"), "name": unique("sp"), "signal": "DiskPressure", "severity": "warning", "environment": "staging",
        "priority": "P2"})
}

/// What every event of a signal has.
fn of_signal(names: &Value, own: Value) -> Value {
    let common = json!({
        "event_category": "signalprocessing", "event_outcome": "success", "correlation_id": names["remediation"],
        "actor_type": "service", "actor_id": "signalprocessing-controller", "resource_type": "SignalProcessing", "resource_id": names["name"],
        "event_data": {"signal": "DiskPressure", "severity": "warning", "phase": SOME},
    });
    event(&common, own)
}

fn transition(from: &str, to: &str) -> Value {
    json!({
        "event_type": "signalprocessing.phase.transition", "event_action": "transition",
        "event_data": {"phase": to, "from_phase": from, "to_phase": to},
    })
}

/// Holds the events of a signal against what is expected of each.
async fn check_signal(names: &Value, expected: Vec<Value>) -> Vec<AuditEvent> {
    let events = found(&correlated_in("signalprocessing", remediation(names))).await;
    let expected: Vec<_> = expected
        .into_iter()
        .map(|own| of_signal(names, own))
        .collect();
    check(&events, &expected);
    events
}

/// The names of a test's remediation.
fn remediation(names: &Value) -> &str {
    names["remediation"].as_str().unwrap()
}

/// The events of a remediation among the newest hundred of all, as the service's suite looks for them.
async fn among_the_newest(remediation: &str) -> Vec<AuditEvent> {
    let all = QueryAuditEvents {
        limit: Some(100),
        ..QueryAuditEvents::default()
    };
    let mut events = found(&all).await;
    events.retain(|event| event.correlation_id == remediation);
    events
}

#[tokio::test]
async fn a_processed_signal_has_enrichment_classification_and_business_fields() {
    let names = names();
    let played = play("processed", &names).await;
    let classified = json!({"environment": "staging", "environment_source": SOME, "priority": "P2", "priority_source": SOME});
    let business = with(
        classified.clone(),
        json!({"criticality": SOME, "business_unit": SOME}),
    );
    let expected = vec![
        transition("Pending", "Enriching"),
        json!({"event_type": "signalprocessing.enrichment.completed", "duration_ms": 35, "event_data": {"duration_ms": 35}}),
        transition("Enriching", "Classifying"),
        json!({"event_type": "signalprocessing.classification.decision", "event_data": classified}),
        transition("Classifying", "Categorizing"),
        json!({"event_type": "signalprocessing.business.classified", "event_data": business}),
        transition("Categorizing", "Completed"),
        json!({"event_type": "signalprocessing.signal.processed", "duration_ms": 180, "event_data": business}),
    ];
    let events = check_signal(&names, expected).await;
    check_complete(&events, &played.emitted);
}

#[tokio::test]
async fn a_processed_signal_is_among_the_newest_events_without_a_filter() {
    let names = names();
    let played = play("processed", &names).await;
    let events = among_the_newest(remediation(&names)).await;
    check_complete(&events, &played.emitted);
    let of_type = |event_type: &str| {
        events
            .iter()
            .filter(|event| event.event_type == event_type)
            .count()
    };
    assert_eq!(of_type("signalprocessing.signal.processed"), 1);
    assert_eq!(of_type("signalprocessing.classification.decision"), 1);
}

#[tokio::test]
async fn a_signal_that_cannot_be_enriched_fails_and_says_why() {
    let names = with(names(), json!({"error": "forbidden"}));
    play("failed", &names).await;
    let expected = vec![
        transition("Pending", "Enriching"),
        json!({
            "event_type": "signalprocessing.error.occurred", "event_outcome": "failure",
            "event_data": {"phase": "Enriching", "error": "forbidden"},
        }),
        transition("Enriching", "Failed"),
        json!({"event_type": "signalprocessing.signal.processed", "event_outcome": "failure", "event_data": {"phase": "Failed"}}),
    ];
    check_signal(&names, expected).await;
}

/// Has a component killed in the middle of a scenario.
pub(crate) async fn survives(component: Component) {
    fault::survives(component, "processed", &names()).await;
}

#[tokio::test]
async fn nothing_is_lost_when_data_storage_is_killed_in_the_middle() {
    survives(Component::DataStorage).await;
}

#[tokio::test]
async fn its_database_has_no_catalogue() {
    catalogue::is_absent().await;
}
