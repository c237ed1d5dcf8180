//! What a fake says of itself, and of requests that it cannot play.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Process, program};

async fn gateway(journal: &TempDir) -> Process {
    Process::start("gateway", "http://127.0.0.1:9", journal).await
}

#[tokio::test]
async fn it_says_that_it_is_a_fake() {
    let journal = tempfile::tempdir().unwrap();
    let fake = gateway(&journal).await;
    for path in ["/health", "/health/live", "/health/ready"] {
        let (status, health) = fake.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(
            (&health["service"], &health["fake"]),
            (&json!("gateway"), &json!(true)),
            "{path}"
        );
    }
    let help = program().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("It is not the service"), "{help}");
}

#[tokio::test]
async fn it_lists_its_scenarios_with_the_names_that_can_be_given() {
    let journal = tempfile::tempdir().unwrap();
    let fake = gateway(&journal).await;
    let (_, listed) = fake.get("/scenarios").await;
    let scenario = &listed["scenarios"][0];
    assert_eq!(scenario["name"], "new-signal");
    assert_eq!(scenario["names"]["alert_name"], "HighMemoryUsage");
}

#[tokio::test]
async fn an_unknown_scenario_is_not_found_and_the_known_ones_are_listed() {
    let journal = tempfile::tempdir().unwrap();
    let fake = gateway(&journal).await;
    let (status, problem) = fake.post("/scenarios/acknowledged", &json!({})).await;
    assert_eq!((status, &problem["title"]), (404, &json!("Not Found")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("`acknowledged`")
            && detail.contains("new-signal, repeated-signal, refused-request"),
        "{detail}"
    );
}

#[tokio::test]
async fn what_a_scenario_cannot_take_is_refused_before_anything_is_emitted() {
    let journal = tempfile::tempdir().unwrap();
    let fake = gateway(&journal).await;
    let requests = [
        (
            "/scenarios/new-signal",
            json!({"requst": "rr-1"}),
            "`requst`",
        ),
        ("/scenarios/new-signal", json!({"request": 1}), "string"),
        ("/scenarios/new-signal", json!(["rr-1"]), "JSON object"),
        ("/scenarios/new-signal?from=3", json!({}), "2 steps"),
    ];
    for (path, names, named) in requests {
        let (status, problem) = fake.post(path, &names).await;
        assert_eq!(status, 400, "{path} {names}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{path} {names}: {detail}");
    }
    let (status, flushed) = fake.post("/flush", &Value::Null).await;
    assert_eq!((status, flushed), (200, json!({"stored": 0})));
}

#[test]
fn a_service_without_scenarios_is_refused_with_those_that_have_some() {
    let journal = tempfile::tempdir().unwrap();
    let output = program()
        .args([
            "--service",
            "datastorage",
            "--datastorage-url",
            "http://127.0.0.1:9",
        ])
        .arg("--audit-journal-dir")
        .arg(journal.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        said.contains("`datastorage`") && said.contains("workflowexecution, gateway"),
        "{said}"
    );
}
