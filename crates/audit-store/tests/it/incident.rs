//! The report of 2025-12-18: its eight failing specs through store, client, server and PostgreSQL, and each of its causes by name.

use std::sync::Arc;

use audit_store::{
    Store,
    events::workflowexecution::{self, Execution},
};
use datastorage_api::{AuditEventRequest, DatabaseErrorKind, EventData};
use datastorage_client::{Error, Written, types::AuditEvent};
use jiff::Timestamp;
use migrations::{Revert, Selection};
use testkit::{events::unique, postgres};
use uuid::Uuid;

use crate::{
    server::{DEADLINE, directory, flush_until, open, quick},
    service::{Ask as _, Service},
};

fn execution(name: &str) -> Execution {
    Execution {
        workflow_id: "restart-deployment".to_owned(),
        target_resource: "default/deployment/api".to_owned(),
        phase: "Running".to_owned(),
        container_image: "workflows/restart:1".to_owned(),
        execution_name: name.to_owned(),
        ..Execution::default()
    }
}

fn failed_execution(name: &str) -> Execution {
    Execution {
        phase: "Failed".to_owned(),
        failure_reason: Some("TaskFailed".to_owned()),
        failure_message: Some("task restart failed: timeout".to_owned()),
        ..execution(name)
    }
}

/// Emits through a store with its usual interval, and reads what the controller's suite reads.
async fn through_the_store(correlation_id: &str, event: audit_store::Event) -> AuditEvent {
    let database = postgres::database("audit").await;
    let (service, directory) = (Service::start(&database).await, directory());
    let store = open(&service.url(), quick(&directory));
    store.store(event).expect("accepted");
    assert!(
        store
            .close(DEADLINE)
            .await
            .expect("nothing lost")
            .is_complete()
    );
    let mut events = service.events(correlation_id).await;
    assert_eq!(events.len(), 1);
    events.remove(0)
}

#[tokio::test]
async fn spec_1_workflow_started_is_persisted() {
    let name = unique("wfe");
    let event = through_the_store(&name, workflowexecution::started(None, &execution(&name))).await;
    assert_eq!(
        (event.event_type.as_str(), event.event_category.as_str()),
        ("workflow.started", "workflow")
    );
    assert_eq!(
        (event.event_action.as_str(), event.event_outcome.as_str()),
        ("started", "success")
    );
    assert_eq!(event.correlation_id, name);
    assert_eq!(event.actor_id, "workflowexecution-controller");
    assert_eq!(event.event_data["workflow_id"], "restart-deployment");
}

#[tokio::test]
async fn spec_2_workflow_completed_is_persisted() {
    let name = unique("wfe");
    let event =
        through_the_store(&name, workflowexecution::completed(None, &execution(&name))).await;
    assert_eq!(event.event_type, "workflow.completed");
    assert_eq!(
        (event.event_action.as_str(), event.event_outcome.as_str()),
        ("completed", "success")
    );
}

#[tokio::test]
async fn spec_3_workflow_failed_is_persisted_with_failure_details() {
    let name = unique("wfe");
    let event = through_the_store(
        &name,
        workflowexecution::failed(None, &failed_execution(&name)),
    )
    .await;
    assert_eq!(
        (event.event_type.as_str(), event.event_outcome.as_str()),
        ("workflow.failed", "failure")
    );
    assert_eq!(event.event_data["failure_reason"], "TaskFailed");
    assert_eq!(
        event.event_data["failure_message"],
        "task restart failed: timeout"
    );
}

#[tokio::test]
async fn spec_4_the_correlation_id_of_the_label_is_used() {
    let (label, name) = (unique("test-corr-12345"), unique("wfe"));
    let event = through_the_store(
        &label,
        workflowexecution::started(Some(&label), &execution(&name)),
    )
    .await;
    assert_eq!(event.correlation_id, label);
    assert_eq!(event.resource_id, name);
}

/// A full event as a caller without a store makes it.
fn request(event_type: &str, outcome: &str, execution: &Execution) -> AuditEventRequest {
    let event = serde_json::json!({"event_id": Uuid::now_v7(), "version": "1.0", "event_type": event_type, "event_timestamp": Timestamp::now(),
        "event_category": "workflow", "event_action": event_type.rsplit('.').next(), "event_outcome": outcome,
        "correlation_id": execution.execution_name, "event_data": {}});
    let mut request: AuditEventRequest = serde_json::from_value(event).expect("the full form");
    request.event_data = EventData::new(execution).expect("an object");
    request
}

async fn through_the_client(events: &[AuditEventRequest]) {
    let database = postgres::database("audit").await;
    let service = Service::start(&database).await;
    let written = service
        .client()
        .create_audit_events_batch(events)
        .await
        .expect("stored");
    let Written::Committed(answer) = written else {
        panic!("queued, though the database is there")
    };
    let ids: Vec<_> = events.iter().filter_map(|event| event.event_id).collect();
    assert_eq!(answer.event_ids, ids, "in the order of the request");
    let stored = service.events(&events[0].correlation_id).await;
    assert_eq!(
        stored
            .iter()
            .map(|event| event.event_id)
            .collect::<Vec<_>>(),
        ids
    );
}

#[tokio::test]
async fn spec_5_workflow_started_is_written_by_the_batch_endpoint() {
    through_the_client(&[request(
        "workflow.started",
        "success",
        &execution(&unique("wfe")),
    )])
    .await;
}

#[tokio::test]
async fn spec_6_workflow_completed_is_written_by_the_batch_endpoint() {
    through_the_client(&[request(
        "workflow.completed",
        "success",
        &execution(&unique("wfe")),
    )])
    .await;
}

#[tokio::test]
async fn spec_7_workflow_failed_is_written_by_the_batch_endpoint() {
    through_the_client(&[request(
        "workflow.failed",
        "failure",
        &failed_execution(&unique("wfe")),
    )])
    .await;
}

#[tokio::test]
async fn spec_8_several_events_are_written_in_one_batch() {
    let execution = execution(&unique("wfe"));
    let types = [
        ("workflow.started", "success"),
        ("workflow.completed", "success"),
        ("workflow.failed", "failure"),
    ];
    let events = types.map(|(event_type, outcome)| request(event_type, outcome, &execution));
    through_the_client(&events).await;
}

/// What a caller sees of a cause, by the store's report and by the client.
struct Seen {
    kind: DatabaseErrorKind,
    text: String,
}

async fn blocked(store: &Store, event: audit_store::Event) -> Seen {
    store
        .store(event)
        .expect("accepted: the journal waits for the schema");
    let report = flush_until(store, "an attempt to fail", |report| {
        report.blocked_by.is_some()
    })
    .await;
    assert_eq!((report.journalled, report.parked), (1, 0), "{report:?}");
    let error: Arc<Error> = report.blocked_by.expect("a reason");
    let problem = error
        .problem()
        .unwrap_or_else(|| panic!("a problem, not: {error}"));
    assert_eq!(
        (problem.status, problem.details.relation.as_deref()),
        (503, Some("audit_events")),
        "{error}"
    );
    Seen {
        kind: problem.details.kind.expect("a kind"),
        text: error.to_string(),
    }
}

#[tokio::test]
async fn missing_and_reverted_migrations_and_a_missing_partition_are_three_named_errors_and_lose_nothing()
 {
    let (directory, name) = (directory(), unique("wfe"));
    let event = |database: &str| {
        workflowexecution::started(None, &execution(&format!("{name}-{database}")))
    };

    let empty = postgres::empty_database().await;
    let service = Service::start(&empty).await;
    let store = open(&service.url(), quick(&directory));
    let unmigrated = blocked(&store, event("empty")).await;
    assert_eq!(unmigrated.kind, DatabaseErrorKind::RelationMissing);
    assert!(
        unmigrated.text.contains("apply the migrations"),
        "{}",
        unmigrated.text
    );

    // The remedy of the incident, while the event waits in the journal.
    let config = migrations::Config::new(empty.url()).select(Selection::profile("audit"));
    migrations::apply(&config).await.expect("migrated");
    let report = store.flush(DEADLINE).await;
    assert!(
        report.is_complete() && report.blocked_by.is_none(),
        "{report:?}"
    );
    assert_eq!(service.events(&format!("{name}-empty")).await.len(), 1);

    migrations::revert(&config, &Revert::All)
        .await
        .expect("reverted");
    let reverted = blocked(&store, event("reverted")).await;
    assert_eq!(reverted.kind, DatabaseErrorKind::RelationReverted);
    assert!(
        reverted.text.contains("applied and then reverted"),
        "{}",
        reverted.text
    );
    migrations::apply(&config).await.expect("migrated again");
    assert!(store.flush(DEADLINE).await.is_complete());

    let sql = empty.connect().await;
    let partition = format!("audit_events_{}", Timestamp::now().strftime("y%Ym%m"));
    sql.batch_execute(&format!("DROP TABLE {partition}"))
        .await
        .expect("dropped");
    let unpartitioned = blocked(&store, event("partition")).await;
    assert_eq!(unpartitioned.kind, DatabaseErrorKind::PartitionMissing);
    assert!(
        unpartitioned.text.contains("no partition for the date"),
        "{}",
        unpartitioned.text
    );
    migrations::ensure_partitions(&config)
        .await
        .expect("made again");
    assert!(
        store
            .close(DEADLINE)
            .await
            .expect("nothing lost")
            .is_complete()
    );
}
