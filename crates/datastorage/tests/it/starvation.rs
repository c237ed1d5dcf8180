//! Slow reads take neither connections nor answers from writes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datastorage::clock::Clock;
use datastorage_api::DatabaseErrorKind;
use serde_json::json;
use testkit::postgres::database;
use testkit::wait::until;
use tokio::task::JoinSet;

use crate::notifications::{NOTIFICATIONS, record};
use crate::support::{SOON, Service, event, http, send, with};

const EVENTS: &str = "/api/v1/audit/events";

/// More than the connections that reads may have, here one.
const READERS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_hold_every_connection_stop_no_write() {
    let database = database("datastorage").await;
    let settings = [
        ("DATASTORAGE_SCHEMA_PROFILE", "datastorage"),
        ("DATASTORAGE_DATABASE_MAX_OPEN_CONNS", "1"),
    ];
    let service = Service::with(database.url(), Clock::system(), &settings).await;
    service.ready().await;
    let client = database.connect().await;
    client
        .batch_execute("BEGIN; LOCK TABLE remediation_workflow_catalog IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        readers.spawn(read_until(
            Arc::clone(&stop),
            service.url("/api/v1/workflows"),
        ));
    }
    let other = database.connect().await;
    until("a read to wait for the lock", SOON, async || {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'datastorage' AND wait_event_type = 'Lock'";
        match other.query_one(waiting, &[]).await.expect("a count").get(0) {
            1_i64 => Ok(()),
            count => Err(format!("{count} wait")),
        }
    })
    .await;

    let parent = "018f0000-0000-4000-8000-000000000001";
    let first = with(event("single"), json!({"event_id": parent}));
    service.post(EVENTS, &first).await.expect(201);
    let child = with(event("child"), json!({"parent_event_id": parent}));
    service.post(EVENTS, &child).await.expect(201);
    service
        .post(
            "/api/v1/audit/events/batch",
            &json!([event("a"), event("b")]),
        )
        .await
        .expect(201);
    service
        .post(NOTIFICATIONS, &record("n-1"))
        .await
        .expect(201);
    service.get("/health/ready").await.expect(200);
    let available = service.metric("datastorage_database_available").await;
    assert_eq!(available, Some(1.0));

    until("a read to find no connection", SOON, async || {
        let answer = service.get("/api/v1/workflows").await;
        match answer.problem().kind {
            Some(DatabaseErrorKind::PoolExhausted) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    let kinds: BTreeSet<_> = readers.join_all().await.into_iter().flatten().collect();
    let known = ["pool_exhausted", "timeout"].map(ToOwned::to_owned);
    assert!(kinds.is_subset(&known.into()), "{kinds:?}");
    client.batch_execute("ROLLBACK").await.expect("unlocked");
    service.get("/api/v1/workflows").await.expect(200);
}

/// Reads without a pause; returns the kinds of problem it got.
async fn read_until(stop: Arc<AtomicBool>, url: String) -> BTreeSet<String> {
    let client = http();
    let mut kinds = BTreeSet::new();
    while !stop.load(Ordering::SeqCst) {
        let answer = send(client.get(&url)).await.expect(503);
        kinds.extend(answer.body["kind"].as_str().map(ToOwned::to_owned));
    }
    kinds
}
