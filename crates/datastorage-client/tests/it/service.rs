//! Every operation of the client against the real Data Storage: what it answers is what the generated types read.

use datastorage_api::{EventCategory, EventData};
use datastorage_client::{
    Access, Client, ListParkedEntries, ListWorkflows, QueryAuditEvents,
    types::{
        AuditEventRequest, EventOutcome, LabelPriority, LabelSeverity, MandatoryLabels,
        NotificationAudit, NotificationChannel, NotificationStatus, RemediationWorkflow,
        SearchPriority, WorkflowDisableRequest, WorkflowSearchFilters, WorkflowSearchRequest,
        WorkflowStatus, WorkflowUpdateRequest,
    },
};
use jiff::Timestamp;
use testkit::{datastorage::Service, events::unique, postgres};

async fn service(profile: &str) -> (postgres::Database, Service, Client) {
    let database = postgres::database(profile).await;
    let service = Service::serving(profile, &database).await;
    let client = Client::new(&service.url()).expect("a client");
    (database, service, client)
}

fn event(correlation_id: &str) -> AuditEventRequest {
    let event = serde_json::json!({"version": "1.0", "event_type": "workflow.started", "event_timestamp": Timestamp::now(),
        "event_category": EventCategory::Workflow, "event_action": "started", "event_outcome": EventOutcome::Success,
        "correlation_id": correlation_id, "event_data": EventData::empty(), "duration_ms": 7, "namespace": "default"});
    serde_json::from_value(event).expect("the full form")
}

#[tokio::test]
async fn events_are_written_and_read_page_by_page() {
    let (_database, _service, client) = service("audit").await;
    let correlation_id = unique("client");
    let single = client
        .create_audit_event(&event(&correlation_id))
        .await
        .expect("written");
    let single = single.committed().expect("committed");
    let batch = [event(&correlation_id), event(&correlation_id)];
    let batch = client
        .create_audit_events_batch(&batch)
        .await
        .expect("written");
    let mut written = batch.committed().expect("committed").event_ids;
    written.push(single.event_id);

    let mut query = QueryAuditEvents {
        correlation_id: Some(correlation_id),
        event_outcome: Some(EventOutcome::Success),
        since: Some("1h".to_owned()),
        limit: Some(2),
        ..QueryAuditEvents::default()
    };
    let first = client.query_audit_events(&query).await.expect("a page");
    assert_eq!(
        (
            first.data.len(),
            first.pagination.total,
            first.pagination.has_more
        ),
        (2, 3, true)
    );
    assert_eq!(
        (
            first.data[0].duration_ms,
            first.data[0].namespace.as_deref()
        ),
        (Some(7), Some("default"))
    );
    query.cursor = first.pagination.next_cursor;
    let second = client.query_audit_events(&query).await.expect("a page");
    assert!(!second.pagination.has_more);
    let mut read: Vec<_> = first
        .data
        .iter()
        .chain(&second.data)
        .map(|event| event.event_id)
        .collect();
    read.sort();
    written.sort();
    assert_eq!(read, written);
}

#[tokio::test]
async fn checks_and_the_queue_answer() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "of-tests-0123456789-0123456789").expect("written");
    let database = postgres::database("audit").await;
    let settings = vec![("DATASTORAGE_AUTH_TOKEN_FILE", file.display().to_string())];
    let service = Service::with_settings("audit", &database, settings).await;
    let access = Access {
        token_file: Some(file),
        ..Access::default()
    };
    let client = Client::with_access(&service.url(), &access).expect("a client");
    assert!(client.get_health().await.expect("an answer").passed);
    assert!(client.get_readiness().await.expect("an answer").passed);
    client.get_liveness().await.expect("alive");
    assert!(
        client
            .get_metrics()
            .await
            .expect("metrics")
            .contains("# TYPE")
    );
    let parked = client
        .list_parked_entries(&ListParkedEntries::default())
        .await
        .expect("a list");
    assert_eq!((parked.entries.len(), parked.total), (0, 0));
    assert_eq!(
        client
            .redrive_parked_entries()
            .await
            .expect("an answer")
            .redriven,
        0
    );
}

#[tokio::test]
async fn a_notification_is_written_once_and_a_second_is_a_conflict() {
    let (_database, _service, client) = service("datastorage").await;
    let notification = NotificationAudit {
        remediation_id: unique("rr"),
        notification_id: unique("nr"),
        recipient: "#ops".to_owned(),
        channel: NotificationChannel::Slack,
        message_summary: "restarted".to_owned(),
        status: NotificationStatus::Sent,
        sent_at: Timestamp::now(),
        delivery_status: None,
        error_message: None,
        escalation_level: Some(1),
    };
    let written = client
        .create_notification_audit(&notification)
        .await
        .expect("written");
    let written = written.committed().expect("committed");
    assert_eq!(
        (written.notification_id, written.escalation_level),
        (notification.notification_id.clone(), 1)
    );
    let error = client
        .create_notification_audit(&notification)
        .await
        .expect_err("a conflict");
    assert_eq!(error.status(), Some(409), "{error}");
}

fn workflow(name: &str) -> RemediationWorkflow {
    let labels = MandatoryLabels {
        signal_type: "OOMKilled".to_owned(),
        severity: LabelSeverity::High,
        component: "pod".to_owned(),
        environment: "production".to_owned(),
        priority: LabelPriority::P1,
    };
    let workflow = serde_json::json!({"workflow_name": name, "version": "1.0.0", "name": "Restart", "description": "restarts",
        "content": "steps: []", "content_hash": "a".repeat(64), "labels": labels, "execution_engine": "tekton",
        "status": WorkflowStatus::Active});
    serde_json::from_value(workflow).expect("a workflow")
}

#[tokio::test]
async fn a_workflow_is_registered_listed_found_changed_and_disabled() {
    let (_database, _service, client) = service("datastorage").await;
    let name = unique("restart");
    let created = client
        .create_workflow(&workflow(&name))
        .await
        .expect("registered");
    let id = created.workflow_id.expect("an id");
    assert_eq!(created.is_latest_version, Some(true));
    assert_eq!(
        client
            .get_workflow_by_id(id)
            .await
            .expect("found")
            .workflow_name,
        name
    );
    assert_eq!(
        client
            .list_workflow_versions(&name)
            .await
            .expect("listed")
            .total,
        1
    );
    let active = ListWorkflows {
        status: Some(WorkflowStatus::Active),
        ..ListWorkflows::default()
    };
    assert_eq!(
        client.list_workflows(&active).await.expect("listed").total,
        1
    );

    let filters = WorkflowSearchFilters {
        signal_type: "OOMKilled".to_owned(),
        severity: LabelSeverity::High,
        component: "pod".to_owned(),
        environment: "production".to_owned(),
        priority: SearchPriority::P1,
        custom_labels: None,
        detected_labels: None,
        status: Vec::new(),
    };
    let search = WorkflowSearchRequest {
        filters,
        include_disabled: None,
        min_score: None,
        remediation_id: None,
        top_k: Some(5),
    };
    let found = client.search_workflows(&search).await.expect("searched");
    assert_eq!(
        (found.total_results, found.workflows[0].workflow_id),
        (1, id)
    );

    let change = WorkflowUpdateRequest {
        status: Some(WorkflowStatus::Deprecated),
        disabled_by: None,
        disabled_reason: None,
    };
    assert_eq!(
        client
            .update_workflow(id, &change)
            .await
            .expect("changed")
            .status,
        WorkflowStatus::Deprecated
    );
    let disable = WorkflowDisableRequest {
        reason: Some("replaced".to_owned()),
        updated_by: Some("jane".to_owned()),
    };
    let disabled = client
        .disable_workflow(id, Some(&disable))
        .await
        .expect("disabled");
    assert_eq!(
        (disabled.status, disabled.disabled_reason.as_deref()),
        (WorkflowStatus::Disabled, Some("replaced"))
    );
}

#[tokio::test]
async fn an_unknown_workflow_is_a_problem_of_its_own() {
    let (_database, _service, client) = service("datastorage").await;
    let error = client
        .get_workflow_by_id(uuid::Uuid::nil())
        .await
        .expect_err("unknown");
    let problem = error.problem().expect("a problem");
    assert_eq!((problem.status, problem.details.name()), (404, "not-found"));
}
