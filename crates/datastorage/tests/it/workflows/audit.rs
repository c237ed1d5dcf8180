//! The catalogue's own audit events, and that a change and its event are stored together or not at all.

use datastorage_api::DatabaseErrorKind;
use serde_json::json;
use testkit::postgres::empty_database;
use testkit::wait::until;

use super::{SEARCH, WORKFLOWS, audited, catalogue, filters, path, register, workflow};
use crate::support::{SOON, Service, count, migrate, with};

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_audits_itself() {
    let (_database, service) = catalogue().await;
    let version = with(
        workflow("restart", "1.0.0"),
        json!({"owner": "team", "maintainer": "team@example.org"}),
    );
    let stored = register(&service, &version).await;
    let id = stored["workflow_id"].as_str().expect("an id");
    let created = audited(&service, "datastorage.workflow.created", 1)
        .await
        .remove(0);
    assert_eq!(
        (&created["event_category"], &created["correlation_id"]),
        (&json!("workflow"), &json!(id))
    );
    assert_eq!(created["event_data"]["workflow_name"], "restart");

    let request = json!({"filters": filters(), "remediation_id": "rr-7"});
    service.post(SEARCH, &request).await.expect(200);
    let searched = audited(&service, "workflow.catalog.search_completed", 1)
        .await
        .remove(0);
    assert_eq!(
        (&searched["correlation_id"], &searched["actor_id"]),
        (&json!("rr-7"), &json!("datastorage"))
    );
    let data = &searched["event_data"];
    assert_eq!(data["query"]["filters"], filters());
    // As dashboards read it.
    assert_eq!(searched["resource_type"], "workflow_catalog");
    assert!(searched["duration_ms"].is_u64());
    assert!(data["search_metadata"]["duration_ms"].is_u64());
    assert_eq!(
        data["results"]["workflows"],
        json!([{
            "workflow_id": id, "title": "restart 1.0.0", "version": "1.0.0", "description": "restarts it", "owner": "team",
            "maintainer": "team@example.org", "labels": version["labels"], "rank": 1,
            "scoring": {"confidence": 0.5, "final_score": 0.5, "label_boost": 0.0, "label_penalty": 0.0},
        }])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_audit_event_cannot_be_stored_does_not_happen() {
    let (database, service) = catalogue().await;
    let stored = register(&service, &workflow("restart", "1.0.0")).await;
    let client = database.connect().await;
    client
        .batch_execute("ALTER TABLE audit_events ADD CONSTRAINT refuse CHECK (event_type NOT LIKE 'datastorage.%') NOT VALID")
        .await
        .expect("a constraint");
    let problem = service
        .post(WORKFLOWS, &workflow("restart", "2.0.0"))
        .await
        .expect(500)
        .problem();
    assert_eq!(
        (
            problem.sqlstate.as_deref(),
            problem
                .relation
                .as_deref()
                .map(|name| name.starts_with("audit_events"))
        ),
        (Some("23514"), Some(true))
    );
    service
        .patch(&path(&stored), &json!({"status": "archived"}))
        .await
        .expect(500);
    assert_eq!(service.get(&path(&stored)).await.body, stored);
    assert_eq!(service.get(WORKFLOWS).await.body["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_answered_though_its_audit_event_is_lost_which_is_counted() {
    let (database, service) = catalogue().await;
    let client = database.connect().await;
    client
        .batch_execute("ALTER TABLE audit_events ADD CONSTRAINT refuse CHECK (event_type NOT LIKE 'workflow.catalog.%')")
        .await
        .expect("a constraint");
    let request = json!({"filters": filters()});
    service.post(SEARCH, &request).await.expect(200);
    until("the loss to be counted", SOON, async || {
        match service.metric("datastorage_own_events_lost_total").await {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(count(&client).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_audit_trail_nothing_is_registered_and_the_missing_table_is_named() {
    let (database, service) = catalogue().await;
    let client = database.connect().await;
    client
        .batch_execute("DROP TABLE audit_events")
        .await
        .expect("dropped");
    let problem = service
        .post(WORKFLOWS, &workflow("restart", "1.0.0"))
        .await
        .expect(503)
        .problem();
    assert_eq!(problem.kind, Some(DatabaseErrorKind::RelationMissing));
    assert_eq!(problem.relation.as_deref(), Some("audit_events"));
    assert_eq!(service.get(WORKFLOWS).await.body["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_without_an_audit_trail_has_a_catalogue_that_does_not_audit() {
    let database = empty_database().await;
    migrate(database.url(), "catalog").await;
    let service = Service::of_profile(database.url(), "catalog").await;
    service.ready().await;
    let stored = register(&service, &workflow("restart", "1.0.0")).await;
    service
        .patch(&path(&stored), &json!({"status": "archived"}))
        .await
        .expect(200);
    let request = json!({"filters": filters(), "include_disabled": true});
    assert_eq!(
        service.post(SEARCH, &request).await.expect(200).body["total_results"],
        1
    );
}
