//! Events of the model's service, which does not name itself: Data Storage takes `analysis-service` as the actor.

use datastorage_api::{EventCategory, EventOutcome};
use serde::{Deserialize, Serialize};

use super::outcome;
use crate::Event;

/// A question to the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LlmRequest {
    /// The incident.
    pub incident_id: String,
    /// The model.
    pub model: String,
    /// Characters of the prompt.
    pub prompt_length: u64,
}

/// An answer of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LlmResponse {
    /// The incident.
    pub incident_id: String,
    /// Whether there is an analysis in it.
    pub has_analysis: bool,
    /// Characters of the answer.
    pub analysis_length: u64,
}

/// A tool that the model called.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LlmToolCall {
    /// The incident.
    pub incident_id: String,
    /// Number of the call.
    pub tool_call_index: u32,
    /// The tool.
    pub tool_name: String,
}

/// A check whether the chosen workflow can run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ValidationAttempt {
    /// The incident.
    pub incident_id: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Most attempts.
    pub max_attempts: u32,
    /// Whether it can.
    pub is_valid: bool,
    /// What is wrong with it.
    pub errors: Vec<String>,
}

/// The model was asked.
pub fn llm_request(remediation_id: &str, request: &LlmRequest) -> Event {
    event(
        "llm_request",
        EventOutcome::Success,
        remediation_id,
        request,
    )
}

/// The model answered.
pub fn llm_response(remediation_id: &str, response: &LlmResponse) -> Event {
    event(
        "llm_response",
        outcome(response.has_analysis),
        remediation_id,
        response,
    )
}

/// The model called a tool.
pub fn llm_tool_call(remediation_id: &str, call: &LlmToolCall) -> Event {
    event("llm_tool_call", EventOutcome::Success, remediation_id, call)
}

/// The chosen workflow was looked at; pending while attempts are left.
pub fn workflow_validation_attempt(remediation_id: &str, attempt: &ValidationAttempt) -> Event {
    let outcome = match attempt.is_valid {
        false if attempt.attempt < attempt.max_attempts => EventOutcome::Pending,
        valid => outcome(valid),
    };
    event(
        "workflow_validation_attempt",
        outcome,
        remediation_id,
        attempt,
    )
}

fn event(
    event_type: &str,
    outcome: EventOutcome,
    remediation_id: &str,
    data: &impl Serialize,
) -> Event {
    Event::new(EventCategory::Analysis, event_type, outcome, remediation_id).data(data)
}
