//! Bodies that the server answers with.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// 201 of a single event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEventResponse {
    /// The client's id, or the one that the server generated.
    pub event_id: Uuid,
    /// The time as stored, in microseconds.
    pub event_timestamp: Timestamp,
    /// For people.
    pub message: String,
}

/// 201 of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEventBatchResponse {
    /// In the order of the request.
    pub event_ids: Vec<Uuid>,
    /// For people.
    pub message: String,
}

/// 202: in the synced local queue, not in the database yet (D28).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AcceptedResponse {
    /// Always `accepted`.
    pub status: String,
    /// For people.
    pub message: String,
}

impl AcceptedResponse {
    /// The answer with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            status: "accepted".to_owned(),
            message: message.into(),
        }
    }
}

/// A stored audit event.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns, described in the OpenAPI document"
)]
pub struct AuditEvent<D = Box<RawValue>> {
    pub event_id: Uuid,
    pub version: String,
    pub event_type: String,
    pub event_timestamp: Timestamp,
    pub event_date: Date,
    pub event_category: String,
    pub event_action: String,
    pub event_outcome: String,
    pub actor_type: String,
    pub actor_id: String,
    pub resource_type: String,
    pub resource_id: String,
    pub correlation_id: String,
    pub parent_event_id: Option<Uuid>,
    pub namespace: Option<String>,
    pub cluster_name: Option<String>,
    pub severity: Option<String>,
    pub duration_ms: Option<i32>,
    pub event_data: D,
}

/// One page of events, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditEventsQueryResponse {
    /// The events.
    pub data: Vec<AuditEvent>,
    /// Where this page is.
    pub pagination: Pagination,
}

/// Where a page is among all matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pagination {
    /// Most events in this page.
    pub limit: i32,
    /// How many matches precede this page.
    pub offset: i64,
    /// Exact count of matches; with a cursor that of the first page.
    pub total: i64,
    /// Whether matches follow this page.
    pub has_more: bool,
    /// Asks for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// Queued writes that the database refused for good, or that cannot be read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ParkedEntriesResponse {
    /// Oldest first, at most the limit asked for and no more than fit into an answer.
    pub entries: Vec<ParkedEntry>,
    /// How many are parked in all.
    pub total: u64,
    /// Whether some follow: ask for those after the last one's id.
    pub has_more: bool,
}

/// One queued write that the database refused for good, or that cannot be read: then `raw` stands for what it says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ParkedEntry {
    /// Its number in the queue.
    pub id: u64,
    /// The table it is for.
    pub table: Option<String>,
    /// When it was accepted with a 202.
    pub queued_at: Option<Timestamp>,
    /// When it was parked.
    pub parked_at: Timestamp,
    /// Why.
    pub reason: String,
    /// PostgreSQL's error code.
    pub sqlstate: Option<String>,
    /// What was to be written.
    pub payload: Option<Box<RawValue>>,
    /// The bytes of an entry that cannot be read, as far as they are text.
    pub raw: Option<String>,
}

/// Answer of a re-drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedriveResponse {
    /// How many entries went back into the queue.
    pub redriven: u64,
}

/// Body of /health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// `healthy` or `unhealthy`.
    pub status: String,
    /// `connected` or `disconnected`.
    pub database: String,
}

/// Body of /health/ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessStatus {
    /// `ready` or `not_ready`.
    pub status: String,
    /// `shutting_down`, `database_unreachable`, `schema_incomplete` or `queue_not_draining`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The profile that was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What the schema lacks for the profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// What a person must look at in the write queue; it alone makes no instance unready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// What will fail later, or is weaker than it should be; it makes no instance unready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Body of /health/live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivenessStatus {
    /// Always `alive`.
    pub status: String,
}
