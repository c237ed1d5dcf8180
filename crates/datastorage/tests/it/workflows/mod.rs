//! The workflow catalogue: versions, their status, lists, and what happens when something goes away.

mod audit;
mod search;

use datastorage_api::DatabaseErrorKind;
use serde_json::{Value, json};
use testkit::postgres::{Database, database, server};
use testkit::proxy::Proxy;
use testkit::wait::until;

use crate::support::{SOON, Service, http, send, with};

const WORKFLOWS: &str = "/api/v1/workflows";
const SEARCH: &str = "/api/v1/workflows/search";
const UNKNOWN: &str = "0193b3a0-0000-7000-8000-000000000000";

async fn catalogue() -> (Database, Service) {
    let database = database("datastorage").await;
    let service = Service::of_profile(database.url(), "datastorage").await;
    (database, service)
}

/// A version that fits [`filters`].
pub(crate) fn workflow(name: &str, version: &str) -> Value {
    json!({
        "workflow_name": name, "version": version, "name": format!("{name} {version}"), "description": "restarts it",
        "content": "steps: []", "content_hash": "a".repeat(64), "execution_engine": "tekton", "status": "active",
        "labels": {"signal_type": "OOMKilled", "severity": "high", "component": "deployment", "environment": "production",
            "priority": "P1"}
    })
}

fn filters() -> Value {
    json!({"signal_type": "OOMKilled", "severity": "high", "component": "deployment", "environment": "production", "priority": "P1"})
}

async fn register(service: &Service, workflow: &Value) -> Value {
    service.post(WORKFLOWS, workflow).await.expect(201).body
}

fn path(workflow: &Value) -> String {
    format!(
        "{WORKFLOWS}/{}",
        workflow["workflow_id"].as_str().expect("an id")
    )
}

/// The named members of each of `list`.
fn column<'a>(list: &'a Value, member: &str) -> Vec<&'a Value> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|item| &item[member])
        .collect()
}

/// The data of the audit events of a type, oldest first, once there are `count`.
async fn audited(service: &Service, event_type: &str, count: usize) -> Vec<Value> {
    let path = format!("/api/v1/audit/events?event_type={event_type}");
    until("the catalogue's audit events", SOON, async || {
        let answer = service.get(&path).await;
        let mut events = answer.body["data"].as_array().expect("events").clone();
        events.reverse();
        if events.len() == count {
            Ok(events)
        } else {
            Err(answer.body)
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_version_comes_back_whole() {
    let (_database, service) = catalogue().await;
    let parameters = r#"{"replicas":12345678901234567890123,"ratio":0.10000000000000000555}"#;
    let sent = with(
        workflow("restart", "1.0.0"),
        json!({"custom_labels": {"team": ["payments"]}, "detected_labels": {"gitOpsManaged": true, "serviceMesh": "istio"},
            "expected_success_rate": 0.95, "approved_at": "2026-01-01T00:00:00+01:00", "owner": "sre", "total_executions": 3,
            "successful_executions": 2, "parameters": {}}),
    );
    let text = sent.to_string().replace(
        r#""parameters":{}"#,
        &format!(r#""parameters":{parameters}"#),
    );
    let stored = service.post_text(WORKFLOWS, &text).await.expect(201).body;
    for (member, value) in sent.as_object().expect("members") {
        match member.as_str() {
            "approved_at" => assert_eq!(stored[member], "2025-12-31T23:00:00+00:00"),
            "parameters" => {}
            _ => assert_eq!(&stored[member], value, "{member}"),
        }
    }
    assert_eq!(stored["is_latest_version"], true);
    assert_eq!(service.get(&path(&stored)).await.expect(200).body, stored);
    let raw = reqwest::get(service.url(&path(&stored)))
        .await
        .expect("an answer")
        .text()
        .await
        .expect("text");
    assert!(
        raw.contains("12345678901234567890123") && raw.contains("0.10000000000000000555"),
        "{raw}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_version_is_the_latest_and_versions_are_listed_newest_first() {
    let (_database, service) = catalogue().await;
    for version in ["1.0.0", "1.1.0", "0.9.0"] {
        register(&service, &workflow("restart", version)).await;
    }
    let versions = service
        .get("/api/v1/workflows/by-name/restart/versions")
        .await
        .expect(200)
        .body;
    assert_eq!(
        column(&versions["versions"], "version"),
        ["0.9.0", "1.1.0", "1.0.0"]
    );
    assert_eq!(
        column(&versions["versions"], "is_latest_version"),
        [true, false, false]
    );
    assert_eq!(versions["total"], 3);
    let none = service
        .get("/api/v1/workflows/by-name/no%20such/versions")
        .await
        .expect(200)
        .body;
    assert_eq!(
        none,
        json!({"workflow_name": "no such", "versions": [], "total": 0, "has_more": false})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_versions_registered_at_the_same_time_one_is_the_latest() {
    let (database, service) = catalogue().await;
    let versions: Vec<_> = (0..12)
        .map(|number| workflow("race", &format!("{number}")))
        .collect();
    let registered =
        futures_util::future::join_all(versions.iter().map(|version| register(&service, version)))
            .await;
    assert_eq!(registered.len(), 12);
    let latest =
        "SELECT count(*), max(created_at) FILTER (WHERE is_latest_version) = max(created_at)
                  FROM remediation_workflow_catalog WHERE workflow_name = 'race'";
    let row = database
        .connect()
        .await
        .query_one(latest, &[])
        .await
        .expect("a row");
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, Option<bool>>(1)),
        (12, Some(true))
    );
    let listed = service
        .get("/api/v1/workflows/by-name/race/versions")
        .await
        .body;
    let flags = column(&listed["versions"], "is_latest_version");
    assert_eq!(
        flags.iter().filter(|flag| ***flag == json!(true)).count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_exists_is_a_409_and_changes_nothing() {
    let (_database, service) = catalogue().await;
    let first = register(&service, &workflow("restart", "1.0.0")).await;
    let second = register(&service, &workflow("restart", "2.0.0")).await;
    let again = service
        .post(WORKFLOWS, &workflow("restart", "1.0.0"))
        .await
        .expect(409)
        .problem();
    assert_eq!(again.name(), "conflict");
    assert_eq!(again.title, "Workflow Already Exists");
    assert_eq!(service.get(&path(&second)).await.body, second);
    assert_eq!(
        service.get(&path(&first)).await.body["is_latest_version"],
        false
    );
    assert_eq!(
        audited(&service, "datastorage.workflow.created", 2)
            .await
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_workflow_is_a_404_and_a_malformed_id_a_400() {
    let (_database, service) = catalogue().await;
    for suffix in ["", "/disable"] {
        let (unknown, malformed) = (
            format!("{WORKFLOWS}/{UNKNOWN}{suffix}"),
            format!("{WORKFLOWS}/17{suffix}"),
        );
        let status = json!({"status": "archived"});
        assert_eq!(
            service
                .patch(&unknown, &status)
                .await
                .expect(404)
                .problem()
                .name(),
            "not-found"
        );
        let problem = service
            .patch(&malformed, &status)
            .await
            .expect(400)
            .problem();
        assert_eq!(problem.detail.as_deref(), Some("must be a UUID"));
    }
    service
        .get(&format!("{WORKFLOWS}/{UNKNOWN}"))
        .await
        .expect(404);
    service.get(&format!("{WORKFLOWS}/17")).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_the_status_and_what_goes_with_it() {
    let (_database, service) = catalogue().await;
    let path = path(&register(&service, &workflow("restart", "1.0.0")).await);
    let change = json!({"status": "disabled", "disabled_by": "ann", "disabled_reason": "broken"});
    let disabled = service.patch(&path, &change).await.expect(200).body;
    assert_eq!(
        (
            &disabled["status"],
            &disabled["disabled_by"],
            &disabled["disabled_reason"]
        ),
        (&json!("disabled"), &json!("ann"), &json!("broken"))
    );
    let since = &disabled["disabled_at"];
    assert!(since.is_string());
    let again = service
        .patch(&path, &json!({"disabled_reason": "still broken"}))
        .await
        .expect(200)
        .body;
    assert_eq!(
        (&again["disabled_at"], &again["disabled_reason"]),
        (since, &json!("still broken"))
    );
    let active = service
        .patch(&path, &json!({"status": "active"}))
        .await
        .expect(200)
        .body;
    for member in ["disabled_at", "disabled_by", "disabled_reason"] {
        assert_eq!(active[member], Value::Null, "{member}");
    }
    let events = audited(&service, "datastorage.workflow.updated", 3).await;
    assert_eq!(events[0]["event_data"]["updated_fields"], change);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_version_consists_of_cannot_be_patched() {
    let (_database, service) = catalogue().await;
    let stored = register(&service, &workflow("restart", "1.0.0")).await;
    let change =
        json!({"status": "disabled", "content": "other", "labels": {}, "description": null});
    let problem = service
        .patch(&path(&stored), &change)
        .await
        .expect(400)
        .problem();
    assert_eq!(problem.name(), "immutable-field-violation");
    let fields: Vec<_> = problem
        .field_errors
        .iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(fields, ["content", "description", "labels"]);
    assert_eq!(service.get(&path(&stored)).await.body, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_disabled_with_or_without_a_reason() {
    let (_database, service) = catalogue().await;
    let bare = path(&register(&service, &workflow("restart", "1.0.0")).await);
    let disabled = send(http().patch(service.url(&format!("{bare}/disable"))))
        .await
        .expect(200)
        .body;
    assert_eq!(
        (&disabled["status"], &disabled["disabled_by"]),
        (&json!("disabled"), &Value::Null)
    );
    let reasoned = path(&register(&service, &workflow("restart", "1.1.0")).await);
    let body = json!({"reason": "flaky", "updated_by": "bob"});
    let disabled = service
        .patch(&format!("{reasoned}/disable"), &body)
        .await
        .expect(200)
        .body;
    assert_eq!(
        (
            &disabled["disabled_reason"],
            &disabled["disabled_by"],
            &disabled["updated_by"]
        ),
        (&json!("flaky"), &json!("bob"), &json!("bob"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_filtered_paged_and_counted() {
    let (_database, service) = catalogue().await;
    for number in 0..5 {
        register(&service, &workflow(&format!("w{number}"), "1")).await;
    }
    let other = with(
        workflow("other", "1"),
        json!({"status": "deprecated", "labels": with(filters(),
        json!({"environment": "staging", "component": "*", "priority": "P3"}))}),
    );
    register(&service, &other).await;
    let list = async |query: &str| {
        service
            .get(&format!("{WORKFLOWS}?{query}"))
            .await
            .expect(200)
            .body
    };
    let all = list("").await;
    assert_eq!(
        (&all["limit"], &all["offset"], &all["total"]),
        (&json!(100), &json!(0), &json!(6))
    );
    assert_eq!(all["workflows"][0]["workflow_name"], "other");
    for query in [
        "status=deprecated",
        "environment=staging",
        "component=*",
        "priority=P3",
    ] {
        assert_eq!(
            column(&list(query).await["workflows"], "workflow_name"),
            ["other"],
            "{query}"
        );
    }
    let page = list("status=active&limit=2&offset=2").await;
    assert_eq!(column(&page["workflows"], "workflow_name"), ["w2", "w1"]);
    assert_eq!(page["total"], 5);
    let beyond = list("offset=9").await;
    assert_eq!(
        (&beyond["workflows"], &beyond["total"]),
        (&json!([]), &json!(6))
    );
    for query in [
        "limit=0",
        "limit=1001",
        "offset=-1",
        "status=gone",
        "environment=",
    ] {
        service
            .get(&format!("{WORKFLOWS}?{query}"))
            .await
            .expect(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_no_transaction_open() {
    let (database, service) = catalogue().await;
    register(&service, &workflow("restart", "1.0.0")).await;
    let blocker = database.connect().await;
    blocker
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('remediation_workflow_catalog restart', 0))")
        .await
        .expect("the lock of the name");
    let waiting = http()
        .post(service.url(WORKFLOWS))
        .json(&workflow("restart", "2.0.0"))
        .send();
    let waiting = tokio::spawn(waiting);
    let observer = database.connect().await;
    let holding = async |condition: &str| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'datastorage' AND {condition}"
        );
        observer
            .query_one(&sql, &[])
            .await
            .expect("a count")
            .get::<_, i64>(0)
    };
    until(
        "the registration to wait for the lock",
        SOON,
        async || match holding("wait_event_type = 'Lock'").await {
            1 => Ok(()),
            count => Err(format!("{count} wait")),
        },
    )
    .await;
    waiting.abort();
    drop(waiting.await);
    blocker.batch_execute("ROLLBACK").await.expect("released");
    until("its transaction to end", SOON, async || {
        match holding("xact_start IS NOT NULL").await {
            0 => Ok(()),
            count => Err(format!("{count} in a transaction")),
        }
    })
    .await;
    assert_eq!(service.get(WORKFLOWS).await.expect(200).body["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_catalogue_answers_503_and_afterwards_as_before() {
    let database = database("datastorage").await;
    let port = server().await.port().expect("it listens");
    let proxy = Proxy::start(format!("127.0.0.1:{port}")).await;
    let service = Service::of_profile(&proxy.url(database.url()), "datastorage").await;
    let stored = register(&service, &workflow("restart", "1.0.0")).await;
    proxy.down();
    let unknown = workflow("restart", "2.0.0");
    let search = json!({"filters": filters()});
    for answer in [
        service.get(WORKFLOWS).await,
        service.get(&path(&stored)).await,
        service.post(SEARCH, &search).await,
        service.post(WORKFLOWS, &unknown).await,
        service
            .patch(&path(&stored), &json!({"status": "archived"}))
            .await,
    ] {
        let problem = answer.expect(503).problem();
        assert_eq!(problem.kind, Some(DatabaseErrorKind::Connection));
        assert_eq!(problem.retry, Some(true));
    }
    proxy.heal();
    until("the catalogue to be back", SOON, async || {
        let answer = service.get(&path(&stored)).await;
        if answer.status == 200 {
            Ok(answer)
        } else {
            Err(answer.body)
        }
    })
    .await;
    assert_eq!(service.get(&path(&stored)).await.body, stored);
    assert_eq!(service.get(WORKFLOWS).await.body["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_searches_of_large_versions_end_early_and_say_so() {
    let (_database, service) = catalogue().await;
    for number in 0..5 {
        let large = with(
            workflow("large", &number.to_string()),
            json!({"description": "x".repeat(900_000)}),
        );
        register(&service, &large).await;
    }
    for name in ["a", "b", "c"] {
        let large = with(
            workflow(name, "1"),
            json!({"description": "x".repeat(900_000)}),
        );
        register(&service, &large).await;
    }
    let mut seen = 0;
    loop {
        let page = service
            .get(&format!("{WORKFLOWS}?offset={seen}"))
            .await
            .expect(200)
            .body;
        assert_eq!(page["total"], 8);
        let count = page["workflows"].as_array().expect("a list").len();
        assert!((1..=2).contains(&count), "{count}");
        seen += count;
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, 8);
    let versions = service
        .get(&format!("{WORKFLOWS}/by-name/large/versions"))
        .await
        .expect(200)
        .body;
    assert_eq!(column(&versions["versions"], "version"), ["4", "3"]);
    assert_eq!(
        (&versions["total"], &versions["has_more"]),
        (&json!(5), &json!(true))
    );
    let found = service
        .post(SEARCH, &json!({"filters": filters()}))
        .await
        .expect(200)
        .body;
    assert_eq!(column(&found["workflows"], "title"), ["c 1", "b 1"]);
    assert_eq!(found["total_results"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_with_numbers_that_cannot_be_read_back_are_refused() {
    let (_database, service) = catalogue().await;
    for number in [
        "1e999",
        "1e-99999",
        "-1E+309",
        &format!("0.{}1", "0".repeat(20_000)),
    ] {
        let body = with(
            workflow("numbers", "1"),
            json!({"parameters": {"a": "NUMBER"}}),
        );
        let body = body.to_string().replace("\"NUMBER\"", number);
        let problem = service
            .post_text(WORKFLOWS, &body)
            .await
            .expect(400)
            .problem();
        assert!(problem.detail.expect("a detail").contains("parameters"));
    }
}
