//! The workflow catalogue: what a client registers, changes and searches for, and what it gets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::field::FieldErrors;
use crate::rules::{
    FILLED, FILLED_255, Kind, Rule, TEXT, TEXT_255, nullable, optional, parse, required,
};
use crate::submission::SubmissionError;

/// What a workflow version can be; the search finds `active` ones unless it is asked for others.
pub const WORKFLOW_STATUSES: [&str; 4] = ["active", "disabled", "deprecated", "archived"];

/// A workflow version to be registered. The server itself sets id, times and which version is the latest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the columns, described in the OpenAPI document"
)]
pub struct NewWorkflow {
    pub workflow_name: String,
    pub version: String,
    pub name: String,
    pub description: String,
    pub owner: Option<String>,
    pub maintainer: Option<String>,
    pub content: String,
    pub content_hash: String,
    pub labels: MandatoryLabels,
    #[serde(default)]
    pub custom_labels: CustomLabels,
    #[serde(default)]
    pub detected_labels: DetectedLabels,
    pub parameters: Option<Box<RawValue>>,
    pub execution_engine: String,
    pub container_image: Option<String>,
    pub container_digest: Option<String>,
    pub status: String,
    pub status_reason: Option<String>,
    pub disabled_at: Option<Timestamp>,
    pub disabled_by: Option<String>,
    pub disabled_reason: Option<String>,
    pub previous_version: Option<String>,
    pub deprecation_notice: Option<String>,
    pub version_notes: Option<String>,
    pub change_summary: Option<String>,
    pub approved_by: Option<String>,
    pub approved_at: Option<Timestamp>,
    pub expected_success_rate: Option<f64>,
    pub expected_duration_seconds: Option<i32>,
    pub actual_success_rate: Option<f64>,
    #[serde(default)]
    pub total_executions: i32,
    #[serde(default)]
    pub successful_executions: i32,
    pub created_by: Option<String>,
    pub updated_by: Option<String>,
}

/// What every workflow declares about the signals it treats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the labels, described in the OpenAPI document")]
pub struct MandatoryLabels {
    pub signal_type: String,
    pub severity: String,
    pub component: String,
    pub environment: String,
    pub priority: String,
}

/// A team's own labels, several values each.
pub type CustomLabels = BTreeMap<String, Vec<String>>;

/// What was found in the cluster; an absent label is unknown, and so is one named in `failed_detections`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the labels, described in the OpenAPI document")]
pub struct DetectedLabels {
    #[serde(
        default,
        rename = "failed_detections",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub failed_detections: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_ops_managed: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_ops_tool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pdb_protected: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hpa_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stateful: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_managed: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_isolated: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_mesh: Option<String>,
}

/// One page of versions, newest first. The rows are as the database writes them: columns and members have the same names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the OpenAPI document")]
pub struct WorkflowListResponse {
    pub workflows: Vec<Box<RawValue>>,
    pub limit: i32,
    pub offset: i64,
    /// Exact count of matches.
    pub total: i64,
    /// Whether versions follow.
    #[serde(default)]
    pub has_more: bool,
}

/// All versions of a workflow, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the OpenAPI document")]
pub struct WorkflowVersionsResponse {
    pub workflow_name: String,
    pub versions: Vec<Box<RawValue>>,
    pub total: i64,
    /// Whether there are older versions than those listed.
    #[serde(default)]
    pub has_more: bool,
}

/// What can be changed of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns")]
pub struct WorkflowUpdateRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
}

/// Why a version is taken out of the search, and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the OpenAPI document")]
pub struct WorkflowDisableRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

/// A search of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowSearchRequest {
    /// What the workflows must and should fit.
    pub filters: WorkflowSearchFilters,
    /// Most results.
    #[serde(default = "default_top_k")]
    pub top_k: i32,
    /// Least final score, 0 to 1.
    #[serde(default)]
    pub min_score: f64,
    /// Whether versions of every status are found.
    #[serde(default)]
    pub include_disabled: bool,
    /// Correlation id of the search's own audit event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remediation_id: Option<String>,
}

fn default_top_k() -> i32 {
    10
}

/// What the workflows must fit, and the labels that raise or lower their score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the OpenAPI document")]
pub struct WorkflowSearchFilters {
    #[serde(flatten)]
    pub labels: MandatoryLabels,
    #[serde(default, skip_serializing_if = "CustomLabels::is_empty")]
    pub custom_labels: CustomLabels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_labels: Option<DetectedLabels>,
    /// Where given, it decides the statuses alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
}

/// The best matches, best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the OpenAPI document")]
pub struct WorkflowSearchResponse {
    pub workflows: Vec<WorkflowSearchResult>,
    /// Matches with at least the least score; `workflows` has the best `top_k` of them.
    pub total_results: usize,
    pub filters: WorkflowSearchFilters,
}

/// One match; flat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the OpenAPI document")]
pub struct WorkflowSearchResult {
    pub workflow_id: Uuid,
    pub title: String,
    pub description: String,
    pub signal_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_digest: Option<String>,
    /// Equal to `final_score`.
    pub confidence: f64,
    pub label_boost: f64,
    pub label_penalty: f64,
    pub final_score: f64,
    /// From 1.
    pub rank: usize,
    pub custom_labels: CustomLabels,
    pub detected_labels: DetectedLabels,
}

const STATUS: Kind = Kind::OneOf(&WORKFLOW_STATUSES);
const SEVERITY: Kind = Kind::OneOf(&["critical", "high", "medium", "low"]);

pub(crate) const LABELS: &[Rule] = &[
    required("signal_type", FILLED),
    required("severity", SEVERITY),
    required("component", FILLED),
    required("environment", FILLED),
    required("priority", Kind::OneOf(&["P0", "P1", "P2", "P3", "*"])),
];

const CUSTOM_LABELS: Kind = Kind::MapOf(&Kind::List(&TEXT));

pub(crate) const DETECTED_LABELS: &[Rule] = &[
    optional("failed_detections", Kind::List(&TEXT)),
    optional("gitOpsManaged", Kind::Boolean),
    optional("gitOpsTool", Kind::OneOf(&["argocd", "flux", "*"])),
    optional("pdbProtected", Kind::Boolean),
    optional("hpaEnabled", Kind::Boolean),
    optional("stateful", Kind::Boolean),
    optional("helmManaged", Kind::Boolean),
    optional("networkIsolated", Kind::Boolean),
    optional("serviceMesh", Kind::OneOf(&["istio", "linkerd", "*"])),
];

pub(crate) const WORKFLOW: &[Rule] = &[
    optional("workflow_id", Kind::Uuid),
    required("workflow_name", FILLED_255),
    required("version", Kind::Text(1, 50)),
    required("name", FILLED_255),
    required("description", FILLED),
    nullable("owner", TEXT_255),
    nullable("maintainer", TEXT_255),
    required("content", FILLED),
    required("content_hash", Kind::Text(64, 64)),
    required("labels", Kind::Object(LABELS)),
    optional("custom_labels", CUSTOM_LABELS),
    optional("detected_labels", Kind::Object(DETECTED_LABELS)),
    nullable("parameters", Kind::AnyObject),
    required("execution_engine", Kind::Text(1, 50)),
    nullable("container_image", TEXT),
    nullable("container_digest", Kind::Text(0, 71)),
    required("status", STATUS),
    nullable("status_reason", TEXT),
    nullable("disabled_at", Kind::Time),
    nullable("disabled_by", TEXT_255),
    nullable("disabled_reason", TEXT),
    optional("is_latest_version", Kind::Boolean),
    nullable("previous_version", Kind::Text(0, 50)),
    nullable("deprecation_notice", TEXT),
    nullable("version_notes", TEXT),
    nullable("change_summary", TEXT),
    nullable("approved_by", TEXT_255),
    nullable("approved_at", Kind::Time),
    nullable("expected_success_rate", Kind::UnitInterval),
    nullable(
        "expected_duration_seconds",
        Kind::Integer(i32::MIN, i32::MAX),
    ),
    nullable("actual_success_rate", Kind::UnitInterval),
    optional("total_executions", Kind::Integer(0, i32::MAX)),
    optional("successful_executions", Kind::Integer(0, i32::MAX)),
    optional("created_at", Kind::Time),
    optional("updated_at", Kind::Time),
    nullable("created_by", TEXT_255),
    nullable("updated_by", TEXT_255),
];

pub(crate) const UPDATE: &[Rule] = &[
    optional("status", STATUS),
    optional("disabled_by", TEXT_255),
    optional("disabled_reason", TEXT),
];

pub(crate) const DISABLE: &[Rule] = &[optional("reason", TEXT), optional("updated_by", TEXT_255)];

pub(crate) const SEARCH_FILTERS: &[Rule] = &[
    required("signal_type", FILLED),
    required("severity", SEVERITY),
    required("component", FILLED),
    required("environment", FILLED),
    required("priority", Kind::OneOf(&["P0", "P1", "P2", "P3"])),
    optional("custom_labels", CUSTOM_LABELS),
    optional("detected_labels", Kind::Object(DETECTED_LABELS)),
    optional("status", Kind::List(&STATUS)),
];

pub(crate) const SEARCH: &[Rule] = &[
    required("filters", Kind::Object(SEARCH_FILTERS)),
    optional("top_k", Kind::Integer(1, 100)),
    optional("min_score", Kind::UnitInterval),
    optional("include_disabled", Kind::Boolean),
    optional("remediation_id", TEXT_255),
];

/// Reads a workflow version to be registered.
pub fn parse_workflow(body: &[u8]) -> Result<NewWorkflow, SubmissionError> {
    let workflow: NewWorkflow = parse(body, WORKFLOW)?;
    if workflow.successful_executions > workflow.total_executions {
        let mut errors = FieldErrors::default();
        errors.add(
            "successful_executions",
            "must not be more than total_executions",
        );
        return Err(SubmissionError::Fields {
            first: None,
            errors,
        });
    }
    Ok(workflow)
}

/// Why a change of a version is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateError {
    /// The body names members that cannot change.
    Immutable(FieldErrors),
    /// The body is not what the operation takes.
    Submission(SubmissionError),
}

/// Members of a version that cannot change.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Immutable {
    #[serde(deserialize_with = "given")]
    description: Option<IgnoredAny>,
    #[serde(deserialize_with = "given")]
    content: Option<IgnoredAny>,
    #[serde(deserialize_with = "given")]
    labels: Option<IgnoredAny>,
}

/// That a member is there, be it null.
fn given<'de, D: Deserializer<'de>>(json: D) -> Result<Option<IgnoredAny>, D::Error> {
    IgnoredAny::deserialize(json).map(Some)
}

/// Reads a change of a version; description, content and labels are not among what can change.
pub fn parse_workflow_update(body: &[u8]) -> Result<WorkflowUpdateRequest, UpdateError> {
    let update = parse(body, UPDATE).map_err(UpdateError::Submission)?;
    let given: Immutable = serde_json::from_slice(body).unwrap_or_default();
    let mut errors = FieldErrors::default();
    for (field, given) in [
        ("description", given.description),
        ("content", given.content),
        ("labels", given.labels),
    ] {
        if given.is_some() {
            errors.add(
                field,
                "cannot change; register a new version of the workflow",
            );
        }
    }
    if errors.is_empty() {
        Ok(update)
    } else {
        Err(UpdateError::Immutable(errors))
    }
}

/// Reads who disables a version and why; an empty body says neither.
pub fn parse_workflow_disable(body: &[u8]) -> Result<WorkflowDisableRequest, SubmissionError> {
    if body.trim_ascii().is_empty() {
        return Ok(WorkflowDisableRequest::default());
    }
    parse(body, DISABLE)
}

/// Reads a search.
pub fn parse_workflow_search(body: &[u8]) -> Result<WorkflowSearchRequest, SubmissionError> {
    parse(body, SEARCH)
}
