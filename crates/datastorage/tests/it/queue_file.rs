//! The queue's file: damaged, of the version before, of a newer one, full of what is parked, and smaller once it is drained.

use std::path::{Path, PathBuf};

use datastorage::clock::Clock;
use redb::{Database, TableDefinition};
use serde_json::{Value, json};
use testkit::wait::until;

use crate::queue::{behind_proxy, depth_becomes};
use crate::support::{SOON, Service, TOKEN, TOKEN_FILE, count, event, token_file, with};

const EVENTS: &str = "/api/v1/audit/events";
const BATCH: &str = "/api/v1/audit/events/batch";
const PARKED: &str = "/api/v1/queue/parked";
const UNREADABLE: &str = "datastorage_queue_unreadable_total";

const PENDING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pending");

fn file(directory: &Path) -> PathBuf {
    directory.join("queue/queue.redb")
}

async fn start(directory: &Path, url: &str) -> Service {
    let tokens = directory.join("tokens");
    std::fs::write(&tokens, TOKEN).expect("written");
    let more = [(TOKEN_FILE, tokens.to_str().expect("UTF-8"))];
    Service::in_directory(directory, url, Clock::system(), &more).await
}

/// Puts bytes into the queue of a server that is stopped, behind all others.
fn append(directory: &Path, number: u64, bytes: &[u8]) {
    let database = Database::create(file(directory)).expect("a queue");
    let transaction = database.begin_write().expect("a transaction");
    transaction
        .open_table(PENDING)
        .expect("a table")
        .insert(number, bytes)
        .expect("inserted");
    transaction.commit().expect("committed");
}

/// What readiness says of the queue.
async fn trouble(service: &Service) -> Value {
    service.get("/health/ready").await.body["queue"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_entry_is_parked_as_it_is_and_the_others_are_stored() {
    let (database, proxy, url) = behind_proxy().await;
    let directory = tempfile::tempdir().expect("a directory");
    let service = start(directory.path(), &url).await;
    proxy.down();
    for id in ["before", "damaged", "behind"] {
        service.post(EVENTS, &event(id)).await.expect(202);
    }
    service.stop().await;
    let mut bytes = std::fs::read(file(directory.path())).expect("read");
    let mut found = 0;
    for at in 0..bytes.len() - 7 {
        if bytes[at..].starts_with(b"damaged") {
            bytes[at] = b'D';
            found += 1;
        }
    }
    assert!(found > 0);
    std::fs::write(file(directory.path()), bytes).expect("written");

    let service = start(directory.path(), &url).await;
    // To look at it makes no push fail.
    for n in 0..3 {
        assert_eq!(
            service.metric("datastorage_queue_available").await,
            Some(1.0)
        );
        service.get(PARKED).await.expect(200);
        let id = format!("new-{n}");
        service.post(EVENTS, &event(&id)).await.expect(202);
    }
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    assert_eq!(count(&database.connect().await).await, 5);
    assert_eq!(service.metric(UNREADABLE).await, Some(1.0));
    let parked = service.get(PARKED).await.expect(200).body;
    let entry = &parked["entries"][0];
    assert_eq!(
        (&parked["total"], &entry["payload"]),
        (&json!(1), &Value::Null)
    );
    for (member, part) in [("reason", "checksum"), ("raw", "Damaged")] {
        assert!(
            entry[member]
                .as_str()
                .is_some_and(|text| text.contains(part)),
            "{entry}"
        );
    }
    service.ready().await;
    assert!(
        trouble(&service)
            .await
            .as_str()
            .is_some_and(|text| text.contains("1 accepted writes are parked"))
    );

    let path = format!("{PARKED}/{}", entry["id"]);
    assert_eq!(&service.delete(&path).await.expect(200).body, entry);
    service.delete(&path).await.expect(404);
    service.delete(&format!("{PARKED}/first")).await.expect(400);
    assert_eq!(trouble(&service).await, Value::Null);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_newer_version_is_parked_until_a_version_that_knows_it_runs() {
    let (database, proxy, url) = behind_proxy().await;
    let directory = tempfile::tempdir().expect("a directory");
    let service = start(directory.path(), &url).await;
    proxy.down();
    service.post(EVENTS, &event("known")).await.expect(202);
    service.stop().await;
    append(directory.path(), 0, b"\x02whatever is to come");
    append(directory.path(), 7, b"");

    proxy.heal();
    let service = start(directory.path(), &url).await;
    service.ready().await;
    until("both to be parked", SOON, async || {
        let total = service.get(PARKED).await.body["total"].clone();
        if total == 2 { Ok(()) } else { Err(total) }
    })
    .await;
    let first = &service.get(&format!("{PARKED}?limit=1")).await.body;
    assert_eq!(first["has_more"], true);
    assert_eq!(first["entries"][0]["raw"], "\u{2}whatever is to come");
    let path = format!("{PARKED}?after={}", first["entries"][0]["id"]);
    let second = &service.get(&path).await.body;
    assert_eq!(
        (&second["has_more"], &second["entries"][0]["raw"]),
        (&json!(false), &json!(""))
    );
    // Put back they are parked again, unchanged.
    service
        .post(&format!("{PARKED}/redrive"), &json!({}))
        .await
        .expect(200);
    depth_becomes(&service, 0.0).await;
    let again = service.get(PARKED).await.body;
    assert_eq!(again["entries"][0]["raw"], first["entries"][0]["raw"]);
    assert_eq!(again["total"], 2);
    // Number 0 was the known one's.
    assert_eq!(count(&database.connect().await).await, 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_the_version_before_is_read() {
    let (database, proxy, url) = behind_proxy().await;
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("queue")).expect("made");
    let id = |n: u32| format!("018f0000-0000-4000-8000-00000000000{n}");
    let waiting = with(event("waits"), json!({"event_id": id(1)}));
    let stored = |event: &Value, n: u32| {
        let filled = json!({
            "event_id": id(n), "event_version": "1.0", "version": null, "actor_type": "service", "actor_id": "w", "resource_type": "w",
            "resource_id": "w", "severity": "info",
        });
        json!({"queued_at": "2026-01-02T03:04:05Z", "write": {"audit_event": with(event.clone(), filled)}})
    };
    {
        let database = Database::create(file(directory.path())).expect("a queue");
        let transaction = database.begin_write().expect("a transaction");
        {
            let mut pending = transaction.open_table(PENDING).expect("a table");
            let entry = stored(&waiting, 1).to_string();
            pending.insert(0, entry.as_bytes()).expect("inserted");
            let parked: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("parked");
            let mut parked = transaction.open_table(parked).expect("a table");
            let entry = json!({
                "entry": stored(&event("parked"), 2), "at": "2026-01-02T03:04:06Z", "reason": "refused", "sqlstate": "23514",
            });
            let entry = entry.to_string();
            parked.insert(1, entry.as_bytes()).expect("inserted");
            parked.insert(2, &b"{nothing"[..]).expect("inserted");
            let events: TableDefinition<'_, (u128, i32), i64> = TableDefinition::new("events");
            transaction.open_table(events).expect("a table");
            let figures: TableDefinition<'_, &str, u64> = TableDefinition::new("figures");
            let mut figures = transaction.open_table(figures).expect("a table");
            figures.insert("next", 3).expect("inserted");
        }
        transaction.commit().expect("committed");
    }

    proxy.down();
    let service = start(directory.path(), &url).await;
    let parked = service.get(PARKED).await.expect(200).body;
    assert_eq!(parked["total"], 2);
    let refused = &parked["entries"][0];
    assert_eq!(
        (
            &refused["reason"],
            &refused["parked_at"],
            &refused["payload"]["correlation_id"]
        ),
        (
            &json!("refused"),
            &json!("2026-01-02T03:04:06Z"),
            &json!("parked")
        )
    );
    assert_eq!(parked["entries"][1]["raw"], "{nothing");
    // The key of what waits is known.
    let other = with(waiting, json!({"event_data": {"phase": "Other"}}));
    service.post(EVENTS, &other).await.expect(409);
    service
        .post(&format!("{PARKED}/redrive"), &json!({}))
        .await
        .expect(200);
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    assert_eq!(count(&database.connect().await).await, 2);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_queue_is_set_aside_and_told() {
    let (database, proxy, url) = behind_proxy().await;
    let directory = tempfile::tempdir().expect("a directory");
    let queue = directory.path().join("queue");
    std::fs::create_dir(&queue).expect("made");
    std::fs::write(file(directory.path()), vec![b'x'; 1 << 20]).expect("written");
    let service = start(directory.path(), &url).await;
    service.ready().await;
    proxy.down();
    service.post(EVENTS, &event("kept")).await.expect(202);
    assert_eq!(
        service.metric("datastorage_queue_damaged_files").await,
        Some(1.0)
    );
    assert!(
        trouble(&service)
            .await
            .as_str()
            .is_some_and(|text| text.contains("1 damaged files lie in"))
    );
    let aside: Vec<_> = std::fs::read_dir(&queue)
        .expect("a directory")
        .map(|file| file.expect("a file"))
        .filter(|file| file.file_name().to_string_lossy().contains(".damaged-"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(aside[0].metadata().expect("metadata").len(), 1 << 20);
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    assert_eq!(count(&database.connect().await).await, 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_gives_its_space_back_once_it_is_drained() {
    let (_database, proxy, url) = behind_proxy().await;
    let service = Service::start(&url).await;
    proxy.down();
    let large = json!({"event_data": {"text": "x".repeat(1 << 20)}});
    for n in 0..12 {
        let event = with(event(&format!("large-{n}")), large.clone());
        service.post(EVENTS, &event).await.expect(202);
    }
    let bytes = "datastorage_queue_file_bytes";
    let full = service.metric(bytes).await.expect("a size");
    assert!(full > 12e6, "{full}");
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    until("the file to be small", SOON, async || {
        let now = service.metric(bytes).await.expect("a size");
        if now < full / 4.0 { Ok(()) } else { Err(now) }
    })
    .await;
    proxy.down();
    service.post(EVENTS, &event("after")).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_in_bytes_counts_the_request_and_what_is_parked() {
    let (database, proxy, url) = behind_proxy().await;
    let tokens = token_file();
    let more = [
        ("DATASTORAGE_QUEUE_MAX_BYTES", "1048576"),
        (TOKEN_FILE, tokens.path().to_str().expect("UTF-8")),
    ];
    let service = Service::with(&url, Clock::system(), &more).await;
    let client = database.connect().await;
    client
        .batch_execute(
            "ALTER TABLE audit_events ADD CONSTRAINT no_poison CHECK (correlation_id <> 'poison')",
        )
        .await
        .expect("added");
    proxy.down();
    let large = json!({"event_data": {"text": "x".repeat(600_000)}});
    let (first, second) = (
        with(event("poison"), large.clone()),
        with(event("second"), large),
    );
    service
        .post(BATCH, &json!([first, second]))
        .await
        .expect(503);
    service.post(EVENTS, &first).await.expect(202);
    service.post(EVENTS, &second).await.expect(503);
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    let parked = service.get(PARKED).await.body;
    assert_eq!(parked["total"], 1);
    proxy.down();
    service.post(EVENTS, &second).await.expect(503);
    service
        .delete(&format!("{PARKED}/{}", parked["entries"][0]["id"]))
        .await
        .expect(200);
    service.post(EVENTS, &second).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_batch_gets_the_answer_that_the_database_would_give() {
    let (database, proxy, url) = behind_proxy().await;
    let service = Service::start(&url).await;
    proxy.down();
    let id = json!({"event_id": "018f0000-0000-4000-8000-000000000001"});
    let first = with(event("first"), id);
    let now = jiff::Timestamp::now();
    let other_time = with(first.clone(), json!({"event_timestamp": now.to_string()}));
    let other_content = with(first.clone(), json!({"event_data": {"phase": "Other"}}));
    for other in [&other_time, &other_content] {
        service
            .post(BATCH, &json!([first, other]))
            .await
            .expect(409);
    }
    service
        .post(BATCH, &json!([first, first]))
        .await
        .expect(202);
    depth_becomes(&service, 1.0).await;
    for other in [&other_time, &other_content] {
        service.post(EVENTS, other).await.expect(409);
        service.post(BATCH, &json!([other])).await.expect(409);
    }
    service.post(EVENTS, &first).await.expect(202);
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    assert_eq!(count(&database.connect().await).await, 1);
    assert_eq!(service.metric("datastorage_queue_parked").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed_while_it_is_open_takes_no_more_and_what_it_holds_is_kept() {
    let (database, proxy, url) = behind_proxy().await;
    let directory = tempfile::tempdir().expect("a directory");
    let service = start(directory.path(), &url).await;
    proxy.down();
    service.post(EVENTS, &event("before")).await.expect(202);
    let queue = directory.path().join("queue");
    std::fs::remove_dir_all(&queue).expect("removed");
    std::fs::write(&queue, "in the way").expect("written");
    let failures = service.metric("datastorage_queue_failures_total").await;
    service.post(EVENTS, &event("refused")).await.expect(503);
    let available = service.metric("datastorage_queue_available").await;
    assert_eq!(available, Some(0.0));
    assert!(trouble(&service).await.to_string().contains("removed"));
    let more = service.metric("datastorage_queue_failures_total").await;
    assert!(
        more > Some(0.0) && more >= failures,
        "{failures:?} {more:?}"
    );

    std::fs::remove_file(&queue).expect("removed");
    until("the queue to be used again", SOON, async || {
        match service.post(EVENTS, &event("after")).await.status.as_u16() {
            202 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    assert_eq!(trouble(&service).await, Value::Null);
    // What is in the new file outlives the process.
    service.stop().await;
    let service = start(directory.path(), &url).await;
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    let client = database.connect().await;
    let sql = "SELECT string_agg(correlation_id, ' ' ORDER BY correlation_id) FROM audit_events";
    let row = client.query_one(sql, &[]).await.expect("a row");
    assert_eq!(row.get::<_, String>(0), "after before");
}
