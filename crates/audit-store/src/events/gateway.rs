//! Events of the gateway.

use datastorage_api::{EventCategory, EventOutcome};
use serde::{Deserialize, Serialize};

use crate::Event;

/// The signal that the gateway received, under the key `gateway` of `event_data`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Signal {
    /// Such as `prometheus-alert`.
    pub signal_type: String,
    /// Name of the alert.
    pub alert_name: String,
    /// Namespace of the resource.
    pub namespace: String,
    /// What makes the signal the same as another.
    pub fingerprint: String,
    /// Severity of the alert.
    pub severity: String,
    /// Kind of the resource.
    pub resource_kind: String,
    /// Name of the resource.
    pub resource_name: String,
    /// The remediation request as `namespace/name`.
    pub remediation_request: String,
    /// Whether the signal is new.
    pub deduplication_status: Deduplication,
    /// How often it was received.
    pub occurrence_count: u32,
}

/// Whether a signal is new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deduplication {
    /// Seen for the first time.
    #[default]
    New,
    /// Seen before.
    Duplicate,
}

/// The remediation request that the gateway makes of a signal, under the key `gateway` of `event_data`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemediationRequest {
    /// Fingerprint of the signal.
    pub signal_fingerprint: String,
    /// Type of the signal.
    pub signal_type: String,
    /// Name of the alert.
    pub alert_name: String,
    /// Namespace of the resource.
    pub namespace: String,
    /// Kind of the resource.
    pub resource_kind: String,
    /// Name of the resource.
    pub resource_name: String,
    /// The remediation request as `namespace/name`; empty if it was not created.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remediation_request: String,
    /// Why it was not created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Serialize)]
struct Data<'a, T> {
    gateway: &'a T,
}

/// A signal came in. `source` is where from, such as `prometheus`; `request` is the remediation request's name.
pub fn signal_received(source: &str, request: &str, signal: &Signal) -> Event {
    of_signal("gateway.signal.received", source, request, signal)
}

/// A signal came in that is known already.
pub fn signal_deduplicated(source: &str, request: &str, signal: &Signal) -> Event {
    of_signal("gateway.signal.deduplicated", source, request, signal)
}

/// The remediation request was created.
pub fn crd_created(request: &str, created: &RemediationRequest) -> Event {
    of_request(
        "gateway.crd.created",
        EventOutcome::Success,
        request,
        created,
    )
}

/// The remediation request could not be created: the signal's fingerprint correlates, as there is no request.
pub fn crd_creation_failed(created: &RemediationRequest) -> Event {
    of_request(
        "gateway.crd.creation_failed",
        EventOutcome::Failure,
        &created.signal_fingerprint,
        created,
    )
}

fn of_signal(event_type: &str, source: &str, request: &str, signal: &Signal) -> Event {
    Event::new(
        EventCategory::Gateway,
        event_type,
        EventOutcome::Success,
        request,
    )
    .actor("external", source)
    .resource("Signal", &signal.fingerprint)
    .namespace(&signal.namespace)
    .data(&Data { gateway: signal })
}

fn of_request(
    event_type: &str,
    outcome: EventOutcome,
    correlation_id: &str,
    request: &RemediationRequest,
) -> Event {
    Event::new(EventCategory::Gateway, event_type, outcome, correlation_id)
        .actor("gateway", "crd-creator")
        .resource("RemediationRequest", correlation_id)
        .namespace(&request.namespace)
        .data(&Data { gateway: request })
}
