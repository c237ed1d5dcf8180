//! Nothing acknowledged is lost or doubled: kill -9 of the server, of PostgreSQL, of both, and a broken network, under load.

use std::time::Duration;

use datastorage::clock::Clock;
use embedded_postgres::{Durability, Options, Server};
use serde_json::{Value, json};
use testkit::faults;
use testkit::load::Load;
use testkit::proxy::{Direction, Proxy};
use testkit::wait::until;

use crate::support::{Process, SOON, Service, event, http, migrate, settings, try_send, with};

const CLIENTS: usize = 16;
/// Events of the batches that each client sends in turn.
const SIZES: &[usize] = &[1, 2, 3, 4, 5];
/// How long the last acknowledged event may take to be stored after the one before.
const PATIENCE: Duration = Duration::from_secs(20);

/// Clients that write to the server at `address`; each of their answers is held against the contract.
fn load(address: &str, sizes: &'static [usize]) -> Load {
    let (client, url) = (
        http(),
        format!("http://{address}/api/v1/audit/events/batch"),
    );
    Load::start(CLIENTS, sizes, move |batch: Vec<Value>| {
        let request = client.post(&url).json(&batch);
        async move { Some(try_send(request).await.ok()?.status.as_u16()) }
    })
}

/// Stops the clients; every acknowledged event is in the database, and nothing is there twice.
async fn every_acknowledged_event_is_stored_once(load: Load, url: &str) {
    let account = load.settle(url, PATIENCE).await;
    let lost = (account.lost_committed, account.lost_queued);
    assert_eq!((lost, account.doubled), ((0, 0), 0), "{account:?}");
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
    let load = load(&service.address, SIZES);
    for _ in 0..3 {
        load.more(300, SOON * 2).await;
        service.kill();
        service.restart().await;
    }
    load.more(300, SOON * 2).await;
    every_acknowledged_event_is_stored_once(load, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgresql_loses_nothing_and_writes_go_on_into_the_queue() {
    let mut postgres = postgres().await;
    let url = postgres.url(postgres.database());
    let directory = tempfile::tempdir().expect("a directory");
    let service = Process::start(settings(&url, directory.path())).await;
    let load = load(&service.address, SIZES);
    for _ in 0..2 {
        load.more(300, SOON * 2).await;
        postgres.kill().await.expect("killed");
        load.more_queued(300, SOON * 2).await;
        postgres.restart().await.expect("restarted");
    }
    load.more(300, SOON * 2).await;
    every_acknowledged_event_is_stored_once(load, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_killed_lose_nothing_and_the_queue_outlives_the_process() {
    let mut postgres = postgres().await;
    let url = postgres.url(postgres.database());
    let directory = tempfile::tempdir().expect("a directory");
    let mut service = Process::start(settings(&url, directory.path())).await;
    let load = load(&service.address, SIZES);
    load.more(300, SOON * 2).await;
    postgres.kill().await.expect("killed");
    for _ in 0..2 {
        load.more_queued(200, SOON * 2).await;
        service.kill();
        service.restart().await;
    }
    load.more_queued(200, SOON * 2).await;
    postgres.restart().await.expect("restarted");
    load.more(300, SOON * 2).await;
    every_acknowledged_event_is_stored_once(load, &url).await;
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
    let load = load(&service.address, SIZES);
    load.more(300, SOON * 2).await;
    proxy.cut();
    load.more(200, SOON * 2).await;
    proxy.reset();
    load.more(200, SOON * 2).await;
    proxy.blackhole();
    load.more_queued(200, SOON * 2).await;
    proxy.heal();
    load.more(200, SOON * 2).await;
    proxy.down();
    load.more_queued(200, SOON * 2).await;
    proxy.heal();
    proxy.cut_randomly(60_000);
    proxy.cut();
    load.more(500, SOON * 2).await;
    proxy.heal();
    load.more(300, SOON * 2).await;
    every_acknowledged_event_is_stored_once(load, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_goes_silent_between_log_in_and_settings_costs_no_lane() {
    let postgres = postgres().await;
    let url = postgres.url(postgres.database());
    let proxy = Proxy::start(format!(
        "127.0.0.1:{}",
        postgres.port().expect("it listens")
    ))
    .await;
    let one_worker = [("DATASTORAGE_SERVER_WORKERS", "1")];
    let service = Service::with(&proxy.url(&url), Clock::system(), &one_worker).await;
    service.ready().await;
    let path = "/api/v1/audit/events";
    // The log-in passes, what every connection is set to does not.
    proxy.hold_after(Direction::ToServer, b"SET synchronous_commit");
    proxy.cut();
    for id in ["a", "b", "c"] {
        service.post(path, &event(id)).await.expect(202);
    }
    let swallowed = proxy.holding();
    assert!(swallowed > 0, "nothing was swallowed");
    // What was swallowed never arrives: those connections end, and new ones pass.
    proxy.cut();
    proxy.heal();
    until("an event to be stored at once", SOON, async || {
        let answer = service.post(path, &event("later")).await;
        (answer.status == 201).then_some(()).ok_or(answer.status)
    })
    .await;
    let client = testkit::postgres::connect(&url).await;
    until("the queued events to be stored", SOON, async || {
        let sql = "SELECT count(*) FROM audit_events WHERE correlation_id <> 'later'";
        match client.query_one(sql, &[]).await.expect("a count").get(0) {
            3_i64 => Ok(()),
            count => Err(count),
        }
    })
    .await;
}

/// Batches of one, of ten and of thirty events, in turn.
const ACCOUNTED: &[usize] = &[1, 10, 30];

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_ended_at_work_lose_nothing() {
    let postgres = postgres().await;
    let url = postgres.url(postgres.database());
    let directory = tempfile::tempdir().expect("a directory");
    let service = Process::start(settings(&url, directory.path())).await;
    let load = load(&service.address, ACCOUNTED);
    let mut ended = 0;
    while ended < 20 {
        load.more(300, SOON * 2).await;
        ended += faults::terminate(&url).await;
    }
    every_acknowledged_event_is_stored_once(load, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_and_a_full_disk_under_the_write_ahead_log_lose_nothing() {
    let mut postgres = postgres().await;
    let url = postgres.url(postgres.database());
    let directory = tempfile::tempdir().expect("a directory");
    let service = Process::start(settings(&url, directory.path())).await;
    let load = load(&service.address, ACCOUNTED);
    for _ in 0..3 {
        load.more(300, SOON * 2).await;
        faults::restart_fast(&mut postgres).await;
    }
    load.more(300, SOON * 2).await;
    faults::crash(&mut postgres).await;
    load.more(300, SOON * 2).await;
    faults::fill_wal_disk(&mut postgres).await;
    load.more(300, SOON * 2).await;
    every_acknowledged_event_is_stored_once(load, &url).await;
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
