//! What a fake emits is in Data Storage, in order and once, whatever is killed.

use serde_json::{Value, json};
use service_fake::SERVICES;
use testkit::datastorage::Service;
use testkit::events::unique;
use testkit::postgres;

use crate::support::{Process, emitted, ids, stored};

/// An address at which nothing listens: port 9 (discard) is privileged and unused.
const NOWHERE: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn every_scenario_of_every_service_is_stored_as_it_was_emitted() {
    let database = postgres::database("audit").await;
    let datastorage = Service::start(&database).await;
    for service in SERVICES {
        let journal = tempfile::tempdir().unwrap();
        let fake = Process::start(service, &datastorage.url(), &journal).await;
        let (_, listed) = fake.get("/scenarios").await;
        for scenario in listed["scenarios"].as_array().unwrap() {
            let name = scenario["name"].as_str().unwrap();
            let played = fake.play(name, &json!({})).await;
            let (status, flushed) = fake.post("/flush", &Value::Null).await;
            assert_eq!(status, 200, "{service} {name}: {flushed}");
            let correlation_id = played["correlation_id"].as_str().unwrap();
            let events = stored(&datastorage.url(), correlation_id).await;
            assert_eq!(ids(&events), emitted(&played), "{service} {name}");
            for (event, emitted) in events.iter().zip(played["emitted"].as_array().unwrap()) {
                assert_eq!(emitted["event_type"], event.event_type, "{service} {name}");
                assert_eq!(event.correlation_id, correlation_id, "{service} {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_fake_killed_between_two_steps_loses_doubles_and_reorders_nothing() {
    let database = postgres::database("audit").await;
    let mut datastorage = Service::start(&database).await;
    let (journal, request) = (tempfile::tempdir().unwrap(), unique("rr"));
    let names = json!({"request": request});

    datastorage.kill();
    let mut fake = Process::start("gateway", &datastorage.url(), &journal).await;
    let mut ids_played = emitted(&fake.play("repeated-signal?to=1", &names).await);
    fake.kill();
    datastorage.restart().await;
    let fake = Process::start("gateway", &datastorage.url(), &journal).await;
    ids_played.extend(emitted(&fake.play("repeated-signal?from=2", &names).await));
    assert_eq!(fake.post("/flush", &Value::Null).await.0, 200);

    assert_eq!(ids_played.len(), 3);
    assert_eq!(ids(&stored(&datastorage.url(), &request).await), ids_played);
}

#[tokio::test]
async fn a_flush_without_data_storage_reports_what_is_outstanding() {
    let journal = tempfile::tempdir().unwrap();
    let fake = Process::start("notification", NOWHERE, &journal).await;
    fake.play("acknowledged", &json!({})).await;
    let (status, problem) = fake.post("/flush?seconds=1", &Value::Null).await;
    assert_eq!(status, 504, "{problem}");
    assert_eq!(problem["outstanding"]["journalled"], 2, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("cannot reach Data Storage"), "{detail}");
}

#[tokio::test]
async fn a_fake_asked_to_end_stores_what_it_has_emitted() {
    let database = postgres::database("audit").await;
    let datastorage = Service::start(&database).await;
    let (journal, remediation) = (tempfile::tempdir().unwrap(), unique("rr"));
    let mut fake = Process::start("aianalysis", &datastorage.url(), &journal).await;
    let names = json!({"remediation_id": remediation});
    let played = fake.play("completed", &names).await;
    assert!(fake.terminate().await.success());
    assert_eq!(
        ids(&stored(&datastorage.url(), &remediation).await),
        emitted(&played)
    );
}

#[tokio::test]
async fn a_fake_asked_to_end_waits_neither_for_a_flush_nor_for_data_storage() {
    let journal = tempfile::tempdir().unwrap();
    let mut fake = Process::start("aianalysis", NOWHERE, &journal).await;
    fake.play("completed", &json!({})).await;
    let flush = fake.posting("/flush?seconds=120").await;
    assert!(fake.terminate().await.success());
    // Whether it was answered or cut off is not the caller's to know.
    drop(flush.await);
}

#[tokio::test]
async fn without_a_journal_events_are_sent_by_plain_requests_and_a_flush_reads_them_back() {
    let database = postgres::database("audit").await;
    let mut datastorage = Service::start(&database).await;
    let (place, remediation) = (tempfile::tempdir().unwrap(), unique("rr"));
    let fake = Process::without_store("notification", &datastorage.url(), &place).await;
    let (_, health) = fake.get("/health").await;
    assert_eq!(health["emits"], "by plain requests", "{health}");
    let names = json!({"remediation": remediation});
    let played = fake.play("three-escalations", &names).await;
    let (status, flushed) = fake.post("/flush", &Value::Null).await;
    assert_eq!((status, &flushed), (200, &json!({"stored": 9})));
    let events = stored(&datastorage.url(), &remediation).await;
    assert_eq!(ids(&events), emitted(&played));

    datastorage.kill();
    let (status, problem) = fake.post("/scenarios/acknowledged", &names).await;
    assert_eq!(status, 503, "nothing keeps what is not accepted: {problem}");
}
