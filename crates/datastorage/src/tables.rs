//! The tables that the server reads and writes, with the columns it names.

use datastorage_api::NewEvent;
use jiff::Timestamp;
use serde_json::value::RawValue;
use uuid::Uuid;

/// A column of `audit_events` and what an event has for it.
pub(crate) struct EventColumn {
    pub(crate) name: &'static str,
    /// Its type, by the name that a cast takes.
    pub(crate) sql_type: &'static str,
    pub(crate) value: fn(&NewEvent) -> Value<'_>,
}

/// A value of a column, borrowed from the event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Null,
    Uuid(Uuid),
    Text(&'a str),
    Time(Timestamp),
    /// The UTC date of a time (D25).
    DateOf(Timestamp),
    Json(&'a RawValue),
    Integer(i32),
}

impl Value<'_> {
    fn optional<T>(value: Option<T>, of: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Value::Null, of)
    }
}

const fn column(
    name: &'static str,
    sql_type: &'static str,
    value: fn(&NewEvent) -> Value<'_>,
) -> EventColumn {
    EventColumn {
        name,
        sql_type,
        value,
    }
}

/// Every column of an event, in the order in which rows are written: every statement that names them is made from this list.
pub(crate) const EVENT_COLUMNS: [EventColumn; 19] = [
    column("event_id", "uuid", |e| Value::Uuid(e.event_id)),
    column("event_version", "text", |e| Value::Text(&e.event_version)),
    column("event_timestamp", "timestamptz", |e| {
        Value::Time(e.event_timestamp)
    }),
    column("event_date", "date", |e| Value::DateOf(e.event_timestamp)),
    column("event_type", "text", |e| Value::Text(&e.event_type)),
    column("event_category", "text", |e| {
        Value::Text(e.event_category.as_str())
    }),
    column("event_action", "text", |e| Value::Text(&e.event_action)),
    column("event_outcome", "text", |e| {
        Value::Text(e.event_outcome.as_str())
    }),
    column("actor_type", "text", |e| Value::Text(&e.actor_type)),
    column("actor_id", "text", |e| Value::Text(&e.actor_id)),
    column("resource_type", "text", |e| Value::Text(&e.resource_type)),
    column("resource_id", "text", |e| Value::Text(&e.resource_id)),
    column("correlation_id", "text", |e| Value::Text(&e.correlation_id)),
    column("parent_event_id", "uuid", |e| {
        Value::optional(e.parent_event_id, Value::Uuid)
    }),
    column("namespace", "text", |e| {
        Value::optional(e.namespace.as_deref(), Value::Text)
    }),
    column("cluster_name", "text", |e| {
        Value::optional(e.cluster_name.as_deref(), Value::Text)
    }),
    column("event_data", "jsonb", |e| {
        Value::Json(e.event_data.as_raw())
    }),
    column("severity", "text", |e| Value::Text(&e.severity)),
    column("duration_ms", "integer", |e| {
        Value::optional(e.duration_ms, Value::Integer)
    }),
];

/// The names in [`EVENT_COLUMNS`].
const EVENT_COLUMN_NAMES: [&str; EVENT_COLUMNS.len()] = {
    let mut names = [""; EVENT_COLUMNS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = EVENT_COLUMNS[at].name;
        at += 1;
    }
    names
};

/// What the server itself says of a version.
pub(crate) const WORKFLOW_OWN_COLUMNS: &str =
    "workflow_id, is_latest_version, created_at, updated_at";

/// What a client may say of a version.
pub(crate) const WORKFLOW_COLUMNS: &str = "workflow_name, version, name, description, owner, maintainer, content, content_hash, labels, custom_labels,
    detected_labels, parameters, execution_engine, container_image, container_digest, status, status_reason, disabled_at,
    disabled_by, disabled_reason, previous_version, deprecation_notice, version_notes, change_summary, approved_by, approved_at,
    expected_success_rate, expected_duration_seconds, actual_success_rate, total_executions, successful_executions, created_by,
    updated_by";

/// What the database itself says of a record.
pub(crate) const NOTIFICATION_OWN_COLUMNS: &str = "id, created_at, updated_at";

/// What a client says of a notification.
pub(crate) const NOTIFICATION_COLUMNS: &str =
    "remediation_id, notification_id, recipient, channel, message_summary, status, sent_at,
    delivery_status, error_message, escalation_level";

/// What the server reads of an action on a resource, beside whole rows.
const TRACE_COLUMNS: &str = "id, action_id, action_timestamp, action_type, execution_status, signal_name, signal_severity, incident_type,
    workflow_id, workflow_version, ai_selected_workflow, ai_chained_workflows, ai_manual_escalation";

/// The tables that the server reads or writes and the columns it names, each text one or more of them.
pub(crate) const TABLES: [(&str, &[&str]); 4] = [
    ("audit_events", &EVENT_COLUMN_NAMES),
    (
        "remediation_workflow_catalog",
        &[WORKFLOW_OWN_COLUMNS, WORKFLOW_COLUMNS],
    ),
    (
        "notification_audit",
        &[NOTIFICATION_OWN_COLUMNS, NOTIFICATION_COLUMNS],
    ),
    ("resource_action_traces", &[TRACE_COLUMNS]),
];

/// Those among them that other services write.
pub(crate) const ONLY_READ: [&str; 1] = ["resource_action_traces"];
