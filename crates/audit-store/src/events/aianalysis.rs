//! Events of the AI analysis controller; the remediation id correlates.

use datastorage_api::EventCategory;
use serde::{Deserialize, Serialize};

use super::{by_service, outcome};
use crate::Event;

const ACTOR: &str = "aianalysis-controller";

/// Where an event belongs.
#[derive(Debug, Clone, Copy)]
pub struct Analysis<'a> {
    /// `spec.remediationID`.
    pub remediation_id: &'a str,
    /// Name of the analysis object.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

/// What the analysis came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Completion {
    /// Such as `Completed`.
    pub phase: String,
    /// Whether someone has to approve.
    pub approval_required: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_reason: Option<String>,
    /// Whether the analysis ran without all of its means.
    pub degraded_mode: bool,
    /// How many warnings it gave.
    pub warnings_count: u32,
    /// Confidence in the workflow, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// The workflow it chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
    /// Whether the target is owned by what the signal names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_in_owner_chain: Option<bool>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// More exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_reason: Option<String>,
}

/// Another phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhaseTransition {
    /// Before.
    pub old_phase: String,
    /// After.
    pub new_phase: String,
}

/// A call of the model's service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HolmesGptCall {
    /// The path that was called.
    pub endpoint: String,
    /// The answer's HTTP status.
    pub http_status_code: u16,
    /// How long it took.
    pub duration_ms: i32,
}

/// Whether a workflow may run without a person.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApprovalDecision {
    /// Whether a person has to approve.
    pub approval_required: bool,
    /// Why.
    pub approval_reason: String,
    /// Whether it was approved by the policy.
    pub auto_approved: bool,
    /// The decision in a word.
    pub decision: String,
    /// Such as `production`.
    pub environment: String,
    /// Confidence in the workflow, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// The workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
}

/// What the policy said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegoEvaluation {
    /// Its result.
    pub outcome: String,
    /// Whether it could not be evaluated and a safe default was taken.
    pub degraded: bool,
    /// How long it took.
    pub duration_ms: i32,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A step that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// The phase it happened in.
    pub phase: String,
    /// What happened.
    pub error: String,
}

/// The analysis ended.
pub fn analysis_completed(
    analysis: Analysis<'_>,
    completion: &Completion,
    succeeded: bool,
) -> Event {
    event(
        "aianalysis.analysis.completed",
        succeeded,
        analysis,
        completion,
    )
}

/// The analysis entered another phase.
pub fn phase_transition(analysis: Analysis<'_>, transition: &PhaseTransition) -> Event {
    event("aianalysis.phase.transition", true, analysis, transition)
}

/// The model's service was called; a status below 400 is a success.
pub fn holmesgpt_call(analysis: Analysis<'_>, call: &HolmesGptCall) -> Event {
    event(
        "aianalysis.holmesgpt.call",
        call.http_status_code < 400,
        analysis,
        call,
    )
    .duration_ms(call.duration_ms)
}

/// It was decided whether a person has to approve.
pub fn approval_decision(analysis: Analysis<'_>, decision: &ApprovalDecision) -> Event {
    event("aianalysis.approval.decision", true, analysis, decision)
}

/// The policy was evaluated.
pub fn rego_evaluation(analysis: Analysis<'_>, evaluation: &RegoEvaluation) -> Event {
    event(
        "aianalysis.rego.evaluation",
        !evaluation.degraded,
        analysis,
        evaluation,
    )
    .duration_ms(evaluation.duration_ms)
}

/// A step failed.
pub fn error_occurred(analysis: Analysis<'_>, failure: &Failure) -> Event {
    event("aianalysis.error.occurred", false, analysis, failure)
}

fn event(
    event_type: &str,
    succeeded: bool,
    analysis: Analysis<'_>,
    data: &impl Serialize,
) -> Event {
    by_service(
        EventCategory::Analysis,
        ACTOR,
        event_type,
        outcome(succeeded),
        analysis.remediation_id,
        data,
    )
    .resource("AIAnalysis", analysis.name)
    .namespace(analysis.namespace)
}
