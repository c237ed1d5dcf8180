//! The contract of Data Storage: its OpenAPI document, wire types, problem details, and what makes an audit event valid.
//!
//! **Invariant:** this crate knows no database and no HTTP library (D1). The document is the source (D27): the client is
//! generated from it and the server is tested against it. What the types here add is validation that the server and the
//! emitting services share, so that nothing is accepted on one side and refused on the other.
//!
//! ```
//! # use datastorage_api::{SubmissionError, parse_event};
//! // The short form: time, version, type and data have defaults.
//! let body = br#"{"event_category": "workflow", "event_action": "started", "event_outcome": "success",
//!                 "resource_type": "WorkflowExecution", "correlation_id": "remediation-7"}"#;
//! let event = parse_event(body, jiff::Timestamp::now())?;
//! assert_eq!(event.event_type, "workflow.started");
//! # Ok::<(), SubmissionError>(())
//! ```
//!
//! [`parse_event`] and its like read what a server is sent; [`AuditEventRequest::validate`] checks the same before an event is sent.
//!
//! Modules, each may import those after it: `workflow`, `notification`, `response`, `rules`, `submission`, `event`, `event_data`, `problem`, `field`, `time`, `limits`, `paths`

mod event;
mod event_data;
mod field;
pub mod limits;
mod notification;
mod problem;
mod response;
mod rules;
mod submission;
pub mod time;
mod workflow;

pub use event::{AuditEventRequest, EventCategory, EventOutcome, NewEvent};
pub use event_data::{EventData, EventDataError};
pub use field::{FieldErrors, parse_uuid};
pub use notification::{NotificationAudit, NotificationAuditResponse, parse_notification};
pub use problem::{DEFAULT_PROBLEM_BASE, DatabaseErrorKind, ProblemDetails, ProblemType};
pub use response::{
    AcceptedResponse, AuditEvent, AuditEventBatchResponse, AuditEventResponse,
    AuditEventsQueryResponse, HealthStatus, LivenessStatus, Pagination, ParkedEntriesResponse,
    ParkedEntry, ReadinessStatus, RedriveResponse,
};
pub use submission::{SubmissionError, parse_batch, parse_event};
pub use workflow::{
    CustomLabels, DetectedLabels, MandatoryLabels, NewWorkflow, UpdateError, WORKFLOW_STATUSES,
    WorkflowDisableRequest, WorkflowListResponse, WorkflowSearchFilters, WorkflowSearchRequest,
    WorkflowSearchResponse, WorkflowSearchResult, WorkflowUpdateRequest, WorkflowVersionsResponse,
    parse_workflow, parse_workflow_disable, parse_workflow_search, parse_workflow_update,
};

/// The OpenAPI 3.0.3 document, as YAML.
pub const OPENAPI: &str = include_str!("../openapi/data-storage-v1.yaml");

/// The paths of the document, in the form of its templates.
pub mod paths {
    /// POST one audit event, GET a page of them.
    pub const AUDIT_EVENTS: &str = "/api/v1/audit/events";
    /// POST several audit events, all or none.
    pub const AUDIT_EVENTS_BATCH: &str = "/api/v1/audit/events/batch";
    /// POST the record of a notification.
    pub const NOTIFICATIONS: &str = "/api/v1/audit/notifications";
    /// POST a workflow version, GET a page of them.
    pub const WORKFLOWS: &str = "/api/v1/workflows";
    /// POST a search.
    pub const WORKFLOWS_SEARCH: &str = "/api/v1/workflows/search";
    /// GET all versions of a workflow.
    pub const WORKFLOW_VERSIONS: &str = "/api/v1/workflows/by-name/{workflow_name}/versions";
    /// GET or PATCH one workflow version.
    pub const WORKFLOW: &str = "/api/v1/workflows/{workflow_id}";
    /// PATCH: disable one workflow version.
    pub const WORKFLOW_DISABLE: &str = "/api/v1/workflows/{workflow_id}/disable";
    /// GET the success rate of what was done about a type of incident.
    pub const RATE_INCIDENT_TYPE: &str = "/api/v1/success-rate/incident-type";
    /// GET the success rate of a workflow.
    pub const RATE_WORKFLOW: &str = "/api/v1/success-rate/workflow";
    /// GET the success rate by several dimensions.
    pub const RATE_DIMENSIONS: &str = "/api/v1/success-rate/multi-dimensional";
    /// GET a page of action traces.
    pub const INCIDENTS: &str = "/api/v1/incidents";
    /// GET the success rate of an action or a workflow, at any time.
    pub const INCIDENTS_RATE: &str = "/api/v1/incidents/aggregate/success-rate";
    /// GET the writes that the database refused for good.
    pub const QUEUE_PARKED: &str = "/api/v1/queue/parked";
    /// DELETE one of them.
    pub const QUEUE_PARKED_ENTRY: &str = "/api/v1/queue/parked/{id}";
    /// POST: put parked writes back into the queue.
    pub const QUEUE_REDRIVE: &str = "/api/v1/queue/parked/redrive";
    /// Whether the database answers.
    pub const HEALTH: &str = "/health";
    /// Whether the instance can commit what its profile serves.
    pub const HEALTH_READY: &str = "/health/ready";
    /// Whether the process runs.
    pub const HEALTH_LIVE: &str = "/health/live";
    /// Metrics in the Prometheus text format.
    pub const METRICS: &str = "/metrics";
}
