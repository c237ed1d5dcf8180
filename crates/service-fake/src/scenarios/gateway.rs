//! The gateway: a signal comes in, and becomes a remediation request unless it is known already.

use audit_store::Event;
use audit_store::events::gateway::{
    Deduplication, RemediationRequest, Signal, crd_created, crd_creation_failed,
    signal_deduplicated, signal_received,
};
use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, unique};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Cast {
    /// Name of the `RemediationRequest`, which correlates.
    request: String,
    /// Namespace of the request and of the resource.
    namespace: String,
    /// Where the signal comes from: `prometheus` or `kubernetes`.
    source: String,
    alert_name: String,
    /// What makes the signal the same as another; correlates while there is no request.
    fingerprint: String,
    resource_name: String,
    error: String,
}

impl Default for Cast {
    fn default() -> Self {
        Self {
            request: unique("rr"),
            namespace: "payments".to_owned(),
            source: "prometheus".to_owned(),
            alert_name: "HighMemoryUsage".to_owned(),
            fingerprint: unique("fingerprint"),
            resource_name: "checkout-7d9c".to_owned(),
            error: "admission webhook denied the request".to_owned(),
        }
    }
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "new-signal",
            "a signal comes in and becomes a remediation request",
            |cast: &Cast| vec![cast.received(), cast.created()],
        ),
        Scenario::new(
            "repeated-signal",
            "a signal comes in, becomes a remediation request, and comes in again",
            |cast: &Cast| vec![cast.received(), cast.created(), cast.deduplicated()],
        ),
        Scenario::new(
            "refused-request",
            "the remediation request of a signal cannot be created",
            |cast: &Cast| vec![cast.creation_failed()],
        ),
    ]
}

impl Cast {
    fn received(&self) -> Event {
        signal_received(
            &self.source,
            &self.request,
            &self.signal(Deduplication::New, 1),
        )
    }

    fn deduplicated(&self) -> Event {
        signal_deduplicated(
            &self.source,
            &self.request,
            &self.signal(Deduplication::Duplicate, 2),
        )
    }

    fn created(&self) -> Event {
        let request = RemediationRequest {
            remediation_request: self.namespaced_request(),
            ..self.wanted_request()
        };
        crd_created(&self.request, &request)
    }

    fn creation_failed(&self) -> Event {
        crd_creation_failed(&RemediationRequest {
            error: Some(self.error.clone()),
            ..self.wanted_request()
        })
    }

    fn signal(&self, deduplication_status: Deduplication, occurrence_count: u32) -> Signal {
        Signal {
            signal_type: self.signal_type(),
            alert_name: self.alert_name.clone(),
            namespace: self.namespace.clone(),
            fingerprint: self.fingerprint.clone(),
            severity: "critical".to_owned(),
            resource_kind: "Pod".to_owned(),
            resource_name: self.resource_name.clone(),
            remediation_request: self.namespaced_request(),
            deduplication_status,
            occurrence_count,
        }
    }

    fn wanted_request(&self) -> RemediationRequest {
        RemediationRequest {
            signal_fingerprint: self.fingerprint.clone(),
            signal_type: self.signal_type(),
            alert_name: self.alert_name.clone(),
            namespace: self.namespace.clone(),
            resource_kind: "Pod".to_owned(),
            resource_name: self.resource_name.clone(),
            remediation_request: String::new(),
            error: None,
        }
    }

    fn signal_type(&self) -> String {
        format!("{}-alert", self.source)
    }

    fn namespaced_request(&self) -> String {
        format!("{}/{}", self.namespace, self.request)
    }
}
