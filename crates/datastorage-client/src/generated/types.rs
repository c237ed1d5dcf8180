//! The schemas of the OpenAPI document.
//!
//! Made by `cargo run -p codegen -- client`; edit the document instead.

pub use datastorage_api::{
    AuditEventRequest, DatabaseErrorKind, EventCategory, EventOutcome, ProblemDetails,
};
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct AcceptedResponse {
    pub message: String,
    pub status: AcceptedResponseStatus,
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum AcceptedResponseStatus {
    #[serde(rename = "accepted")]
    Accepted,
}
impl ::std::fmt::Display for AcceptedResponseStatus {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Accepted => f.write_str("accepted"),
        }
    }
}
impl ::std::str::FromStr for AcceptedResponseStatus {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "accepted" => Ok(Self::Accepted),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for AcceptedResponseStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for AcceptedResponseStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
/// A stored audit event
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct AuditEvent {
    pub actor_id: String,
    pub actor_type: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub cluster_name: Option<String>,
    pub correlation_id: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub duration_ms: Option<i32>,
    pub event_action: String,
    pub event_category: String,
    pub event_data: ::serde_json::Map<String, ::serde_json::Value>,
    /// The UTC date of event_timestamp
    pub event_date: ::jiff::civil::Date,
    pub event_id: ::uuid::Uuid,
    pub event_outcome: String,
    pub event_timestamp: ::jiff::Timestamp,
    pub event_type: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub parent_event_id: Option<::uuid::Uuid>,
    pub resource_id: String,
    pub resource_type: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub severity: Option<String>,
    pub version: String,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct AuditEventBatchResponse {
    /// In the order of the request
    pub event_ids: Vec<::uuid::Uuid>,
    pub message: String,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct AuditEventResponse {
    pub event_id: ::uuid::Uuid,
    pub event_timestamp: ::jiff::Timestamp,
    pub message: String,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct AuditEventsQueryResponse {
    pub data: Vec<AuditEvent>,
    pub pagination: Pagination,
}
/// A team's own labels, several values each
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
#[serde(transparent)]
pub struct CustomLabels(pub ::std::collections::BTreeMap<String, Vec<String>>);
impl ::std::ops::Deref for CustomLabels {
    type Target = ::std::collections::BTreeMap<String, Vec<String>>;
    fn deref(&self) -> &::std::collections::BTreeMap<String, Vec<String>> {
        &self.0
    }
}
impl From<CustomLabels> for ::std::collections::BTreeMap<String, Vec<String>> {
    fn from(value: CustomLabels) -> Self {
        value.0
    }
}
impl From<::std::collections::BTreeMap<String, Vec<String>>> for CustomLabels {
    fn from(value: ::std::collections::BTreeMap<String, Vec<String>>) -> Self {
        Self(value)
    }
}
/// What was found in the cluster. A field named in failed_detections is unknown.
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, Default, PartialEq)]
pub struct DetectedLabels {
    #[serde(default, skip_serializing_if = "::std::vec::Vec::is_empty")]
    pub failed_detections: Vec<String>,
    #[serde(
        rename = "gitOpsManaged",
        skip_serializing_if = "::std::option::Option::is_none"
    )]
    pub git_ops_managed: Option<bool>,
    #[serde(
        rename = "gitOpsTool",
        skip_serializing_if = "::std::option::Option::is_none"
    )]
    pub git_ops_tool: Option<GitOpsTool>,
    #[serde(
        rename = "helmManaged",
        skip_serializing_if = "::std::option::Option::is_none"
    )]
    pub helm_managed: Option<bool>,
    #[serde(
        rename = "hpaEnabled",
        skip_serializing_if = "::std::option::Option::is_none"
    )]
    pub hpa_enabled: Option<bool>,
    #[serde(
        rename = "networkIsolated",
        skip_serializing_if = "::std::option::Option::is_none"
    )]
    pub network_isolated: Option<bool>,
    #[serde(
        rename = "pdbProtected",
        skip_serializing_if = "::std::option::Option::is_none"
    )]
    pub pdb_protected: Option<bool>,
    #[serde(
        rename = "serviceMesh",
        skip_serializing_if = "::std::option::Option::is_none"
    )]
    pub service_mesh: Option<ServiceMesh>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub stateful: Option<bool>,
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum GitOpsTool {
    #[serde(rename = "argocd")]
    Argocd,
    #[serde(rename = "flux")]
    Flux,
    #[serde(rename = "*")]
    X,
}
impl ::std::fmt::Display for GitOpsTool {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Argocd => f.write_str("argocd"),
            Self::Flux => f.write_str("flux"),
            Self::X => f.write_str("*"),
        }
    }
}
impl ::std::str::FromStr for GitOpsTool {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "argocd" => Ok(Self::Argocd),
            "flux" => Ok(Self::Flux),
            "*" => Ok(Self::X),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for GitOpsTool {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for GitOpsTool {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct HealthStatus {
    pub database: HealthStatusDatabase,
    pub status: HealthStatusStatus,
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum HealthStatusDatabase {
    #[serde(rename = "connected")]
    Connected,
    #[serde(rename = "disconnected")]
    Disconnected,
}
impl ::std::fmt::Display for HealthStatusDatabase {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Connected => f.write_str("connected"),
            Self::Disconnected => f.write_str("disconnected"),
        }
    }
}
impl ::std::str::FromStr for HealthStatusDatabase {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "connected" => Ok(Self::Connected),
            "disconnected" => Ok(Self::Disconnected),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for HealthStatusDatabase {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for HealthStatusDatabase {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum HealthStatusStatus {
    #[serde(rename = "healthy")]
    Healthy,
    #[serde(rename = "unhealthy")]
    Unhealthy,
}
impl ::std::fmt::Display for HealthStatusStatus {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Healthy => f.write_str("healthy"),
            Self::Unhealthy => f.write_str("unhealthy"),
        }
    }
}
impl ::std::str::FromStr for HealthStatusStatus {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "healthy" => Ok(Self::Healthy),
            "unhealthy" => Ok(Self::Unhealthy),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for HealthStatusStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for HealthStatusStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct IncidentSuccessRateResponse {
    pub failure_count: i64,
    pub success_count: i64,
    /// From 0 to 1
    pub success_rate: f64,
    pub total_count: i64,
    pub workflow_id: String,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct IncidentsResponse {
    /// Rows of resource_action_traces, by the names of its columns
    pub data: Vec<::serde_json::Map<String, ::serde_json::Value>>,
    pub pagination: IncidentsResponsePagination,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct IncidentsResponsePagination {
    pub has_more: bool,
    pub limit: i32,
    pub offset: i64,
    pub total: i64,
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum LabelPriority {
    P0,
    P1,
    P2,
    P3,
    #[serde(rename = "*")]
    X,
}
impl ::std::fmt::Display for LabelPriority {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::P0 => f.write_str("P0"),
            Self::P1 => f.write_str("P1"),
            Self::P2 => f.write_str("P2"),
            Self::P3 => f.write_str("P3"),
            Self::X => f.write_str("*"),
        }
    }
}
impl ::std::str::FromStr for LabelPriority {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "P0" => Ok(Self::P0),
            "P1" => Ok(Self::P1),
            "P2" => Ok(Self::P2),
            "P3" => Ok(Self::P3),
            "*" => Ok(Self::X),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for LabelPriority {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for LabelPriority {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum LabelSeverity {
    #[serde(rename = "critical")]
    Critical,
    #[serde(rename = "high")]
    High,
    #[serde(rename = "medium")]
    Medium,
    #[serde(rename = "low")]
    Low,
}
impl ::std::fmt::Display for LabelSeverity {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Critical => f.write_str("critical"),
            Self::High => f.write_str("high"),
            Self::Medium => f.write_str("medium"),
            Self::Low => f.write_str("low"),
        }
    }
}
impl ::std::str::FromStr for LabelSeverity {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "critical" => Ok(Self::Critical),
            "high" => Ok(Self::High),
            "medium" => Ok(Self::Medium),
            "low" => Ok(Self::Low),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for LabelSeverity {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for LabelSeverity {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct LivenessStatus {
    pub status: LivenessStatusStatus,
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum LivenessStatusStatus {
    #[serde(rename = "alive")]
    Alive,
}
impl ::std::fmt::Display for LivenessStatusStatus {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Alive => f.write_str("alive"),
        }
    }
}
impl ::std::str::FromStr for LivenessStatusStatus {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "alive" => Ok(Self::Alive),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for LivenessStatusStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for LivenessStatusStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
/// What every workflow declares about the signals it treats; `*` matches any component or priority.
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct MandatoryLabels {
    pub component: String,
    pub environment: String,
    pub priority: LabelPriority,
    pub severity: LabelSeverity,
    pub signal_type: String,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct NotificationAudit {
    pub channel: NotificationChannel,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub delivery_status: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub error_message: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub escalation_level: Option<i32>,
    pub message_summary: String,
    /// Unique
    pub notification_id: String,
    pub recipient: String,
    pub remediation_id: String,
    /// At most 5 minutes ahead
    pub sent_at: ::jiff::Timestamp,
    pub status: NotificationStatus,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct NotificationAuditResponse {
    pub channel: NotificationChannel,
    pub created_at: ::jiff::Timestamp,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub delivery_status: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub error_message: Option<String>,
    pub escalation_level: i32,
    pub id: i64,
    pub message_summary: String,
    pub notification_id: String,
    pub recipient: String,
    pub remediation_id: String,
    pub sent_at: ::jiff::Timestamp,
    pub status: NotificationStatus,
    pub updated_at: ::jiff::Timestamp,
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum NotificationChannel {
    #[serde(rename = "email")]
    Email,
    #[serde(rename = "slack")]
    Slack,
    #[serde(rename = "pagerduty")]
    Pagerduty,
    #[serde(rename = "sms")]
    Sms,
}
impl ::std::fmt::Display for NotificationChannel {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Email => f.write_str("email"),
            Self::Slack => f.write_str("slack"),
            Self::Pagerduty => f.write_str("pagerduty"),
            Self::Sms => f.write_str("sms"),
        }
    }
}
impl ::std::str::FromStr for NotificationChannel {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "email" => Ok(Self::Email),
            "slack" => Ok(Self::Slack),
            "pagerduty" => Ok(Self::Pagerduty),
            "sms" => Ok(Self::Sms),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for NotificationChannel {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for NotificationChannel {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum NotificationStatus {
    #[serde(rename = "sent")]
    Sent,
    #[serde(rename = "failed")]
    Failed,
    #[serde(rename = "acknowledged")]
    Acknowledged,
    #[serde(rename = "escalated")]
    Escalated,
}
impl ::std::fmt::Display for NotificationStatus {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Sent => f.write_str("sent"),
            Self::Failed => f.write_str("failed"),
            Self::Acknowledged => f.write_str("acknowledged"),
            Self::Escalated => f.write_str("escalated"),
        }
    }
}
impl ::std::str::FromStr for NotificationStatus {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "sent" => Ok(Self::Sent),
            "failed" => Ok(Self::Failed),
            "acknowledged" => Ok(Self::Acknowledged),
            "escalated" => Ok(Self::Escalated),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for NotificationStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for NotificationStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct Pagination {
    pub has_more: bool,
    pub limit: i32,
    /// Opaque; null on the last page
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub next_cursor: Option<String>,
    /// How many matches precede this page
    pub offset: i64,
    /// Exact count of matches; with a cursor the count of the first page
    pub total: i64,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct ParkedEntriesResponse {
    pub entries: Vec<ParkedEntry>,
    pub has_more: bool,
    pub total: i64,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct ParkedEntry {
    pub id: i64,
    pub parked_at: ::jiff::Timestamp,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub payload: Option<::serde_json::Map<String, ::serde_json::Value>>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub queued_at: Option<::jiff::Timestamp>,
    /// The bytes of an entry that cannot be read, as far as they are text
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub raw: Option<String>,
    /// Why the database refused it, or why it cannot be read
    pub reason: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub sqlstate: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub table: Option<String>,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct ReadinessStatus {
    /// What the schema lacks for the profile
    #[serde(default, skip_serializing_if = "::std::vec::Vec::is_empty")]
    pub missing: Vec<String>,
    /// The schema profile that was looked for
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub profile: Option<String>,
    /// What a person must look at in the write queue; it alone makes no instance unready
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub queue: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub reason: Option<ReadinessStatusReason>,
    pub status: ReadinessStatusStatus,
    /// What will fail later, such as partitions that are missing ahead, or is weaker than it should be, such as an audit trail that is not append-only; it makes no instance unready
    #[serde(default, skip_serializing_if = "::std::vec::Vec::is_empty")]
    pub warnings: Vec<String>,
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum ReadinessStatusReason {
    #[serde(rename = "shutting_down")]
    ShuttingDown,
    #[serde(rename = "database_unreachable")]
    DatabaseUnreachable,
    #[serde(rename = "schema_incomplete")]
    SchemaIncomplete,
    #[serde(rename = "queue_not_draining")]
    QueueNotDraining,
}
impl ::std::fmt::Display for ReadinessStatusReason {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::ShuttingDown => f.write_str("shutting_down"),
            Self::DatabaseUnreachable => f.write_str("database_unreachable"),
            Self::SchemaIncomplete => f.write_str("schema_incomplete"),
            Self::QueueNotDraining => f.write_str("queue_not_draining"),
        }
    }
}
impl ::std::str::FromStr for ReadinessStatusReason {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "shutting_down" => Ok(Self::ShuttingDown),
            "database_unreachable" => Ok(Self::DatabaseUnreachable),
            "schema_incomplete" => Ok(Self::SchemaIncomplete),
            "queue_not_draining" => Ok(Self::QueueNotDraining),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for ReadinessStatusReason {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for ReadinessStatusReason {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum ReadinessStatusStatus {
    #[serde(rename = "ready")]
    Ready,
    #[serde(rename = "not_ready")]
    NotReady,
}
impl ::std::fmt::Display for ReadinessStatusStatus {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Ready => f.write_str("ready"),
            Self::NotReady => f.write_str("not_ready"),
        }
    }
}
impl ::std::str::FromStr for ReadinessStatusStatus {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "ready" => Ok(Self::Ready),
            "not_ready" => Ok(Self::NotReady),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for ReadinessStatusStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for ReadinessStatusStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct RedriveResponse {
    pub redriven: i64,
}
/// One version of a workflow. Of a request's optional members the server sets workflow_id, is_latest_version, created_at and updated_at itself.
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct RemediationWorkflow {
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub actual_success_rate: Option<f64>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub approved_at: Option<::jiff::Timestamp>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub approved_by: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub change_summary: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub container_digest: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub container_image: Option<String>,
    pub content: String,
    /// SHA-256 of content, in hexadecimal digits
    pub content_hash: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub created_at: Option<::jiff::Timestamp>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub custom_labels: Option<CustomLabels>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub deprecation_notice: Option<String>,
    pub description: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub detected_labels: Option<DetectedLabels>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub disabled_at: Option<::jiff::Timestamp>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub disabled_by: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub disabled_reason: Option<String>,
    pub execution_engine: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub expected_duration_seconds: Option<i32>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub expected_success_rate: Option<f64>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub is_latest_version: Option<bool>,
    pub labels: MandatoryLabels,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub maintainer: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub owner: Option<String>,
    /// Any object, within the bounds of event_data
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub parameters: Option<::serde_json::Map<String, ::serde_json::Value>>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub previous_version: Option<String>,
    pub status: WorkflowStatus,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub status_reason: Option<String>,
    /// At most total_executions
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub successful_executions: Option<i32>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub total_executions: Option<i32>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub updated_at: Option<::jiff::Timestamp>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub updated_by: Option<String>,
    pub version: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub version_notes: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub workflow_id: Option<::uuid::Uuid>,
    pub workflow_name: String,
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum SearchPriority {
    P0,
    P1,
    P2,
    P3,
}
impl ::std::fmt::Display for SearchPriority {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::P0 => f.write_str("P0"),
            Self::P1 => f.write_str("P1"),
            Self::P2 => f.write_str("P2"),
            Self::P3 => f.write_str("P3"),
        }
    }
}
impl ::std::str::FromStr for SearchPriority {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "P0" => Ok(Self::P0),
            "P1" => Ok(Self::P1),
            "P2" => Ok(Self::P2),
            "P3" => Ok(Self::P3),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for SearchPriority {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for SearchPriority {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum ServiceMesh {
    #[serde(rename = "istio")]
    Istio,
    #[serde(rename = "linkerd")]
    Linkerd,
    #[serde(rename = "*")]
    X,
}
impl ::std::fmt::Display for ServiceMesh {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Istio => f.write_str("istio"),
            Self::Linkerd => f.write_str("linkerd"),
            Self::X => f.write_str("*"),
        }
    }
}
impl ::std::str::FromStr for ServiceMesh {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "istio" => Ok(Self::Istio),
            "linkerd" => Ok(Self::Linkerd),
            "*" => Ok(Self::X),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for ServiceMesh {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for ServiceMesh {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
/// Rates are percentages. Which was asked for is in incident_type, in workflow_id and workflow_version, or in dimensions.
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct SuccessRateResponse {
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub ai_execution_mode: Option<SuccessRateResponseAiExecutionMode>,
    #[serde(default, skip_serializing_if = "::std::vec::Vec::is_empty")]
    pub breakdown_by_action: Vec<SuccessRateResponseBreakdownByActionItem>,
    #[serde(default, skip_serializing_if = "::std::vec::Vec::is_empty")]
    pub breakdown_by_incident_type: Vec<SuccessRateResponseBreakdownByIncidentTypeItem>,
    #[serde(default, skip_serializing_if = "::std::vec::Vec::is_empty")]
    pub breakdown_by_workflow: Vec<SuccessRateResponseBreakdownByWorkflowItem>,
    /// By the number of executions: from 100, from 20, from 5, below
    pub confidence: SuccessRateResponseConfidence,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub dimensions: Option<SuccessRateResponseDimensions>,
    pub failed_executions: i64,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub incident_type: Option<String>,
    pub min_samples_met: bool,
    pub success_rate: f64,
    pub successful_executions: i64,
    pub time_range: String,
    pub total_executions: i64,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub workflow_id: Option<String>,
    /// Empty for all versions
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub workflow_version: Option<String>,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct SuccessRateResponseAiExecutionMode {
    pub catalog_selected: i64,
    pub chained: i64,
    pub manual_escalation: i64,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct SuccessRateResponseBreakdownByActionItem {
    pub action_type: String,
    pub executions: i64,
    pub success_rate: f64,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct SuccessRateResponseBreakdownByIncidentTypeItem {
    pub executions: i64,
    pub incident_type: String,
    pub success_rate: f64,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct SuccessRateResponseBreakdownByWorkflowItem {
    pub executions: i64,
    pub success_rate: f64,
    pub workflow_id: String,
    pub workflow_version: String,
}
/// By the number of executions: from 100, from 20, from 5, below
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum SuccessRateResponseConfidence {
    #[serde(rename = "high")]
    High,
    #[serde(rename = "medium")]
    Medium,
    #[serde(rename = "low")]
    Low,
    #[serde(rename = "insufficient_data")]
    InsufficientData,
}
impl ::std::fmt::Display for SuccessRateResponseConfidence {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::High => f.write_str("high"),
            Self::Medium => f.write_str("medium"),
            Self::Low => f.write_str("low"),
            Self::InsufficientData => f.write_str("insufficient_data"),
        }
    }
}
impl ::std::str::FromStr for SuccessRateResponseConfidence {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "high" => Ok(Self::High),
            "medium" => Ok(Self::Medium),
            "low" => Ok(Self::Low),
            "insufficient_data" => Ok(Self::InsufficientData),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for SuccessRateResponseConfidence {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for SuccessRateResponseConfidence {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, Default, PartialEq)]
pub struct SuccessRateResponseDimensions {
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub action_type: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub incident_type: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub workflow_id: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub workflow_version: Option<String>,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, Default, PartialEq)]
pub struct WorkflowDisableRequest {
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub updated_by: Option<String>,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct WorkflowListResponse {
    /// Whether versions follow: ask again with offset increased by the number of those in this page
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub has_more: Option<bool>,
    pub limit: i32,
    pub offset: i64,
    pub total: i64,
    pub workflows: Vec<RemediationWorkflow>,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct WorkflowSearchFilters {
    pub component: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub custom_labels: Option<CustomLabels>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub detected_labels: Option<DetectedLabels>,
    pub environment: String,
    pub priority: SearchPriority,
    pub severity: LabelSeverity,
    pub signal_type: String,
    /// Statuses that are found. Without it `active` ones, with include_disabled all.
    #[serde(default, skip_serializing_if = "::std::vec::Vec::is_empty")]
    pub status: Vec<WorkflowStatus>,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct WorkflowSearchRequest {
    pub filters: WorkflowSearchFilters,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub include_disabled: Option<bool>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub min_score: Option<f64>,
    /// The correlation id of the search's own audit event
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub remediation_id: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub top_k: Option<i32>,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct WorkflowSearchResponse {
    pub filters: WorkflowSearchFilters,
    /// All matches with at least min_score; workflows has the best top_k of them, fewer where they take more than 2 MiB
    pub total_results: i64,
    pub workflows: Vec<WorkflowSearchResult>,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct WorkflowSearchResult {
    pub confidence: f64,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub container_digest: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub container_image: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub custom_labels: Option<CustomLabels>,
    pub description: String,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub detected_labels: Option<DetectedLabels>,
    pub final_score: f64,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub label_boost: Option<f64>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub label_penalty: Option<f64>,
    pub rank: i32,
    pub signal_type: String,
    pub title: String,
    pub workflow_id: ::uuid::Uuid,
}
#[derive(
    ::serde::Deserialize,
    ::serde::Serialize,
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd
)]
pub enum WorkflowStatus {
    #[serde(rename = "active")]
    Active,
    #[serde(rename = "disabled")]
    Disabled,
    #[serde(rename = "deprecated")]
    Deprecated,
    #[serde(rename = "archived")]
    Archived,
}
impl ::std::fmt::Display for WorkflowStatus {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        match *self {
            Self::Active => f.write_str("active"),
            Self::Disabled => f.write_str("disabled"),
            Self::Deprecated => f.write_str("deprecated"),
            Self::Archived => f.write_str("archived"),
        }
    }
}
impl ::std::str::FromStr for WorkflowStatus {
    type Err = self::error::ConversionError;
    fn from_str(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        match value {
            "active" => Ok(Self::Active),
            "disabled" => Ok(Self::Disabled),
            "deprecated" => Ok(Self::Deprecated),
            "archived" => Ok(Self::Archived),
            _ => Err("invalid value".into()),
        }
    }
}
impl TryFrom<&str> for WorkflowStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: &str,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
impl TryFrom<String> for WorkflowStatus {
    type Error = self::error::ConversionError;
    fn try_from(
        value: String,
    ) -> ::std::result::Result<Self, self::error::ConversionError> {
        value.parse()
    }
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, Default, PartialEq)]
pub struct WorkflowUpdateRequest {
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub disabled_by: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub disabled_reason: Option<String>,
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub status: Option<WorkflowStatus>,
}
#[derive(::serde::Deserialize, ::serde::Serialize, Clone, Debug, PartialEq)]
pub struct WorkflowVersionsResponse {
    /// Whether there are older versions than those listed; each is in the list of all workflows
    #[serde(skip_serializing_if = "::std::option::Option::is_none")]
    pub has_more: Option<bool>,
    /// All versions of that name
    pub total: i64,
    pub versions: Vec<RemediationWorkflow>,
    pub workflow_name: String,
}
/// Error types.
pub mod error {
    /// Error from a `TryFrom` or `FromStr` implementation.
    pub struct ConversionError(::std::borrow::Cow<'static, str>);
    impl ::std::error::Error for ConversionError {}
    impl ::std::fmt::Display for ConversionError {
        fn fmt(
            &self,
            f: &mut ::std::fmt::Formatter<'_>,
        ) -> Result<(), ::std::fmt::Error> {
            ::std::fmt::Display::fmt(&self.0, f)
        }
    }
    impl ::std::fmt::Debug for ConversionError {
        fn fmt(
            &self,
            f: &mut ::std::fmt::Formatter<'_>,
        ) -> Result<(), ::std::fmt::Error> {
            ::std::fmt::Debug::fmt(&self.0, f)
        }
    }
    impl From<&'static str> for ConversionError {
        fn from(value: &'static str) -> Self {
            Self(value.into())
        }
    }
    impl From<String> for ConversionError {
        fn from(value: String) -> Self {
            Self(value.into())
        }
    }
}
