//! An audit event: as a client sends it in full, and as it is stored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::field::{FieldErrors, check_filled, check_text};
use crate::{EventData, limits, time};

/// The service area that emits an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum EventCategory {
    Gateway,
    Notification,
    Analysis,
    SignalProcessing,
    Workflow,
    Execution,
    Orchestration,
}

impl EventCategory {
    /// All values, in the order of the contract.
    pub const ALL: [Self; 7] = [
        Self::Gateway,
        Self::Notification,
        Self::Analysis,
        Self::SignalProcessing,
        Self::Workflow,
        Self::Execution,
        Self::Orchestration,
    ];

    /// The value on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Notification => "notification",
            Self::Analysis => "analysis",
            Self::SignalProcessing => "signalprocessing",
            Self::Workflow => "workflow",
            Self::Execution => "execution",
            Self::Orchestration => "orchestration",
        }
    }

    /// The category of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|category| category.as_str() == name)
    }
}

/// How what the event reports ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum EventOutcome {
    Success,
    Failure,
    Pending,
}

impl EventOutcome {
    /// All values, in the order of the contract.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Pending];

    /// The value on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Pending => "pending",
        }
    }

    /// The outcome of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == name)
    }
}

/// The full form of an event, as a client sends it.
///
/// Lengths in [`limits`]. An optional text that is empty counts as absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEventRequest {
    /// The client's key (D29); best a `UUIDv7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Uuid>,
    /// Version of the event's format, such as `1.0`.
    pub version: String,
    /// Such as `workflow.started`; free text.
    pub event_type: String,
    /// When it happened.
    pub event_timestamp: Timestamp,
    /// The emitting service area.
    pub event_category: EventCategory,
    /// Such as `started`.
    pub event_action: String,
    /// How it ended.
    pub event_outcome: EventOutcome,
    /// What ties the events of one remediation together.
    pub correlation_id: String,
    /// What the service has to say.
    pub event_data: EventData,
    /// Default `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_type: Option<String>,
    /// Default `<event_category>-service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// Default `event_category`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// Default `correlation_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// The event that caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_event_id: Option<Uuid>,
    /// Kubernetes namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Default `info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i32>,
}

impl AuditEventRequest {
    /// Checks the event as the server will, at time `now`. Every violation is in the error.
    pub fn validate(&self, now: Timestamp) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::default();
        self.check_texts(&mut errors);
        check_timestamp(
            &mut errors,
            self.event_timestamp,
            now,
            self.event_id.is_some(),
        );
        errors.or(())
    }

    /// Checks everything that does not depend on the clock.
    pub(crate) fn check_texts(&self, errors: &mut FieldErrors) {
        check_filled(errors, "version", &self.version, limits::VERSION);
        check_filled(errors, "event_type", &self.event_type, limits::EVENT_TYPE);
        check_filled(
            errors,
            "event_action",
            &self.event_action,
            limits::EVENT_ACTION,
        );
        check_filled(
            errors,
            "correlation_id",
            &self.correlation_id,
            limits::CORRELATION_ID,
        );
        for (field, text, limit) in [
            ("actor_type", &self.actor_type, limits::ACTOR_TYPE),
            ("actor_id", &self.actor_id, limits::ACTOR_ID),
            ("resource_type", &self.resource_type, limits::RESOURCE_TYPE),
            ("resource_id", &self.resource_id, limits::RESOURCE_ID),
            ("namespace", &self.namespace, limits::NAMESPACE),
            ("cluster_name", &self.cluster_name, limits::CLUSTER_NAME),
            ("severity", &self.severity, limits::SEVERITY),
        ] {
            if let Some(text) = text {
                check_text(errors, field, text, limit);
            }
        }
    }

    /// The event with the contract's defaults filled in, ready to be stored under `new_id` where the client gave none.
    pub fn into_stored(self, new_id: impl FnOnce() -> Uuid) -> NewEvent {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let category = self.event_category;
        NewEvent {
            event_id: self.event_id.unwrap_or_else(new_id),
            event_version: self.version,
            event_type: self.event_type,
            event_timestamp: time::to_microseconds(self.event_timestamp),
            event_category: category,
            event_action: self.event_action,
            event_outcome: self.event_outcome,
            actor_type: filled(self.actor_type).unwrap_or_else(|| "service".to_owned()),
            actor_id: filled(self.actor_id)
                .unwrap_or_else(|| format!("{}-service", category.as_str())),
            resource_type: filled(self.resource_type)
                .unwrap_or_else(|| category.as_str().to_owned()),
            resource_id: filled(self.resource_id).unwrap_or_else(|| self.correlation_id.clone()),
            correlation_id: self.correlation_id,
            parent_event_id: self.parent_event_id,
            namespace: filled(self.namespace),
            cluster_name: filled(self.cluster_name),
            event_data: self.event_data,
            severity: filled(self.severity).unwrap_or_else(|| "info".to_owned()),
            duration_ms: self.duration_ms,
        }
    }
}

/// Holds a timestamp to the bounds of D29.
pub(crate) fn check_timestamp(
    errors: &mut FieldErrors,
    timestamp: Timestamp,
    now: Timestamp,
    has_event_id: bool,
) {
    let oldest = time::oldest_accepted(now, has_event_id);
    if timestamp > now + limits::FUTURE {
        errors.add(
            "event_timestamp",
            format_args!(
                "is an invalid timestamp: {} ({timestamp}, the server's clock says {now})",
                time::AHEAD
            ),
        );
    } else if timestamp < oldest {
        errors.add(
            "event_timestamp",
            format_args!(
                "is an invalid timestamp: {} ({timestamp}, accepted from {oldest})",
                time::TOO_OLD
            ),
        );
    }
}

/// An event as it goes into the table: valid, defaults filled in, time in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns, described in the OpenAPI document"
)]
pub struct NewEvent {
    pub event_id: Uuid,
    pub event_version: String,
    pub event_type: String,
    pub event_timestamp: Timestamp,
    pub event_category: EventCategory,
    pub event_action: String,
    pub event_outcome: EventOutcome,
    pub actor_type: String,
    pub actor_id: String,
    pub resource_type: String,
    pub resource_id: String,
    pub correlation_id: String,
    pub parent_event_id: Option<Uuid>,
    pub namespace: Option<String>,
    pub cluster_name: Option<String>,
    pub event_data: EventData,
    pub severity: String,
    pub duration_ms: Option<i32>,
}
