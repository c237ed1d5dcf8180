//! Data Storage itself: its contract, outages and recovery, what it says without migrations, the catalogue.

use datastorage_client::types::{
    EventOutcome, NotificationAudit, WorkflowDisableRequest, WorkflowStatus, WorkflowUpdateRequest,
};
use datastorage_client::{ListParkedEntries, ListWorkflows, QueryAuditEvents};
use serde_json::json;
use testkit::catalogue::{notification, search};
use testkit::events::{short, unique, with};
use testkit::wait;

use crate::audit::{
    self, STORED_WITHIN, assert_names_the_missing_table, check, correlated, found, request,
};
use crate::catalogue::{register, searched};
use crate::environment::{datastorage, nobody, unmigrated_datastorage, variable};
use crate::fault::{self, Component, during, kill};
use crate::replicas::Lives;
use crate::tool;
use crate::writer::{Writer, keyed};

// The contract.

#[tokio::test]
async fn events_are_written_singly_and_in_batches_and_read_page_by_page() {
    let _undisturbed = fault::none().await;
    let (datastorage, id) = (datastorage(), unique("contract"));
    let single = datastorage.create_audit_event(&request(&keyed(&id))).await;
    assert!(single.unwrap().committed().is_some());
    let failure = with(
        keyed(&id),
        json!({"event_outcome": "failure", "severity": "error"}),
    );
    audit::send(&datastorage, &[keyed(&id), failure]).await;

    let mut query = QueryAuditEvents {
        limit: Some(2),
        since: Some("1h".to_owned()),
        ..correlated(&id)
    };
    let first = datastorage.query_audit_events(&query).await.unwrap();
    assert_eq!(
        (
            first.data.len(),
            first.pagination.total,
            first.pagination.has_more
        ),
        (2, 3, true)
    );
    query.cursor = first.pagination.next_cursor;
    let rest = datastorage.query_audit_events(&query).await.unwrap();
    assert_eq!((rest.data.len(), rest.pagination.has_more), (1, false));

    let failures = QueryAuditEvents {
        event_outcome: Some(EventOutcome::Failure),
        severity: Some("error".to_owned()),
        ..correlated(&id)
    };
    check(
        &found(&failures).await,
        &[json!({"event_outcome": "failure", "severity": "error"})],
    );
}

#[tokio::test]
async fn a_repeat_is_stored_once_and_another_event_under_its_key_is_a_conflict() {
    let _undisturbed = fault::none().await;
    let (datastorage, id) = (datastorage(), unique("contract"));
    let event = keyed(&id);
    for _ in 0..2 {
        audit::send(&datastorage, std::slice::from_ref(&event)).await;
    }
    let later = with(
        event.clone(),
        json!({"event_timestamp": jiff::Timestamp::now().to_string()}),
    );
    let refused = datastorage
        .create_audit_event(&request(&later))
        .await
        .unwrap_err();
    assert_eq!(refused.status(), Some(409), "{refused}");
    check(
        &found(&correlated(&id)).await,
        &[json!({"event_id": event["event_id"]})],
    );
}

#[tokio::test]
async fn the_short_form_is_stored_and_every_violation_of_the_full_form_is_named() {
    let _undisturbed = fault::none().await;
    let (datastorage, id) = (datastorage(), unique("contract"));
    let path = "/api/v1/audit/events/batch";
    let short = short(
        "workflow",
        "workflow.started",
        "success",
        "WorkflowExecution",
        &id,
    );
    datastorage
        .send_json(datastorage_client::Method::POST, path, &[short])
        .await
        .unwrap();
    let stored = json!({"version": "1.0", "event_type": "workflow.started", "event_data": {}});
    check(&found(&correlated(&id)).await, &[stored]);

    let broken = with(
        keyed(&id),
        json!({"event_outcome": "banana", "correlation_id": ""}),
    );
    let refused = datastorage
        .send_json(datastorage_client::Method::POST, path, &[broken])
        .await
        .unwrap_err();
    let problem = refused.problem().unwrap_or_else(|| panic!("{refused}"));
    let fields: Vec<_> = problem
        .details
        .field_errors
        .iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(problem.status, 400);
    for wrong in ["event_outcome", "correlation_id"] {
        assert!(
            fields.iter().any(|field| field.ends_with(wrong)),
            "{wrong} is not among {fields:?}"
        );
    }
}

#[tokio::test]
async fn the_record_of_a_notification_is_written_once() {
    let _undisturbed = fault::none().await;
    let (datastorage, id) = (datastorage(), unique("notification"));
    let record: NotificationAudit =
        serde_json::from_value(notification(&unique("rr"), &id)).unwrap();
    let written = datastorage
        .create_notification_audit(&record)
        .await
        .unwrap();
    assert_eq!(written.committed().unwrap().notification_id, id);
    let again = datastorage
        .create_notification_audit(&record)
        .await
        .unwrap_err();
    assert_eq!(again.status(), Some(409), "{again}");
}

#[tokio::test]
async fn checks_metrics_and_the_queue_answer() {
    let _undisturbed = fault::none().await;
    let datastorage = datastorage();
    assert!(datastorage.get_health().await.unwrap().passed);
    assert!(datastorage.get_readiness().await.unwrap().passed);
    datastorage.get_liveness().await.unwrap();
    assert!(
        datastorage
            .get_metrics()
            .await
            .unwrap()
            .contains("# TYPE datastorage_")
    );
    let parked = datastorage
        .list_parked_entries(&ListParkedEntries::default())
        .await
        .unwrap();
    assert_eq!(parked.total, 0);
    assert_eq!(
        datastorage.redrive_parked_entries().await.unwrap().redriven,
        0
    );
}

#[tokio::test]
async fn who_proves_nothing_is_refused_and_the_health_checks_are_open() {
    let _undisturbed = fault::none().await;
    let nobody = nobody();
    assert!(nobody.get_readiness().await.unwrap().passed);
    let refused = nobody.redrive_parked_entries().await.unwrap_err();
    assert_eq!(refused.status(), Some(401), "{refused}");
    let refused = nobody
        .list_parked_entries(&ListParkedEntries::default())
        .await
        .unwrap_err();
    assert_eq!(refused.status(), Some(401), "{refused}");
}

// The catalogue.

#[tokio::test]
async fn the_newest_version_is_the_latest_and_the_one_that_a_search_finds() {
    let _undisturbed = fault::none().await;
    let (datastorage, name, component) = (datastorage(), unique("restart"), unique("component"));
    register(&name, "1.0.0", &component).await;
    let newest = register(&name, "1.1.0", &component).await;
    let versions = datastorage
        .list_workflow_versions(&name)
        .await
        .unwrap()
        .versions;
    let latest: Vec<_> = versions
        .iter()
        .map(|version| (version.version.as_str(), version.is_latest_version))
        .collect();
    assert_eq!(latest, [("1.1.0", Some(true)), ("1.0.0", Some(false))]);
    let results = searched(&search(&component)).await;
    let ids: Vec<_> = results.iter().map(|result| result.workflow_id).collect();
    assert_eq!(ids, [newest.workflow_id.unwrap()]);
    assert_eq!(searched(&search(&unique("component"))).await.len(), 0);
}

#[tokio::test]
async fn a_search_is_an_audit_event_of_its_remediation() {
    let _undisturbed = fault::none().await;
    let (remediation, component) = (unique("rr"), unique("component"));
    register(&unique("restart"), "1.0.0", &component).await;
    searched(&with(
        search(&component),
        json!({"remediation_id": remediation}),
    ))
    .await;
    let events = wait::until("the search's event", STORED_WITHIN, async || {
        let events = found(&correlated(&remediation)).await;
        if events.is_empty() {
            Err("none")
        } else {
            Ok(events)
        }
    });
    let expected = json!({
        "event_type": "workflow.catalog.search_completed", "event_category": "workflow", "event_outcome": "success",
        "actor_type": "service", "actor_id": "datastorage",
    });
    check(&events.await, &[expected]);
}

#[tokio::test]
async fn a_version_is_read_changed_disabled_and_then_found_no_more() {
    let _undisturbed = fault::none().await;
    let (datastorage, component) = (datastorage(), unique("component"));
    let registered = register(&unique("restart"), "1.0.0", &component).await;
    let id = registered.workflow_id.unwrap();
    let read = datastorage.get_workflow_by_id(id).await.unwrap();
    assert_eq!(read.workflow_name, registered.workflow_name);
    let again = datastorage.create_workflow(&registered).await.unwrap_err();
    assert_eq!(again.status(), Some(409), "{again}");

    let deprecate = WorkflowUpdateRequest {
        status: Some(WorkflowStatus::Deprecated),
        ..WorkflowUpdateRequest::default()
    };
    let changed = datastorage.update_workflow(id, &deprecate).await.unwrap();
    assert_eq!(changed.status, WorkflowStatus::Deprecated);
    let disable = WorkflowDisableRequest {
        reason: Some("replaced".to_owned()),
        updated_by: Some("ana".to_owned()),
    };
    let disabled = datastorage
        .disable_workflow(id, Some(&disable))
        .await
        .unwrap();
    assert_eq!(disabled.disabled_reason.as_deref(), Some("replaced"));
    let listed = ListWorkflows {
        component: Some(component.clone()),
        ..ListWorkflows::default()
    };
    let listed = datastorage.list_workflows(&listed).await.unwrap().workflows;
    assert_eq!(
        listed
            .iter()
            .map(|workflow| workflow.status)
            .collect::<Vec<_>>(),
        [WorkflowStatus::Disabled]
    );
    assert_eq!(searched(&search(&component)).await.len(), 0);

    let unknown = datastorage
        .get_workflow_by_id(uuid::Uuid::nil())
        .await
        .unwrap_err();
    assert_eq!(unknown.status(), Some(404), "{unknown}");
}

// The schema.

#[tokio::test]
async fn the_migrations_made_from_nothing_all_that_the_profile_holds() {
    let _undisturbed = fault::none().await;
    let database = variable(e2e_env::DATABASE_URL);
    let verify = [
        "migrate",
        "verify",
        "--profile",
        "datastorage",
        "--database-url",
        &database,
    ];
    let verified = tool::run(&verify).await;
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success(), "{said}");
}

#[tokio::test]
async fn without_migrations_every_write_names_its_table_and_readiness_lists_them() {
    let unmigrated = unmigrated_datastorage();
    let event = unmigrated
        .create_audit_event(&request(&keyed(&unique("empty"))))
        .await;
    assert_names_the_missing_table(event, "audit_events");
    let record = notification(&unique("rr"), &unique("notification"));
    let record = unmigrated
        .create_notification_audit(&serde_json::from_value(record).unwrap())
        .await;
    assert_names_the_missing_table(record, "notification_audit");
    let workflows = unmigrated.list_workflows(&ListWorkflows::default()).await;
    assert_names_the_missing_table(workflows, "remediation_workflow_catalog");

    let readiness = unmigrated.get_readiness().await.unwrap();
    assert!(!readiness.passed);
    for table in [
        "audit_events",
        "notification_audit",
        "remediation_workflow_catalog",
    ] {
        let missing = &readiness.body.missing;
        assert!(
            missing.iter().any(|missing| missing.contains(table)),
            "{table} is not in {missing:?}"
        );
    }
}

// Outage and recovery.

#[tokio::test]
async fn nothing_is_lost_when_data_storage_is_killed_in_the_middle() {
    during(async {
        let mut writer = Writer::new();
        for _ in 0..10 {
            writer.write().await;
        }
        let lives = Lives::of_all().await;
        kill(Component::DataStorage).await;
        for _ in 0..10 {
            writer.write().await;
        }
        writer.check().await;
        lives.ended().await;
    })
    .await;
}
