//! The tables that the server reads and writes, with the columns it names.

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

/// The tables that the server reads or writes and the columns it names, each text one or more of them.
pub(crate) const TABLES: [(&str, &[&str]); 3] = [
    (
        "audit_events",
        &[
            "event_id",
            "event_version",
            "event_timestamp",
            "event_date",
            "event_type",
            "event_category",
            "event_action",
            "event_outcome",
            "actor_type",
            "actor_id",
            "resource_type",
            "resource_id",
            "correlation_id",
            "parent_event_id",
            "namespace",
            "cluster_name",
            "event_data",
            "severity",
            "duration_ms",
        ],
    ),
    (
        "remediation_workflow_catalog",
        &[WORKFLOW_OWN_COLUMNS, WORKFLOW_COLUMNS],
    ),
    (
        "notification_audit",
        &[NOTIFICATION_OWN_COLUMNS, NOTIFICATION_COLUMNS],
    ),
];
