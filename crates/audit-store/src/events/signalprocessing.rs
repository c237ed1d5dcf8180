//! Events of the signal processing controller; the remediation request's name correlates.

use datastorage_api::EventCategory;
use serde::{Deserialize, Serialize};

use super::{by_service, outcome};
use crate::Event;

const ACTOR: &str = "signalprocessing-controller";

/// What is known of a signal; what a step has not found out yet is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Signal {
    /// Name of the signal processing object; not part of `event_data`.
    #[serde(skip)]
    pub name: String,
    /// Name of the signal.
    pub signal: String,
    /// Its severity.
    pub severity: String,
    /// Phase of the processing.
    pub phase: String,
    /// Such as `production`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What determined the environment, such as `namespace-labels`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_source: Option<String>,
    /// Such as `P0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// What determined the priority, such as `rego-policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_source: Option<String>,
    /// How critical the business takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub criticality: Option<String>,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business_unit: Option<String>,
    /// How long the step took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i32>,
}

#[derive(Serialize)]
struct Transition<'a> {
    #[serde(flatten)]
    signal: &'a Signal,
    from_phase: &'a str,
    to_phase: &'a str,
}

#[derive(Serialize)]
struct Failed<'a> {
    #[serde(flatten)]
    signal: &'a Signal,
    error: &'a str,
}

/// Processing ended.
pub fn signal_processed(remediation: &str, signal: &Signal, succeeded: bool) -> Event {
    event(
        "signalprocessing.signal.processed",
        succeeded,
        remediation,
        signal,
        signal,
    )
}

/// Processing entered another phase.
pub fn phase_transition(
    remediation: &str,
    signal: &Signal,
    from_phase: &str,
    to_phase: &str,
) -> Event {
    event(
        "signalprocessing.phase.transition",
        true,
        remediation,
        signal,
        &Transition {
            signal,
            from_phase,
            to_phase,
        },
    )
}

/// Environment and priority are decided.
pub fn classification_decision(remediation: &str, signal: &Signal) -> Event {
    event(
        "signalprocessing.classification.decision",
        true,
        remediation,
        signal,
        signal,
    )
}

/// The business fields are decided.
pub fn business_classified(remediation: &str, signal: &Signal) -> Event {
    event(
        "signalprocessing.business.classified",
        true,
        remediation,
        signal,
        signal,
    )
}

/// What the cluster knows was added.
pub fn enrichment_completed(remediation: &str, signal: &Signal) -> Event {
    event(
        "signalprocessing.enrichment.completed",
        true,
        remediation,
        signal,
        signal,
    )
}

/// A step failed.
pub fn error_occurred(remediation: &str, signal: &Signal, error: &str) -> Event {
    event(
        "signalprocessing.error.occurred",
        false,
        remediation,
        signal,
        &Failed { signal, error },
    )
}

fn event(
    event_type: &str,
    succeeded: bool,
    remediation: &str,
    signal: &Signal,
    data: &impl Serialize,
) -> Event {
    let event = by_service(
        EventCategory::SignalProcessing,
        ACTOR,
        event_type,
        outcome(succeeded),
        remediation,
        data,
    );
    let event = event.resource("SignalProcessing", &signal.name);
    match signal.duration_ms {
        Some(duration) => event.duration_ms(duration),
        None => event,
    }
}
