//! Many tasks, and a way to Data Storage that delays, cuts, resets and answers 500 at random, seeded.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use audit_store::{Config, Event};
use axum::{Router, body::Bytes, extract::DefaultBodyLimit, http::StatusCode, routing::post};
use datastorage_api::{AuditEventRequest, EventCategory, EventOutcome};
use datastorage_client::{Client, Written};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use testkit::{events::unique, postgres, proxy::Proxy};
use tokio::net::TcpListener;

use crate::{
    server::{directory, open, quick},
    service::Service,
};

const SEED: u64 = 6;
const TASKS: usize = 64;

/// Events of each task: 10,000 in full, fewer in CI.
fn events_per_task() -> usize {
    std::env::var("AUDIT_CHAOS_EVENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200)
}

/// Forwards batches, and answers 500 now and then, before or after the batch was committed.
async fn gateway(upstream: String) -> String {
    let client = Client::new(&upstream).expect("a client");
    let random = Arc::new(Mutex::new(StdRng::seed_from_u64(SEED)));
    let forward = move |body: Bytes| {
        let (client, random) = (client.clone(), Arc::clone(&random));
        async move {
            let dice = random
                .lock()
                .expect("no handler panics")
                .random_range(0..10);
            let bare = |status| (status, String::new());
            if dice == 0 {
                return bare(StatusCode::INTERNAL_SERVER_ERROR);
            }
            let events: Vec<AuditEventRequest> = serde_json::from_slice(&body).expect("events");
            match client.create_audit_events_batch(&events).await {
                Ok(_) if dice == 1 => bare(StatusCode::INTERNAL_SERVER_ERROR),
                Ok(Written::Committed(answer)) => (
                    StatusCode::CREATED,
                    serde_json::to_string(&answer).expect("JSON"),
                ),
                Ok(Written::Queued(_)) => bare(StatusCode::SERVICE_UNAVAILABLE),
                Err(error) => {
                    bare(StatusCode::from_u16(error.status().unwrap_or(502)).expect("a status"))
                }
            }
        }
    };
    let router = Router::new()
        .route("/api/v1/audit/events/batch", post(forward))
        .layer(DefaultBodyLimit::disable());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

/// Cuts and resets all connections now and then, until it is dropped.
fn disturb(proxy: Arc<Proxy>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(SEED + 1);
        loop {
            tokio::time::sleep(Duration::from_millis(random.random_range(50..250))).await;
            if random.random() {
                proxy.cut();
            } else {
                proxy.reset();
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_on_a_way_that_delays_cuts_resets_and_fails_at_random() {
    let database = postgres::database("audit").await;
    let (service, directory, prefix) = (
        Service::start(&database).await,
        directory(),
        unique("chaos"),
    );
    let proxy = Arc::new(Proxy::seeded(gateway(service.url()).await, SEED).await);
    proxy.delay(Duration::from_millis(1));
    proxy.jitter(Duration::from_millis(5));
    proxy.cut_randomly(4 << 20);
    let disturbance = disturb(Arc::clone(&proxy));

    let each = events_per_task();
    let store = Arc::new(open(
        &format!("http://{}", proxy.address()),
        Config {
            request_deadline: Duration::from_secs(10),
            ..quick(&directory)
        },
    ));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (store, correlation_id) = (Arc::clone(&store), format!("{prefix}-{task}"));
            tokio::spawn(async move {
                for number in 0..each {
                    let event = Event::new(
                        EventCategory::Execution,
                        "execution.step",
                        EventOutcome::Success,
                        &correlation_id,
                    );
                    store
                        .store(event.data(&json!({ "number": number })))
                        .expect("accepted");
                    if number % 50 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let report = store
        .close(Duration::from_mins(10))
        .await
        .expect("a journal loses nothing");
    disturbance.abort();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.stored, (TASKS * each) as u64);

    let client = database.connect().await;
    let rows = client
        .query_one("SELECT count(*), count(DISTINCT event_id) FROM audit_events WHERE correlation_id LIKE $1", &[&format!("{prefix}-%")])
        .await
        .expect("counted");
    let total = i64::try_from(TASKS * each).expect("small");
    assert_eq!(
        (rows.get::<_, i64>(0), rows.get::<_, i64>(1)),
        (total, total)
    );
    let misplaced = "SELECT count(*) FROM (SELECT (event_data->>'number')::bigint AS number,
        row_number() OVER (PARTITION BY correlation_id ORDER BY event_timestamp, event_id) - 1 AS place
        FROM audit_events WHERE correlation_id LIKE $1) AS events WHERE number <> place";
    let row = client
        .query_one(misplaced, &[&format!("{prefix}-%")])
        .await
        .expect("counted");
    assert_eq!(
        row.get::<_, i64>(0),
        0,
        "events out of order within their correlation id"
    );
}
