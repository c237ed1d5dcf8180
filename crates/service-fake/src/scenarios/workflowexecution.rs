//! The workflow execution controller: a workflow runs as a Tekton pipeline, and succeeds or fails.

use audit_store::Event;
use audit_store::events::workflowexecution::{Execution, completed, failed, started};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, unique};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Cast {
    /// Name of the `WorkflowExecution`, which correlates where there is no label.
    execution: String,
    /// Value of its label `kubernaut.ai/correlation-id`.
    correlation_id: Option<String>,
    workflow_id: String,
    target_resource: String,
    failure_reason: String,
    failure_message: String,
}

impl Default for Cast {
    fn default() -> Self {
        Self {
            execution: unique("wfe"),
            correlation_id: None,
            workflow_id: "restart-deployment".to_owned(),
            target_resource: "payments/deployment/checkout".to_owned(),
            failure_reason: "TaskFailed".to_owned(),
            failure_message: "task rollout: the deployment did not become available".to_owned(),
        }
    }
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "completed",
            "a workflow runs and succeeds",
            |cast: &Cast| vec![cast.started(), cast.completed()],
        ),
        Scenario::new(
            "failed",
            "a workflow runs and a task of it fails",
            |cast: &Cast| vec![cast.started(), cast.failed()],
        ),
        Scenario::new(
            "failed-before-start",
            "a workflow fails before it has a pipeline run",
            |cast: &Cast| vec![cast.failed_before_start()],
        ),
    ]
}

impl Cast {
    fn started(&self) -> Event {
        started(self.label(), &self.running())
    }

    fn completed(&self) -> Event {
        let execution = ended(self.running(), "Completed", 42);
        completed(self.label(), &execution).duration_ms(42_000)
    }

    fn failed(&self) -> Event {
        let execution = Execution {
            failed_task_name: Some("rollout".to_owned()),
            ..self.with_failure(ended(self.running(), "Failed", 7))
        };
        failed(self.label(), &execution).severity("error")
    }

    fn failed_before_start(&self) -> Event {
        let execution = Execution {
            phase: "Failed".to_owned(),
            started_at: None,
            pipelinerun_name: None,
            ..self.with_failure(self.running())
        };
        failed(self.label(), &execution).severity("error")
    }

    fn label(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    fn running(&self) -> Execution {
        Execution {
            workflow_id: self.workflow_id.clone(),
            workflow_version: "v1.2.0".to_owned(),
            target_resource: self.target_resource.clone(),
            phase: "Running".to_owned(),
            container_image: format!("registry.example/workflows/{}:v1.2.0", self.workflow_id),
            execution_name: self.execution.clone(),
            started_at: Some(Timestamp::now()),
            pipelinerun_name: Some(format!("wfe-{}", self.execution)),
            ..Execution::default()
        }
    }

    fn with_failure(&self, execution: Execution) -> Execution {
        Execution {
            failure_reason: Some(self.failure_reason.clone()),
            failure_message: Some(self.failure_message.clone()),
            ..execution
        }
    }
}

/// Nothing really runs: the execution is said to have begun as long ago as it took.
fn ended(execution: Execution, phase: &str, seconds: i64) -> Execution {
    let now = Timestamp::now();
    Execution {
        phase: phase.to_owned(),
        started_at: now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
        completed_at: Some(now),
        duration: Some(format!("{seconds}s")),
        ..execution
    }
}
