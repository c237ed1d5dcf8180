//! Events of the workflow execution controller.

use datastorage_api::{EventCategory, EventOutcome};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::by_service;
use crate::Event;

const ACTOR: &str = "workflowexecution-controller";

/// What the controller knows of an execution.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Execution {
    /// The workflow that runs.
    pub workflow_id: String,
    /// Its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workflow_version: String,
    /// What it treats, such as `production/deployment/api`.
    pub target_resource: String,
    /// Phase of the execution, such as `Running`.
    pub phase: String,
    /// Image with the workflow's steps.
    pub container_image: String,
    /// Name of the execution.
    pub execution_name: String,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// How long it took, such as `1m30s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Why it failed, one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Why it failed, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
    /// The task that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_task_name: Option<String>,
    /// The pipeline run that executes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipelinerun_name: Option<String>,
}

/// The execution began. `label` is that of `kubernaut.ai/correlation-id`; without it the execution's name correlates.
pub fn started(label: Option<&str>, execution: &Execution) -> Event {
    event("workflow.started", EventOutcome::Success, label, execution)
}

/// The execution succeeded.
pub fn completed(label: Option<&str>, execution: &Execution) -> Event {
    event(
        "workflow.completed",
        EventOutcome::Success,
        label,
        execution,
    )
}

/// The execution failed; give `failure_reason` and `failure_message`.
pub fn failed(label: Option<&str>, execution: &Execution) -> Event {
    event("workflow.failed", EventOutcome::Failure, label, execution)
}

fn event(
    event_type: &str,
    outcome: EventOutcome,
    label: Option<&str>,
    execution: &Execution,
) -> Event {
    let correlation_id = label.unwrap_or(&execution.execution_name);
    by_service(
        EventCategory::Workflow,
        ACTOR,
        event_type,
        outcome,
        correlation_id,
        execution,
    )
    .resource("WorkflowExecution", &execution.execution_name)
}
