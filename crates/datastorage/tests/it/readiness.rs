//! A probe is answered within its second, and truly, whatever the database does.

use std::time::Duration;

use datastorage::clock::Clock;
use serde_json::{Value, json};

use crate::queue::behind_proxy;
use crate::support::{Service, audit_database, event, http, try_send, with};

const EVENTS: &str = "/api/v1/audit/events";
/// What a probe waits for an answer, as Kubernetes does by default.
const SECOND: Duration = Duration::from_secs(1);

/// What a probe is told.
async fn probe(service: &Service, path: &str) -> (u16, Value) {
    let request = http().get(service.url(path)).timeout(SECOND);
    let answer = try_send(request).await.expect("an answer in time");
    (answer.status.as_u16(), answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_silent_a_probe_is_told_in_time() {
    let (_database, proxy, url) = behind_proxy().await;
    let patient = [("DATASTORAGE_DATABASE_STATEMENT_TIMEOUT", "60s")];
    let service = Service::with(&url, Clock::system(), &patient).await;
    service.ready().await;
    proxy.blackhole();
    for _ in 0..3 {
        let (status, body) = probe(&service, "/health/ready").await;
        assert_eq!(
            (status, &body["reason"]),
            (503, &json!("database_unreachable"))
        );
        let (status, body) = probe(&service, "/health").await;
        assert_eq!((status, &body["database"]), (503, &json!("disconnected")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_table_is_locked_and_every_connection_waits_for_it_a_probe_is_told_in_time() {
    let database = audit_database().await;
    let patient = [("DATASTORAGE_DATABASE_STATEMENT_TIMEOUT", "60s")];
    let service = Service::with(database.url(), Clock::system(), &patient).await;
    service.ready().await;
    let locker = database.connect().await;
    locker
        .batch_execute("BEGIN; LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    let parent = "018f0000-0000-4000-8000-000000000001";
    let mut waiting = Vec::new();
    for number in 0..20 {
        let child = with(event("child"), json!({"parent_event_id": parent}));
        for request in [
            http().post(service.url(EVENTS)).json(&child),
            http().get(service.url(&format!("{EVENTS}?limit={}", number + 1))),
        ] {
            waiting.push(tokio::spawn(try_send(request)));
        }
    }
    for _ in 0..3 {
        // Nothing is wrong with the schema, and what cannot be stored for now is accepted.
        let (status, body) = probe(&service, "/health/ready").await;
        assert_eq!(status, 200, "{body}");
        assert!(body["warnings"].to_string().contains("locked"), "{body}");
    }
    locker.batch_execute("ROLLBACK").await.expect("unlocked");
    for answer in waiting {
        answer.await.expect("no panic").expect("an answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_probes_at_once_share_a_look_and_are_all_told_in_time() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    service.ready().await;
    let probes = (0..200).map(|_| probe(&service, "/health/ready"));
    for (status, body) in futures(probes).await {
        assert_eq!(status, 200, "{body}");
    }
}

async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures_util::future::join_all(all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_missing_ahead_is_told_long_before_writes_fail() {
    // What is needed today and tomorrow stays; 32 days on it is another month, whatever today is.
    let database = audit_database().await;
    let client = database.connect().await;
    client
        .batch_execute(
            "DO $$ DECLARE late text; BEGIN
                 FOR late IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_events'::regclass
                     AND inhrelid::regclass::text > to_char(now() + interval '1 day', '\"audit_events_y\"YYYY\"m\"MM') LOOP
                     EXECUTE 'DROP TABLE ' || late;
                 END LOOP;
             END $$;
             CREATE OR REPLACE FUNCTION ensure_audit_events_partitions(moment timestamptz DEFAULT now(), ahead integer DEFAULT 3) RETURNS SETOF text
             LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$",
        )
        .await
        .expect("taken away");
    let service = Service::start(database.url()).await;
    service.ready().await;
    service.post(EVENTS, &event("now")).await.expect(201);
    let told = testkit::wait::until("both to be told", crate::support::SOON, async || {
        let (_, body) = probe(&service, "/health/ready").await;
        let told = body["warnings"].to_string();
        let all = told.contains("missing ahead: partition") && told.contains("not today");
        if all { Ok(body) } else { Err(body) }
    })
    .await;
    assert_eq!(told["status"], "ready");
}
