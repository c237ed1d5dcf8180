//! An event on its way into the store.

use datastorage_api::{
    AuditEventRequest, EventCategory, EventData, EventDataError, EventOutcome, FieldErrors,
};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

/// An audit event that a service emits.
///
/// Time and id are given at acceptance, in order, unless the caller sets them.
#[derive(Debug, Clone)]
pub struct Event {
    pub(crate) request: AuditEventRequest,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) data_error: Option<EventDataError>,
}

impl Event {
    /// Creates an event; its action is the last part of `event_type` unless [`Event::action`] says otherwise.
    pub fn new(
        category: EventCategory,
        event_type: impl Into<String>,
        outcome: EventOutcome,
        correlation_id: impl Into<String>,
    ) -> Self {
        let event_type = event_type.into();
        let action = event_type.rsplit('.').next().unwrap_or_default().to_owned();
        let request = AuditEventRequest {
            event_id: None,
            version: "1.0".to_owned(),
            event_type,
            event_timestamp: Timestamp::UNIX_EPOCH,
            event_category: category,
            event_action: action,
            event_outcome: outcome,
            correlation_id: correlation_id.into(),
            event_data: EventData::empty(),
            actor_type: None,
            actor_id: None,
            resource_type: None,
            resource_id: None,
            parent_event_id: None,
            namespace: None,
            cluster_name: None,
            severity: None,
            duration_ms: None,
        };
        Self {
            request,
            timestamp: None,
            data_error: None,
        }
    }

    /// Returns its type, such as `workflow.started`.
    pub fn event_type(&self) -> &str {
        &self.request.event_type
    }

    /// Returns what ties it to the other events of its remediation.
    pub fn correlation_id(&self) -> &str {
        &self.request.correlation_id
    }

    /// Sets what was done, such as `started`.
    #[must_use]
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.request.event_action = action.into();
        self
    }

    /// Sets what the service has to say: anything that serialises to a JSON object. Other values are reported when the event is stored.
    #[must_use]
    pub fn data(mut self, data: &impl Serialize) -> Self {
        match EventData::new(data) {
            Ok(data) => self.request.event_data = data,
            Err(error) => self.data_error = Some(error),
        }
        self
    }

    /// Sets who acted.
    #[must_use]
    pub fn actor(mut self, kind: impl Into<String>, id: impl Into<String>) -> Self {
        self.request.actor_type = Some(kind.into());
        self.request.actor_id = Some(id.into());
        self
    }

    /// Sets what was acted on.
    #[must_use]
    pub fn resource(mut self, kind: impl Into<String>, id: impl Into<String>) -> Self {
        self.request.resource_type = Some(kind.into());
        self.request.resource_id = Some(id.into());
        self
    }

    /// Sets the Kubernetes namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.request.namespace = Some(namespace.into());
        self
    }

    /// Sets the Kubernetes cluster.
    #[must_use]
    pub fn cluster_name(mut self, cluster_name: impl Into<String>) -> Self {
        self.request.cluster_name = Some(cluster_name.into());
        self
    }

    /// Sets the severity, such as `warning`.
    #[must_use]
    pub fn severity(mut self, severity: impl Into<String>) -> Self {
        self.request.severity = Some(severity.into());
        self
    }

    /// Sets how long it took, in milliseconds.
    #[must_use]
    pub fn duration_ms(mut self, duration_ms: i32) -> Self {
        self.request.duration_ms = Some(duration_ms);
        self
    }

    /// Sets the event that caused this one.
    #[must_use]
    pub fn parent(mut self, event_id: Uuid) -> Self {
        self.request.parent_event_id = Some(event_id);
        self
    }

    /// Sets the event's key; a repeat with the same key and time is stored once (D29).
    #[must_use]
    pub fn id(mut self, event_id: Uuid) -> Self {
        self.request.event_id = Some(event_id);
        self
    }

    /// Sets when it happened.
    #[must_use]
    pub fn at(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Returns what goes over the wire, for whoever sends it without a store: with an id and the time of now where it has none of its own.
    ///
    /// # Errors
    /// What the contract does not allow, by field.
    pub fn into_request(mut self) -> Result<AuditEventRequest, FieldErrors> {
        let now = Timestamp::now();
        self.complete(Uuid::now_v7(), now, now)?;
        Ok(self.request)
    }

    /// Gives it `id` and `at` where it has none of its own, and checks at time `now` what it is then.
    pub(crate) fn complete(
        &mut self,
        id: Uuid,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), FieldErrors> {
        self.request.event_id.get_or_insert(id);
        self.request.event_timestamp = self.timestamp.unwrap_or(at);
        let checked = self.request.validate(now);
        let Some(error) = self.data_error else {
            return checked;
        };
        let mut errors = checked.err().unwrap_or_default();
        errors.add("event_data", error);
        Err(errors)
    }

    /// Returns its id, once it is complete.
    pub(crate) fn event_id(&self) -> Uuid {
        self.request.event_id.unwrap_or_default()
    }
}

impl From<AuditEventRequest> for Event {
    /// Keeps the request's time, and its id if it has one.
    fn from(request: AuditEventRequest) -> Self {
        Self {
            timestamp: Some(request.event_timestamp),
            request,
            data_error: None,
        }
    }
}
