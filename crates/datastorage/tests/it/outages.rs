//! Nothing acknowledged is lost or doubled: kill -9 of the server, of PostgreSQL, of both, and a broken network, under load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use embedded_postgres::{Durability, Options, Server};
use serde_json::{Value, json};
use testkit::proxy::Proxy;
use testkit::wait::until;
use tokio::task::JoinSet;

use crate::support::{Process, SOON, event, http, migrate, settings, try_send, with};

const CLIENTS: usize = 16;

/// Clients that write until they are stopped, and what they were told.
struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: Mutex<Vec<String>>,
    queued: AtomicUsize,
}

impl Load {
    fn start(address: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(client(number, address.to_owned(), Arc::clone(&shared)));
        }
        Self { shared, clients }
    }

    fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().expect("no panic").len()
    }

    /// Returns when so many more events are acknowledged.
    async fn more(&self, events: usize) {
        let goal = self.acknowledged() + events;
        until(
            &format!("{events} more events to be acknowledged"),
            SOON * 2,
            async || {
                let now = self.acknowledged();
                if now >= goal {
                    Ok(())
                } else {
                    Err(format!("{now} of {goal}"))
                }
            },
        )
        .await;
    }

    /// Returns when so many more events are acknowledged by a 202.
    async fn more_queued(&self, events: usize) {
        let queued = || self.shared.queued.load(Ordering::SeqCst);
        let goal = queued() + events;
        until(
            &format!("{events} more events to be queued"),
            SOON * 2,
            async || {
                if queued() >= goal {
                    Ok(())
                } else {
                    Err(format!("{} of {goal}", queued()))
                }
            },
        )
        .await;
    }

    /// Stops the clients; every acknowledged event is in the database once, and nothing is there twice.
    async fn every_acknowledged_event_is_stored_once(self, url: &str) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.clients.join_all().await;
        let acknowledged = std::mem::take(&mut *self.shared.acknowledged.lock().expect("no panic"));
        let client = testkit::postgres::connect(url).await;
        let stored = until(
            "every acknowledged event to be stored",
            SOON * 2,
            async || {
                let rows = client
                    .query(
                        "SELECT correlation_id, count(*) FROM audit_events GROUP BY 1",
                        &[],
                    )
                    .await
                    .map_err(|error| error.to_string())?;
                let stored: BTreeMap<String, i64> =
                    rows.iter().map(|row| (row.get(0), row.get(1))).collect();
                let missing = acknowledged
                    .iter()
                    .filter(|id| !stored.contains_key(*id))
                    .count();
                if missing == 0 {
                    Ok(stored)
                } else {
                    Err(format!("{missing} of {} are missing", acknowledged.len()))
                }
            },
        )
        .await;
        let doubled: Vec<_> = stored.iter().filter(|(_, count)| **count != 1).collect();
        assert!(doubled.is_empty(), "stored more than once: {doubled:?}");
    }
}

/// Sends batches of one to five events. Even clients give ids and repeat what got no answer; odd ones give none and do not.
async fn client(number: usize, address: String, shared: Arc<Shared>) {
    let client = http();
    let url = format!("http://{address}/api/v1/audit/events/batch");
    let keyed = number.is_multiple_of(2);
    let mut round = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        round += 1;
        let ids: Vec<_> = (0..=round % 5)
            .map(|part| format!("load-{number}-{round}-{part}"))
            .collect();
        let key = || {
            if keyed {
                json!(uuid::Uuid::now_v7())
            } else {
                Value::Null
            }
        };
        let batch: Vec<_> = ids
            .iter()
            .map(|id| with(event(id), json!({"event_id": key()})))
            .collect();
        loop {
            let sent = try_send(client.post(&url).json(&batch)).await;
            match sent.map(|answer| answer.status.as_u16()) {
                Ok(status @ (201 | 202)) => {
                    shared
                        .queued
                        .fetch_add(if status == 202 { ids.len() } else { 0 }, Ordering::SeqCst);
                    shared.acknowledged.lock().expect("no panic").extend(ids);
                    break;
                }
                Ok(503) => {}
                Ok(status) => panic!("client {number} got {status}"),
                // Whether it was stored is unknown: only an event with an id may be sent again.
                Err(_) if !keyed => break,
                Err(_) => {}
            }
            if shared.stop.load(Ordering::SeqCst) {
                return;
            }
            // A pace, not a wait for anything: a server that is away answers at once.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A server of PostgreSQL that keeps what it commits (D9), with the audit profile.
async fn postgres() -> Server {
    let server = testkit::postgres::own_server(Options {
        durability: Durability::Durable,
        ..Options::default()
    })
    .await;
    migrate(&server.url(server.database()), "audit").await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_it_acknowledged() {
    let postgres = postgres().await;
    let url = postgres.url(postgres.database());
    let directory = tempfile::tempdir().expect("a directory");
    let mut service = Process::start(settings(&url, directory.path())).await;
    let load = Load::start(&service.address);
    for _ in 0..3 {
        load.more(300).await;
        service.kill();
        service.restart().await;
    }
    load.more(300).await;
    load.every_acknowledged_event_is_stored_once(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgresql_loses_nothing_and_writes_go_on_into_the_queue() {
    let mut postgres = postgres().await;
    let url = postgres.url(postgres.database());
    let directory = tempfile::tempdir().expect("a directory");
    let service = Process::start(settings(&url, directory.path())).await;
    let load = Load::start(&service.address);
    for _ in 0..2 {
        load.more(300).await;
        postgres.kill().await.expect("killed");
        load.more_queued(300).await;
        postgres.restart().await.expect("restarted");
    }
    load.more(300).await;
    load.every_acknowledged_event_is_stored_once(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_killed_lose_nothing_and_the_queue_outlives_the_process() {
    let mut postgres = postgres().await;
    let url = postgres.url(postgres.database());
    let directory = tempfile::tempdir().expect("a directory");
    let mut service = Process::start(settings(&url, directory.path())).await;
    let load = Load::start(&service.address);
    load.more(300).await;
    postgres.kill().await.expect("killed");
    for _ in 0..2 {
        load.more_queued(200).await;
        service.kill();
        service.restart().await;
    }
    load.more_queued(200).await;
    postgres.restart().await.expect("restarted");
    load.more(300).await;
    load.every_acknowledged_event_is_stored_once(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_breaks_in_every_way_loses_nothing() {
    let postgres = postgres().await;
    let url = postgres.url(postgres.database());
    let proxy = Proxy::seeded(
        format!("127.0.0.1:{}", postgres.port().expect("it listens")),
        7,
    )
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let service = Process::start(settings(&proxy.url(&url), directory.path())).await;
    let load = Load::start(&service.address);
    load.more(300).await;
    proxy.cut();
    load.more(200).await;
    proxy.reset();
    load.more(200).await;
    proxy.blackhole();
    load.more_queued(200).await;
    proxy.heal();
    load.more(200).await;
    proxy.down();
    load.more_queued(200).await;
    proxy.heal();
    proxy.cut_randomly(60_000);
    proxy.cut();
    load.more(500).await;
    proxy.heal();
    load.more(300).await;
    load.every_acknowledged_event_is_stored_once(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_more_is_accepted_and_what_was_accepted_is_stored_later() {
    let mut postgres = postgres().await;
    let url = postgres.url(postgres.database());
    let directory = tempfile::tempdir().expect("a directory");
    // 4 MiB for the queue's file.
    let service = Process::start_with_small_files(settings(&url, directory.path()), 8192).await;
    let events = format!("http://{}/api/v1/audit/events", service.address);
    postgres.kill().await.expect("killed");
    let mut accepted = Vec::new();
    let refused = loop {
        let id = format!("disk-{}", accepted.len());
        let large = with(
            event(&id),
            json!({"event_data": {"text": "x".repeat(100_000)}}),
        );
        let answer = http()
            .post(&events)
            .json(&large)
            .send()
            .await
            .expect("an answer");
        match answer.status().as_u16() {
            202 => accepted.push(id),
            503 => break answer,
            status => panic!("{status}"),
        }
        assert!(accepted.len() < 200, "20 MB went into 4 MiB");
    };
    assert!(accepted.len() > 3, "{accepted:?}");
    assert_eq!(refused.headers()["retry-after"], "1");
    let problem = refused.text().await.expect("a body");
    assert!(problem.contains("was not queued"), "{problem}");

    postgres.restart().await.expect("restarted");
    let client = testkit::postgres::connect(&url).await;
    until("every accepted event to be stored", SOON, async || {
        let rows = client
            .query("SELECT correlation_id FROM audit_events", &[])
            .await;
        let stored: Vec<String> = rows
            .map_err(|error| error.to_string())?
            .iter()
            .map(|row| row.get(0))
            .collect();
        let missing: Vec<_> = accepted.iter().filter(|id| !stored.contains(id)).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?} are missing"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgresqls_disk_is_full_writes_go_into_the_queue() {
    let database = crate::support::audit_database().await;
    let service = crate::support::Service::start(database.url()).await;
    let client = database.connect().await;
    // What PostgreSQL says when a table cannot be extended. A full disk under its log ends it, which other tests show.
    client
        .batch_execute(
            "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
             CREATE TRIGGER disk_full BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION disk_full()",
        )
        .await
        .expect("made");
    let path = "/api/v1/audit/events";
    for id in ["a", "b", "c"] {
        service.post(path, &event(id)).await.expect(202);
    }
    client
        .batch_execute("DROP TRIGGER disk_full ON audit_events")
        .await
        .expect("dropped");
    until(
        "the queued events to be stored",
        SOON,
        async || match crate::support::count(&client).await {
            3 => Ok(()),
            count => Err(count),
        },
    )
    .await;
}
