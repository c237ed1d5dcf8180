//! Audit events of workflow executions, found as the controller's suites look for them.

use datastorage_client::QueryAuditEvents;
use serde_json::{Value, json};
use testkit::events::{unique, with, workflow};

use crate::audit::{
    self, SOME, assert_names_the_missing_table, check, check_complete, correlated_in, event, found,
};
use crate::environment::{datastorage, unmigrated_datastorage};
use crate::fault::{self, Component};
use crate::service::play;

/// What every event of an execution has; the controller's suites look for each of these payload fields.
fn execution_event(execution: &str, own: Value) -> Value {
    let common = json!({
        "event_category": "workflow", "correlation_id": execution, "actor_type": "service", "actor_id": "workflowexecution-controller",
        "resource_type": "WorkflowExecution", "resource_id": execution,
        "event_data": {
            "workflow_id": "scale-up", "workflow_version": SOME, "target_resource": "shop/deployment/cart", "execution_name": execution,
            "container_image": SOME, "phase": SOME,
        },
    });
    event(&common, own)
}

fn started(execution: &str) -> Value {
    let data = json!({"phase": "Running", "started_at": SOME, "pipelinerun_name": SOME});
    let own = json!({"event_type": "workflow.started", "event_action": "started", "event_outcome": "success", "event_data": data});
    execution_event(execution, own)
}

fn names(execution: &str) -> Value {
    json!({"execution": execution, "workflow_id": "scale-up", "target_resource": "shop/deployment/cart"})
}

#[tokio::test]
async fn a_completed_workflow_has_a_started_and_a_completed_event() {
    let execution = unique("wfe");
    let played = play("completed", &names(&execution)).await;
    let events = found(&correlated_in("workflow", &execution)).await;
    let data = json!({"phase": "Completed", "started_at": SOME, "completed_at": SOME, "duration": "42s", "pipelinerun_name": SOME});
    let completed = json!({
        "event_type": "workflow.completed", "event_action": "completed", "event_outcome": "success", "duration_ms": 42_000, "event_data": data,
    });
    check(
        &events,
        &[started(&execution), execution_event(&execution, completed)],
    );
    check_complete(&events, &played.emitted);
}

#[tokio::test]
async fn a_failed_workflow_says_why() {
    let execution = unique("wfe");
    let reasons = json!({"failure_reason": "ImagePullFailed", "failure_message": "no such image"});
    play("failed", &with(names(&execution), reasons.clone())).await;
    let data = json!({"phase": "Failed", "completed_at": SOME, "duration": SOME, "failed_task_name": SOME});
    let failed = json!({
        "event_type": "workflow.failed", "event_action": "failed", "event_outcome": "failure", "event_data": with(data, reasons),
    });
    let events = found(&correlated_in("workflow", &execution)).await;
    check(
        &events,
        &[started(&execution), execution_event(&execution, failed)],
    );
}

#[tokio::test]
async fn a_workflow_that_fails_before_its_pipeline_run_has_a_failed_event_only() {
    let execution = unique("wfe");
    play("failed-before-start", &names(&execution)).await;
    let data = json!({"phase": "Failed", "pipelinerun_name": null, "started_at": null, "failure_reason": SOME, "failure_message": SOME});
    let failed =
        json!({"event_type": "workflow.failed", "event_outcome": "failure", "event_data": data});
    let events = found(&correlated_in("workflow", &execution)).await;
    check(&events, &[execution_event(&execution, failed)]);
}

#[tokio::test]
async fn the_label_correlates_where_there_is_one() {
    let (execution, label) = (unique("wfe"), unique("remediation"));
    play(
        "completed",
        &with(names(&execution), json!({"correlation_id": label})),
    )
    .await;
    let of_label = json!({"correlation_id": label, "resource_id": execution});
    check(
        &found(&correlated_in("workflow", &label)).await,
        &[of_label.clone(), of_label],
    );
    check(&found(&correlated_in("workflow", &execution)).await, &[]);
}

#[tokio::test]
async fn one_batch_carries_a_whole_workflow_in_order() {
    let _undisturbed = fault::none().await;
    let execution = unique("wfe");
    let batch = [
        workflow::started(&execution, &execution),
        workflow::failed(&execution, &execution),
    ];
    audit::send(&datastorage(), &batch).await;
    let events = found(&correlated_in("workflow", &execution)).await;
    assert_eq!(
        audit::types(&events),
        ["workflow.started", "workflow.failed"]
    );
}

#[tokio::test]
async fn the_prefixed_event_types_are_stored_and_found_too() {
    let _undisturbed = fault::none().await;
    let execution = unique("wfe");
    let event_type = |action: &str| format!("workflowexecution.workflow.{action}");
    let prefixed = |event: Value, action| with(event, json!({"event_type": event_type(action)}));
    let batch = [
        prefixed(workflow::started(&execution, &execution), "started"),
        prefixed(workflow::completed(&execution, &execution), "completed"),
        prefixed(workflow::failed(&execution, &execution), "failed"),
    ];
    audit::send(&datastorage(), &batch).await;
    for action in ["started", "completed", "failed"] {
        let query = QueryAuditEvents {
            event_type: Some(event_type(action)),
            ..correlated_in("workflow", &execution)
        };
        check(
            &found(&query).await,
            &[json!({"event_type": event_type(action), "event_action": action})],
        );
    }
}

/// Has a component killed in the middle of a scenario.
pub(crate) async fn survives(component: Component) {
    fault::survives(component, "completed", &names(&unique("wfe"))).await;
}

#[tokio::test]
async fn nothing_is_lost_when_data_storage_is_killed_in_the_middle() {
    survives(Component::DataStorage).await;
}

#[tokio::test]
async fn without_migrations_a_batch_an_event_and_a_query_name_the_table() {
    let (unmigrated, execution) = (unmigrated_datastorage(), unique("wfe"));
    let event = audit::request(&workflow::started(&execution, &execution));
    let batch = unmigrated
        .create_audit_events_batch(std::slice::from_ref(&event))
        .await;
    assert_names_the_missing_table(batch, "audit_events");
    assert_names_the_missing_table(unmigrated.create_audit_event(&event).await, "audit_events");
    let query = unmigrated
        .query_audit_events(&QueryAuditEvents::default())
        .await;
    assert_names_the_missing_table(query, "audit_events");
}
