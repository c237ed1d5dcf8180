//! Two and three servers on one database, each with its own queue: every acknowledged event once, no 5xx, no lost update.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use embedded_postgres::{Durability, Options};
use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::load::Load;
use testkit::postgres::database;

use crate::queue::{behind_proxy, depth_becomes};
use crate::support::{
    Process, SOON, Service, audit_database, count, event, http, migrate, settings, try_send, with,
};
use crate::workflows::workflow;

const EVENTS: &str = "/api/v1/audit/events";
const BATCH: &str = "/api/v1/audit/events/batch";
const WORKFLOWS: &str = "/api/v1/workflows";

/// Events under ids of their own.
fn keyed(count: usize) -> Vec<Value> {
    let time = jiff::Timestamp::now().to_string();
    (0..count)
        .map(|n| {
            let id = format!("018f0000-0000-4000-8000-00000001{n:04}");
            with(
                event(&format!("keyed-{n}")),
                json!({"event_id": id, "event_timestamp": time}),
            )
        })
        .collect()
}

/// The same events in another order for every `turn`.
fn shuffled(events: &[Value], turn: usize) -> Value {
    let count = events.len();
    // A step without a common divisor with the count visits each once.
    let step = [1, 7, 11, 13, 17, 59][turn % 6];
    let order = (0..count).map(|n| (n * step + turn) % count);
    let mut order: Vec<_> = order.map(|n| events[n].clone()).collect();
    if turn % 2 == 1 {
        order.reverse();
    }
    json!(order)
}

async fn deadlocks(database: &testkit::postgres::Database) -> i64 {
    let client = database.connect().await;
    let row = client
        .query_one(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
            &[],
        )
        .await;
    row.expect("a row").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_events_sent_to_all_at_once_and_in_any_order_are_stored_once_without_a_deadlock() {
    for replicas in [2, 3] {
        let database = audit_database().await;
        let services = join_all((0..replicas).map(|_| Service::start(database.url()))).await;
        let events = keyed(60);
        let rounds = (0..24 * replicas).map(|turn| {
            let service = &services[turn % replicas];
            let batch = shuffled(&events, turn);
            async move { service.post(BATCH, &batch).await.expect(201) }
        });
        join_all(rounds).await;
        let singles = (0..60 * replicas).map(|turn| {
            let (service, event) = (&services[turn % replicas], &events[turn / replicas]);
            async move { service.post(EVENTS, event).await.expect(201) }
        });
        join_all(singles).await;
        assert_eq!(count(&database.connect().await).await, 60);
        assert_eq!(deadlocks(&database).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_events_in_the_queues_of_several_servers_are_stored_once() {
    let (database, proxy, url) = behind_proxy().await;
    let services = join_all((0..3).map(|_| Service::start(&url))).await;
    proxy.down();
    let events = keyed(60);
    for (turn, service) in services.iter().enumerate() {
        let batch = shuffled(&events, turn);
        service.post(BATCH, &batch).await.expect(202);
    }
    proxy.heal();
    for service in &services {
        depth_becomes(service, 0.0).await;
        assert_eq!(service.metric("datastorage_queue_parked").await, Some(0.0));
    }
    assert_eq!(count(&database.connect().await).await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_contents_under_one_id_at_two_servers_one_is_stored_and_the_other_refused() {
    let database = audit_database().await;
    let services = join_all((0..2).map(|_| Service::start(database.url()))).await;
    for first in keyed(20) {
        let second = with(first.clone(), json!({"event_data": {"phase": "Other"}}));
        let (one, two) = tokio::join!(
            services[0].post(EVENTS, &first),
            services[1].post(EVENTS, &second)
        );
        let statuses = BTreeSet::from([one.status.as_u16(), two.status.as_u16()]);
        assert_eq!(statuses, BTreeSet::from([201, 409]));
    }
    assert_eq!(count(&database.connect().await).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_catalogue_at_several_servers_lose_no_update() {
    let database = database("datastorage").await;
    let services =
        join_all((0..3).map(|_| Service::of_profile(database.url(), "datastorage"))).await;
    // The same version at all: one has it.
    let same = workflow("same", "1");
    let answers = join_all(
        services
            .iter()
            .map(|service| service.post(WORKFLOWS, &same)),
    )
    .await;
    let mut statuses: Vec<_> = answers
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409]);
    // Many versions at once: each is there, and one is the latest.
    let versions: Vec<_> = (0..9).map(|n| workflow("race", &n.to_string())).collect();
    let made = versions
        .iter()
        .enumerate()
        .map(|(n, version)| services[n % 3].post(WORKFLOWS, version));
    let made = join_all(made).await;
    let paths: Vec<_> = made
        .into_iter()
        .map(|answer| {
            let id = answer.expect(201).body["workflow_id"].clone();
            format!("{WORKFLOWS}/{}", id.as_str().expect("an id"))
        })
        .collect();
    let change = json!({"status": "active"});
    let changes = (0..paths.len() * 3).map(|n| services[n % 3].patch(&paths[n / 3], &change));
    for answer in join_all(changes).await {
        answer.expect(200);
    }
    let client = database.connect().await;
    let row = client
        .query_one(
            "SELECT count(*), count(*) FILTER (WHERE is_latest_version) FROM remediation_workflow_catalog WHERE workflow_name = 'race'",
            &[],
        )
        .await
        .expect("a row");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (9, 1));
    let audited =
        "SELECT count(*) FROM audit_events WHERE event_type = 'datastorage.workflow.updated'";
    let row = client.query_one(audited, &[]).await.expect("a row");
    assert_eq!(row.get::<_, i64>(0), 27);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_together_make_each_partition_once() {
    let database = audit_database().await;
    let client = database.connect().await;
    let drop = "DO $$ DECLARE part regclass; BEGIN
        FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit_events'::regclass LOOP
            EXECUTE format('DROP TABLE %s', part);
        END LOOP; END $$";
    client.batch_execute(drop).await.expect("dropped");
    let services = join_all((0..3).map(|_| Service::start(database.url()))).await;
    join_all(services.iter().map(Service::ready)).await;
    let writes = services
        .iter()
        .map(|service| async { service.post(EVENTS, &event("first")).await.expect(201) });
    join_all(writes).await;
    assert_eq!(count(&client).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_that_is_killed_at_work_loses_nothing_and_the_other_answers_no_5xx() {
    let postgres = testkit::postgres::own_server(Options {
        durability: Durability::Durable,
        ..Options::default()
    })
    .await;
    let url = postgres.url(postgres.database());
    migrate(&url, "audit").await;
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let [one, two] = &directories;
    let mut killed = Process::start(settings(&url, one.path())).await;
    let survivor = Process::start(settings(&url, two.path())).await;
    let urls = [&killed, &survivor].map(|process| format!("http://{}{BATCH}", process.address));
    let (client, turn, failures) = (
        http(),
        Arc::<AtomicUsize>::default(),
        Arc::<AtomicUsize>::default(),
    );
    let load = Load::start(16, &[1, 2, 3, 4, 5], {
        let failures = Arc::clone(&failures);
        move |batch: Vec<Value>| {
            let at = turn.fetch_add(1, Ordering::Relaxed) % 2;
            let request = client.post(&urls[at]).json(&batch);
            let failures = Arc::clone(&failures);
            async move {
                let status = try_send(request).await.ok()?.status.as_u16();
                if at == 1 && status >= 500 {
                    failures.fetch_add(1, Ordering::Relaxed);
                }
                Some(status)
            }
        }
    });
    for _ in 0..3 {
        load.more(300, SOON * 2).await;
        killed.kill();
        load.more(300, SOON * 2).await;
        killed.restart().await;
    }
    let account = load.settle(&url, SOON).await;
    let lost = (account.lost_committed, account.lost_queued);
    assert_eq!((lost, account.doubled), ((0, 0), 0), "{account:?}");
    assert_eq!(failures.load(Ordering::Relaxed), 0);
}
