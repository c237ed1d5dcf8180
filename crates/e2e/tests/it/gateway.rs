//! Audit events of the gateway: a signal, and the remediation request that it becomes.

use serde_json::{Value, json};
use testkit::events::{unique, with};

use crate::audit::{check, check_complete, correlated_in, event, found};
use crate::catalogue;
use crate::fault::{self, Component};
use crate::service::play;

/// The names of a test, none of which another test uses.
fn names() -> Value {
    json!({
        "request": unique("rr"), "fingerprint": unique("fp"), "source": "kubernetes", "alert_name": "PodCrashLooping", "namespace": "shop",
        "resource_name": "cart-5f",
    })
}

/// A signal's event, with everything of the signal under `gateway`.
fn signal(names: &Value, event_type: &str, action: &str, status: &str, occurrences: u32) -> Value {
    json!({
        "event_type": event_type, "event_category": "gateway", "event_action": action, "event_outcome": "success",
        "correlation_id": names["request"], "actor_type": "external", "actor_id": "kubernetes", "namespace": "shop",
        "resource_type": "Signal", "resource_id": names["fingerprint"],
        "event_data": {"gateway": {
            "signal_type": "kubernetes-alert", "alert_name": "PodCrashLooping", "namespace": "shop", "fingerprint": names["fingerprint"],
            "severity": "critical", "resource_kind": "Pod", "resource_name": "cart-5f", "remediation_request": request(names),
            "deduplication_status": status, "occurrence_count": occurrences,
        }},
    })
}

fn received(names: &Value) -> Value {
    signal(names, "gateway.signal.received", "received", "new", 1)
}

fn created(names: &Value) -> Value {
    json!({
        "event_type": "gateway.crd.created", "event_category": "gateway", "event_action": "created", "event_outcome": "success",
        "correlation_id": names["request"], "actor_type": "gateway", "actor_id": "crd-creator", "resource_type": "RemediationRequest",
        "resource_id": names["request"],
        "event_data": {"gateway": {
            "signal_fingerprint": names["fingerprint"], "signal_type": "kubernetes-alert", "alert_name": "PodCrashLooping",
            "resource_kind": "Pod", "resource_name": "cart-5f", "remediation_request": request(names),
        }},
    })
}

/// The remediation request as `namespace/name`.
fn request(names: &Value) -> String {
    format!("shop/{}", names["request"].as_str().unwrap())
}

#[tokio::test]
async fn a_new_signal_has_exactly_two_events() {
    let names = names();
    let played = play("new-signal", &names).await;
    let events = found(&correlated_in("gateway", &played.correlation_id)).await;
    check(&events, &[received(&names), created(&names)]);
    check_complete(&events, &played.emitted);
}

#[tokio::test]
async fn a_repeated_signal_is_deduplicated_under_the_same_request() {
    let names = names();
    let played = play("repeated-signal", &names).await;
    let duplicate = signal(
        &names,
        "gateway.signal.deduplicated",
        "deduplicated",
        "duplicate",
        2,
    );
    let events = found(&correlated_in("gateway", &played.correlation_id)).await;
    check(&events, &[received(&names), created(&names), duplicate]);
}

#[tokio::test]
async fn a_request_that_cannot_be_created_is_found_by_the_fingerprint() {
    let names = with(names(), json!({"error": "quota exceeded"}));
    play("refused-request", &names).await;
    let fingerprint = names["fingerprint"].as_str().unwrap();
    let failed = json!({
        "event_type": "gateway.crd.creation_failed", "event_action": "creation_failed", "event_outcome": "failure",
        "correlation_id": fingerprint, "resource_id": fingerprint,
        "event_data": {"gateway": {"signal_fingerprint": fingerprint, "error": "quota exceeded", "remediation_request": null}},
    });
    let events = found(&correlated_in("gateway", fingerprint)).await;
    check(
        &events,
        &[event(&json!({"event_category": "gateway"}), failed)],
    );
}

/// Has a component killed in the middle of a scenario.
pub(crate) async fn survives(component: Component) {
    fault::survives(component, "repeated-signal", &names()).await;
}

#[tokio::test]
async fn nothing_is_lost_when_data_storage_is_killed_in_the_middle() {
    survives(Component::DataStorage).await;
}

#[tokio::test]
async fn its_database_has_no_catalogue() {
    catalogue::is_absent().await;
}
