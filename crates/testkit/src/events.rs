//! Audit events as the services write them, as JSON: the full form, valid unless a test says otherwise.

use serde_json::{Value, json};
use uuid::Uuid;

/// Returns a correlation id that no other test uses; it begins with `prefix`.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::now_v7().simple())
}

/// Returns an event with the required fields and nothing else, stamped now.
pub fn minimal(event_type: &str, category: &str, outcome: &str, correlation_id: &str) -> Value {
    let action = event_type.rsplit('.').next().unwrap_or(event_type);
    json!({
        "version": "1.0",
        "event_type": event_type,
        "event_timestamp": jiff::Timestamp::now().to_string(),
        "event_category": category,
        "event_action": action,
        "event_outcome": outcome,
        "correlation_id": correlation_id,
        "event_data": {},
    })
}

/// Returns the short form that hand-made requests use, with neither version nor type (D30).
pub fn short(
    category: &str,
    action: &str,
    outcome: &str,
    resource_type: &str,
    correlation_id: &str,
) -> Value {
    json!({
        "event_category": category,
        "event_action": action,
        "event_outcome": outcome,
        "resource_type": resource_type,
        "correlation_id": correlation_id,
    })
}

/// Returns `event` with `fields` (an object) put over its own.
pub fn with(mut event: Value, fields: Value) -> Value {
    let (Some(event_fields), Value::Object(fields)) = (event.as_object_mut(), fields) else {
        panic!("an event and its fields are objects");
    };
    event_fields.extend(fields);
    event
}

/// Returns `event` without the field `name`.
pub fn without(mut event: Value, name: &str) -> Value {
    let removed = event.as_object_mut().and_then(|fields| fields.remove(name));
    assert!(
        removed.is_some(),
        "the event has no field {name:?} to leave out"
    );
    event
}

/// The events of the workflowexecution controller; `execution` is the name of the `WorkflowExecution`.
pub mod workflow {
    use serde_json::{Value, json};

    use super::{minimal, with};

    /// Version 1.0 of the data that every event of an execution carries.
    fn execution_event(
        action: &str,
        outcome: &str,
        execution: &str,
        correlation_id: &str,
        data: Value,
    ) -> Value {
        let common = json!({
            "workflow_id": "restart-deployment",
            "workflow_version": "v1.2.0",
            "target_resource": "payments/deployment/checkout",
            "container_image": "registry.example/workflows/restart-deployment:v1.2.0",
            "execution_name": execution,
        });
        with(
            minimal(
                &format!("workflow.{action}"),
                "workflow",
                outcome,
                correlation_id,
            ),
            json!({
                "actor_type": "service",
                "actor_id": "workflowexecution-controller",
                "resource_type": "WorkflowExecution",
                "resource_id": execution,
                "namespace": "kubernaut-workflows",
                "event_data": with(common, data),
            }),
        )
    }

    /// The execution has a `PipelineRun`.
    pub fn started(execution: &str, correlation_id: &str) -> Value {
        let data = json!({
            "phase": "Running",
            "started_at": "2026-01-15T10:00:00Z",
            "pipelinerun_name": format!("wfe-{execution}"),
        });
        execution_event("started", "success", execution, correlation_id, data)
    }

    /// Its `PipelineRun` succeeded.
    pub fn completed(execution: &str, correlation_id: &str) -> Value {
        let data = json!({
            "phase": "Completed",
            "started_at": "2026-01-15T10:00:00Z",
            "completed_at": "2026-01-15T10:00:42Z",
            "duration": "42s",
            "pipelinerun_name": format!("wfe-{execution}"),
        });
        with(
            execution_event("completed", "success", execution, correlation_id, data),
            json!({"duration_ms": 42_000}),
        )
    }

    /// Its `PipelineRun` failed, and the event says in which task and why.
    pub fn failed(execution: &str, correlation_id: &str) -> Value {
        let data = json!({
            "phase": "Failed",
            "started_at": "2026-01-15T10:00:00Z",
            "completed_at": "2026-01-15T10:00:07Z",
            "duration": "7s",
            "failure_reason": "TaskFailed",
            "failure_message": "task rollout: deployment did not become available within 5 s",
            "failed_task_name": "rollout",
            "pipelinerun_name": format!("wfe-{execution}"),
        });
        with(
            execution_event("failed", "failure", execution, correlation_id, data),
            json!({"severity": "error"}),
        )
    }
}
