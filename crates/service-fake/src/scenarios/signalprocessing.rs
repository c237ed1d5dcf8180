//! The signal processing controller: a signal is enriched, classified and categorised, or a step of that fails.

use audit_store::Event;
use audit_store::events::signalprocessing::{
    Signal, business_classified, classification_decision, enrichment_completed, error_occurred,
    phase_transition, signal_processed,
};
use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, unique};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Cast {
    /// Name of the `RemediationRequest` that the spec refers to, which correlates.
    remediation: String,
    /// Name of the `SignalProcessing`.
    name: String,
    signal: String,
    severity: String,
    environment: String,
    priority: String,
    error: String,
}

impl Default for Cast {
    fn default() -> Self {
        Self {
            remediation: unique("rr"),
            name: unique("sp"),
            signal: "HighMemoryUsage".to_owned(),
            severity: "critical".to_owned(),
            environment: "production".to_owned(),
            priority: "P0".to_owned(),
            error: "namespaces \"payments\" not found".to_owned(),
        }
    }
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "processed",
            "a signal is enriched, classified and categorised",
            |cast: &Cast| {
                vec![
                    cast.enters("Pending", "Enriching"),
                    enrichment_completed(&cast.remediation, &cast.enriched()),
                    cast.enters("Enriching", "Classifying"),
                    classification_decision(&cast.remediation, &cast.classified()),
                    cast.enters("Classifying", "Categorizing"),
                    business_classified(&cast.remediation, &cast.categorised()),
                    cast.enters("Categorizing", "Completed"),
                    signal_processed(&cast.remediation, &cast.completed(), true),
                ]
            },
        ),
        Scenario::new(
            "failed",
            "the cluster does not know what the signal is about",
            |cast: &Cast| {
                vec![
                    cast.enters("Pending", "Enriching"),
                    error_occurred(&cast.remediation, &cast.at("Enriching"), &cast.error)
                        .severity("error"),
                    cast.enters("Enriching", "Failed"),
                    signal_processed(&cast.remediation, &cast.at("Failed"), false),
                ]
            },
        ),
    ]
}

impl Cast {
    fn enters(&self, from: &str, to: &str) -> Event {
        phase_transition(&self.remediation, &self.at(to), from, to)
    }

    fn at(&self, phase: &str) -> Signal {
        Signal {
            name: self.name.clone(),
            signal: self.signal.clone(),
            severity: self.severity.clone(),
            phase: phase.to_owned(),
            ..Signal::default()
        }
    }

    fn enriched(&self) -> Signal {
        Signal {
            duration_ms: Some(35),
            ..self.at("Enriching")
        }
    }

    fn classified(&self) -> Signal {
        Signal {
            environment: Some(self.environment.clone()),
            environment_source: Some("namespace-labels".to_owned()),
            priority: Some(self.priority.clone()),
            priority_source: Some("rego-policy".to_owned()),
            ..self.at("Classifying")
        }
    }

    fn categorised(&self) -> Signal {
        Signal {
            phase: "Categorizing".to_owned(),
            criticality: Some("high".to_owned()),
            business_unit: Some("payments".to_owned()),
            ..self.classified()
        }
    }

    fn completed(&self) -> Signal {
        Signal {
            phase: "Completed".to_owned(),
            duration_ms: Some(180),
            ..self.categorised()
        }
    }
}
