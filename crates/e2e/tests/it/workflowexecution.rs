//! Audit events of workflow executions: written as the controller writes them, found as its suites look for them.
//!
//! The suite is the emitter. It runs against the Data Storage of the run, and for the last cases against one whose database
//! was never migrated.

use std::time::Instant;

use datastorage_client::{Client, Error, QueryAuditEvents};
use serde_json::{Value, json};
use testkit::events::{unique, with, workflow};

use crate::audit::{self, VISIBLE_WITHIN};
use crate::environment::{datastorage, unmigrated_datastorage};

/// Returns a sent event's only stored counterpart.
async fn stored(sent: &Value, correlation_id: &str) -> datastorage_client::types::AuditEvent {
    let datastorage = datastorage();
    audit::send(&datastorage, std::slice::from_ref(sent)).await;
    let mut events = audit::visible(&datastorage, correlation_id, 1).await;
    assert_eq!(
        audit::types(&events),
        [sent["event_type"].as_str().unwrap()]
    );
    events.remove(0)
}

fn text<'a>(data: &'a serde_json::Map<String, Value>, name: &str) -> &'a str {
    data.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test]
async fn a_started_workflow_is_visible_with_what_the_controller_sets() {
    let execution = unique("wfe");
    let sent = workflow::started(&execution, &execution);
    let stored = stored(&sent, &execution).await;
    audit::assert_stored_as_sent(&stored, &sent);
    assert_eq!(
        [
            &*stored.event_category,
            &*stored.event_action,
            &*stored.event_outcome
        ],
        ["workflow", "started", "success"]
    );
    assert_eq!(
        [&*stored.actor_type, &*stored.actor_id],
        ["service", "workflowexecution-controller"]
    );
    assert_eq!(
        [&*stored.resource_type, &*stored.resource_id],
        ["WorkflowExecution", &*execution]
    );
    assert_eq!(stored.correlation_id, execution);
    for name in [
        "workflow_id",
        "workflow_version",
        "target_resource",
        "phase",
        "container_image",
        "execution_name",
    ] {
        assert_ne!(text(&stored.event_data, name), "", "{name}");
    }
    for name in ["started_at", "pipelinerun_name"] {
        assert_ne!(text(&stored.event_data, name), "", "{name}");
    }
}

#[tokio::test]
async fn a_completed_workflow_is_visible_with_its_duration() {
    let execution = unique("wfe");
    let sent = workflow::completed(&execution, &execution);
    let stored = stored(&sent, &execution).await;
    audit::assert_stored_as_sent(&stored, &sent);
    assert_eq!(
        [&*stored.event_action, &*stored.event_outcome],
        ["completed", "success"]
    );
    assert_eq!(stored.duration_ms, Some(42_000));
    for name in ["started_at", "completed_at", "duration"] {
        assert_ne!(text(&stored.event_data, name), "", "{name}");
    }
}

#[tokio::test]
async fn a_failed_workflow_is_visible_with_reason_and_message() {
    let execution = unique("wfe");
    let sent = workflow::failed(&execution, &execution);
    let stored = stored(&sent, &execution).await;
    audit::assert_stored_as_sent(&stored, &sent);
    assert_eq!(
        [&*stored.event_action, &*stored.event_outcome],
        ["failed", "failure"]
    );
    for name in ["failure_reason", "failure_message", "failed_task_name"] {
        assert_ne!(text(&stored.event_data, name), "", "{name}");
    }
}

#[tokio::test]
async fn a_finished_workflow_has_at_least_two_events_within_a_minute() {
    let (datastorage, execution) = (datastorage(), unique("wfe"));
    let started = Instant::now();
    audit::send(&datastorage, &[workflow::started(&execution, &execution)]).await;
    audit::send(&datastorage, &[workflow::completed(&execution, &execution)]).await;
    let events = audit::visible(&datastorage, &execution, 2).await;
    assert_eq!(
        audit::types(&events),
        ["workflow.started", "workflow.completed"]
    );
    println!(
        "started and completed visible {:.0?} after the workflow began; the limit is {VISIBLE_WITHIN:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn one_batch_carries_a_whole_workflow_in_order() {
    let (datastorage, execution) = (datastorage(), unique("wfe"));
    let batch = [
        workflow::started(&execution, &execution),
        workflow::failed(&execution, &execution),
    ];
    audit::send(&datastorage, &batch).await;
    let events = audit::visible(&datastorage, &execution, 2).await;
    assert_eq!(
        audit::types(&events),
        ["workflow.started", "workflow.failed"]
    );
}

#[tokio::test]
async fn events_are_found_by_the_correlation_id_of_the_label() {
    let (execution, correlation_id) = (unique("wfe"), unique("remediation"));
    let stored = stored(
        &workflow::started(&execution, &correlation_id),
        &correlation_id,
    )
    .await;
    assert_eq!(
        (stored.correlation_id, stored.resource_id),
        (correlation_id, execution)
    );
}

#[tokio::test]
async fn the_prefixed_event_types_are_stored_and_found_too() {
    let (datastorage, execution) = (datastorage(), unique("wfe"));
    let prefixed = |event: Value| {
        let event_type = format!(
            "workflowexecution.{}",
            event["event_type"].as_str().unwrap()
        );
        with(event, json!({ "event_type": event_type }))
    };
    let batch = [
        prefixed(workflow::started(&execution, &execution)),
        prefixed(workflow::completed(&execution, &execution)),
        prefixed(workflow::failed(&execution, &execution)),
    ];
    audit::send(&datastorage, &batch).await;
    let query = |event_type: &str| QueryAuditEvents {
        event_type: Some(event_type.to_owned()),
        correlation_id: Some(execution.clone()),
        ..QueryAuditEvents::default()
    };
    for action in ["started", "completed", "failed"] {
        let event_type = format!("workflowexecution.workflow.{action}");
        let events = audit::visible_by(&datastorage, &query(&event_type), 1).await;
        assert_eq!(audit::types(&events), [event_type.as_str()]);
        assert_eq!(events[0].event_action, action);
    }
}

/// Checks that an answer says which relation is missing, in words and in fields that a program can read.
fn assert_names_the_missing_table<T: std::fmt::Debug>(answer: Result<T, Error>) {
    let error = answer.expect_err("without the table nothing can be stored or read");
    let problem = error
        .problem()
        .unwrap_or_else(|| panic!("not a problem document: {error}"));
    assert_eq!(problem.status, 503, "{error}");
    assert_eq!(
        problem.details.sqlstate.as_deref(),
        Some("42P01"),
        "{error}"
    );
    assert_eq!(
        problem.details.relation.as_deref(),
        Some("audit_events"),
        "{error}"
    );
    let detail = problem.details.detail.as_deref().unwrap_or_default();
    assert!(detail.contains("audit_events"), "{error}");
    println!("{error}");
}

async fn send_one(datastorage: &Client) -> Result<impl std::fmt::Debug, Error> {
    let execution = unique("wfe");
    datastorage
        .create_audit_event(&audit::request(&workflow::started(&execution, &execution)))
        .await
}

#[tokio::test]
async fn a_batch_without_migrations_is_refused_with_the_table_and_its_sqlstate() {
    let execution = unique("wfe");
    let batch = [audit::request(&workflow::started(&execution, &execution))];
    assert_names_the_missing_table(
        unmigrated_datastorage()
            .create_audit_events_batch(&batch)
            .await,
    );
}

#[tokio::test]
async fn a_single_event_without_migrations_is_refused_and_not_queued() {
    assert_names_the_missing_table(send_one(&unmigrated_datastorage()).await);
}

#[tokio::test]
async fn a_query_without_migrations_names_the_table_too() {
    let answer = unmigrated_datastorage()
        .query_audit_events(&QueryAuditEvents::default())
        .await;
    assert_names_the_missing_table(answer);
}
