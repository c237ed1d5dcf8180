//! The record of a notification: what the contract, the column's checks and the widths of the columns all allow.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::field::FieldErrors;
use crate::rules::{FILLED_255, Kind, Rule, nullable, optional, parse, required};
use crate::submission::SubmissionError;
use crate::{limits, time};

/// What was sent to whom, as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns, described in the OpenAPI document"
)]
pub struct NotificationAudit {
    pub remediation_id: String,
    /// Unique.
    pub notification_id: String,
    pub recipient: String,
    pub channel: String,
    pub message_summary: String,
    pub status: String,
    /// In microseconds.
    pub sent_at: Timestamp,
    #[serde(default)]
    pub delivery_status: Option<String>,
    #[serde(default)]
    pub error_message: Option<String>,
    #[serde(default)]
    pub escalation_level: i32,
}

/// A stored notification record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationAuditResponse {
    /// Number of the row.
    pub id: i64,
    /// What the client sent.
    #[serde(flatten)]
    pub record: NotificationAudit,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Equal to `created_at`: the table is append-only (D31).
    pub updated_at: Timestamp,
}

pub(crate) const NOTIFICATION: &[Rule] = &[
    required("remediation_id", FILLED_255),
    required("notification_id", FILLED_255),
    required("recipient", FILLED_255),
    required(
        "channel",
        Kind::OneOf(&["email", "slack", "pagerduty", "sms"]),
    ),
    required("message_summary", Kind::Text(1, 1000)),
    required(
        "status",
        Kind::OneOf(&["sent", "failed", "acknowledged", "escalated"]),
    ),
    required("sent_at", Kind::Time),
    nullable("delivery_status", Kind::Text(0, 255)),
    nullable("error_message", Kind::Text(0, 1000)),
    optional("escalation_level", Kind::Integer(0, 100)),
];

/// Reads the record of a notification, valid at time `now`.
pub fn parse_notification(
    body: &[u8],
    now: Timestamp,
) -> Result<NotificationAudit, SubmissionError> {
    let mut record: NotificationAudit = parse(body, NOTIFICATION)?;
    if record.sent_at > now + limits::FUTURE {
        let mut errors = FieldErrors::default();
        errors.add(
            "sent_at",
            format_args!(
                "must not be in the future ({}, the server's clock says {now})",
                record.sent_at
            ),
        );
        return Err(SubmissionError::Fields {
            first: None,
            errors,
        });
    }
    record.sent_at = time::to_microseconds(record.sent_at);
    Ok(record)
}
