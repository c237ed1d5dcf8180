//! Success rates and incidents, read from the action traces.

use serde_json::json;
use testkit::postgres::database;

use crate::support::{Service, audit_database};

const INCIDENTS: &str = "/api/v1/incidents";
const RATE: &str = "/api/v1/success-rate";

/// 24 traces of one resource: of ten OOM kills eight completed and one is pending, all in time but one of 30 days ago.
const TRACES: &str = "
    SELECT ensure_resource_action_traces_partitions(now() - interval '30 days', 2);
    INSERT INTO resource_references (resource_uid, api_version, kind, name, namespace) VALUES ('u', 'v1', 'Pod', 'p', 'n');
    INSERT INTO action_histories (resource_id) SELECT id FROM resource_references;
    INSERT INTO resource_action_traces (action_history_id, action_id, action_timestamp, signal_name, signal_severity, model_used,
        model_confidence, action_type, execution_status, incident_type, workflow_id, workflow_version, ai_selected_workflow)
    SELECT action_histories.id, 'a-' || n, now() - CASE n WHEN 24 THEN interval '29 days' ELSE n * interval '1 minute' END,
           'KubePodOOM', CASE WHEN n < 5 THEN 'critical' ELSE 'warning' END, 'm', 0.5, 'restart_pod',
           CASE WHEN n <= 8 OR n > 10 THEN 'completed' WHEN n = 9 THEN 'failed' ELSE 'pending' END,
           CASE WHEN n <= 10 THEN 'oom' ELSE 'disk' END, CASE WHEN n <= 6 THEN 'restart' ELSE 'clean' END, '1.' || n % 2, n = 1
    FROM action_histories, generate_series(1, 24) AS n";

async fn service() -> (testkit::postgres::Database, Service) {
    let database = database("datastorage").await;
    let client = database.connect().await;
    client.batch_execute(TRACES).await.expect("traces");
    let service = Service::of_profile(database.url(), "datastorage").await;
    (database, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_rate_has_its_counts_confidence_and_parts() {
    let (_database, service) = service().await;
    let path = format!("{RATE}/incident-type?incident_type=oom&min_samples=10");
    assert_eq!(
        service.get(&path).await.expect(200).body,
        json!({
            "incident_type": "oom", "time_range": "7d", "total_executions": 10, "successful_executions": 8, "failed_executions": 1,
            "success_rate": 80.0, "confidence": "low", "min_samples_met": true,
            "ai_execution_mode": {"catalog_selected": 1, "chained": 0, "manual_escalation": 0},
            "breakdown_by_workflow": [
                {"workflow_id": "restart", "workflow_version": "1.0", "executions": 3, "success_rate": 100},
                {"workflow_id": "restart", "workflow_version": "1.1", "executions": 3, "success_rate": 100},
                {"workflow_id": "clean", "workflow_version": "1.0", "executions": 2, "success_rate": 50},
                {"workflow_id": "clean", "workflow_version": "1.1", "executions": 2, "success_rate": 50},
            ],
        })
    );
    let path = format!("{RATE}/workflow?workflow_id=clean&workflow_version=1.0&time_range=30d");
    let clean = service.get(&path).await.expect(200).body;
    assert_eq!(
        (&clean["total_executions"], &clean["workflow_version"]),
        (&json!(9), &json!("1.0"))
    );
    assert_eq!(
        clean["breakdown_by_incident_type"][0]["incident_type"],
        "disk"
    );
    let path = format!("{RATE}/workflow?workflow_id=clean");
    assert_eq!(service.get(&path).await.body["total_executions"], 17);
    let path = format!("{RATE}/multi-dimensional?incident_type=disk&action_type=restart_pod");
    let disk = service.get(&path).await.expect(200).body;
    assert_eq!(
        disk["dimensions"],
        json!({"incident_type": "disk", "action_type": "restart_pod"})
    );
    assert_eq!(
        disk["breakdown_by_action"],
        json!([{"action_type": "restart_pod", "executions": 13, "success_rate": 100}])
    );
    let path = format!("{RATE}/incident-type?incident_type=unknown");
    let none = service.get(&path).await.expect(200).body;
    assert_eq!(
        (
            &none["success_rate"],
            &none["confidence"],
            &none["min_samples_met"]
        ),
        (&json!(0.0), &json!("insufficient_data"), &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rate_cannot_be_asked_for_is_a_400() {
    let (_database, service) = service().await;
    for (query, field) in [
        ("incident-type", "incident_type"),
        ("incident-type?incident_type=", "incident_type"),
        ("workflow?workflow_version=1", "workflow_id"),
        ("multi-dimensional", "incident_type"),
        (
            "multi-dimensional?incident_type=a&workflow_version=1",
            "workflow_version",
        ),
        ("incident-type?incident_type=a&time_range=7w", "time_range"),
        ("incident-type?incident_type=a&time_range=0d", "time_range"),
        (
            "incident-type?incident_type=a&time_range=%2B7d",
            "time_range",
        ),
        (
            "incident-type?incident_type=a&time_range=99999999999d",
            "time_range",
        ),
        ("incident-type?incident_type=a&min_samples=0", "min_samples"),
    ] {
        let problem = service
            .get(&format!("{RATE}/{query}"))
            .await
            .expect(400)
            .problem();
        let fields: Vec<_> = problem
            .field_errors
            .iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(fields, [field], "{query}");
    }
    // The longest is one that is answered.
    let path = format!("{RATE}/incident-type?incident_type=a&time_range=99999d");
    service.get(&path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_are_listed_paged_and_counted() {
    let (_database, service) = service().await;
    let page = service
        .get(&format!("{INCIDENTS}?severity=critical&limit=3"))
        .await
        .expect(200)
        .body;
    assert_eq!(
        page["pagination"],
        json!({"limit": 3, "offset": 0, "total": 4, "has_more": true})
    );
    assert_eq!(
        (
            &page["data"][0]["action_id"],
            &page["data"][0]["signal_name"]
        ),
        (&json!("a-1"), &json!("KubePodOOM"))
    );
    let rest = service
        .get(&format!("{INCIDENTS}?severity=critical&limit=3&offset=3"))
        .await
        .body;
    assert_eq!(
        (
            &rest["data"].as_array().map(Vec::len),
            &rest["pagination"]["has_more"]
        ),
        (&Some(1), &json!(false))
    );
    let path = format!("{INCIDENTS}/aggregate/success-rate?workflow_id=restart");
    assert_eq!(
        service.get(&path).await.expect(200).body,
        json!({"workflow_id": "restart", "total_count": 6, "success_count": 6, "failure_count": 0, "success_rate": 1.0})
    );
    service
        .get(&format!("{INCIDENTS}/aggregate/success-rate"))
        .await
        .expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_without_traces_answers_503_with_the_relation() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    for path in [
        format!("{RATE}/incident-type?incident_type=a"),
        format!("{RATE}/workflow?workflow_id=a"),
        format!("{RATE}/multi-dimensional?action_type=a"),
        format!("{INCIDENTS}/aggregate/success-rate?workflow_id=a"),
        INCIDENTS.to_owned(),
    ] {
        let problem = service.get(&path).await.expect(503).problem();
        assert_eq!(problem.relation.as_deref(), Some("resource_action_traces"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_incidents_ends_early_and_says_so() {
    let (database, service) = service().await;
    let client = database.connect().await;
    let large = "UPDATE resource_action_traces SET model_reasoning = repeat('x', 900000) WHERE action_type = 'restart_pod'";
    client.batch_execute(large).await.expect("large");
    let page = service.get(INCIDENTS).await.expect(200).body;
    assert_eq!(page["data"].as_array().expect("a list").len(), 2);
    assert_eq!(page["pagination"]["has_more"], true);
    let last = service
        .get(&format!("{INCIDENTS}?offset=22"))
        .await
        .expect(200)
        .body;
    assert_eq!(last["data"].as_array().expect("a list").len(), 2);
    assert_eq!(last["pagination"]["has_more"], false);
}
