//! The queue: in order, bounded, poison parked and re-driven, honest when it cannot be written.

use datastorage::clock::Clock;
use embedded_postgres::{Options, Server};
use serde_json::json;
use testkit::proxy::Proxy;
use testkit::wait::until;

use crate::support::{
    Process, SOON, Service, TOKEN_FILE, audit_database, count, event, http, migrate, settings,
    token_file, try_send, with,
};

const EVENTS: &str = "/api/v1/audit/events";
const BATCH: &str = "/api/v1/audit/events/batch";
const DEPTH: &str = "datastorage_dlq_depth{stream=\"audit_events\"}";

/// A database behind a proxy that can be taken away.
pub(crate) async fn behind_proxy() -> (testkit::postgres::Database, Proxy, String) {
    let database = audit_database().await;
    let port = testkit::postgres::server()
        .await
        .port()
        .expect("it listens");
    let proxy = Proxy::start(format!("127.0.0.1:{port}")).await;
    let url = proxy.url(database.url());
    (database, proxy, url)
}

fn gauge(name: &str) -> String {
    format!("datastorage_dlq_{name}{{stream=\"audit_events\"}}")
}

pub(crate) async fn depth_becomes(service: &Service, expected: f64) {
    until("the queue's depth to change", SOON, async || {
        let depth = service.metric(DEPTH).await;
        if depth == Some(expected) {
            Ok(())
        } else {
            Err(format!("{depth:?}, not {expected}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_writes_are_accepted_and_stored_in_order_later() {
    let (database, proxy, url) = behind_proxy().await;
    let service = Service::start(&url).await;
    proxy.down();
    let answer = service.post(EVENTS, &event("q-00")).await.expect(202);
    assert_eq!(
        answer.body,
        json!({"status": "accepted", "message": "audit event queued for async processing"})
    );
    for n in 1..30 {
        service
            .post(BATCH, &json!([event(&format!("q-{n:02}"))]))
            .await
            .expect(202);
    }
    depth_becomes(&service, 30.0).await;
    assert_eq!(
        service.metric("datastorage_database_available").await,
        Some(0.0)
    );
    assert!(
        service
            .metric("datastorage_queue_oldest_age_seconds")
            .await
            .is_some()
    );
    service.get("/health/ready").await.expect(503);
    assert_eq!(
        service.get(EVENTS).await.expect(503).problem().retry,
        Some(true)
    );

    proxy.heal();
    depth_becomes(&service, 0.0).await;
    let rows = database
        .connect()
        .await
        .query("SELECT correlation_id FROM audit_events ORDER BY ctid", &[])
        .await
        .expect("rows");
    let stored: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        stored,
        (0..30).map(|n| format!("q-{n:02}")).collect::<Vec<_>>()
    );
    service.post(EVENTS, &event("direct")).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_503_and_takes_all_of_a_batch_or_nothing() {
    let (database, proxy, url) = behind_proxy().await;
    let service = Service::with(
        &url,
        Clock::system(),
        &[("DATASTORAGE_QUEUE_MAX_ENTRIES", "5")],
    )
    .await;
    proxy.down();
    service
        .post(BATCH, &json!([event("a"), event("b"), event("c")]))
        .await
        .expect(202);
    let answer = service
        .post(BATCH, &json!([event("d"), event("e"), event("f")]))
        .await
        .expect(503);
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    assert!(
        answer
            .problem()
            .detail
            .is_some_and(|detail| detail.contains("the queue is full"))
    );
    let alarms = ["warning", "critical", "overflow_imminent"];
    for alarm in alarms {
        assert_eq!(service.metric(&gauge(alarm)).await, Some(0.0), "{alarm}");
    }
    service
        .post(BATCH, &json!([event("g"), event("h")]))
        .await
        .expect(202);
    for alarm in alarms.into_iter().chain(["capacity_ratio"]) {
        assert_eq!(service.metric(&gauge(alarm)).await, Some(1.0), "{alarm}");
    }
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    assert_eq!(count(&database.connect().await).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_a_queued_event_is_queued_once_and_a_conflict_is_seen_in_the_queue() {
    let (database, proxy, url) = behind_proxy().await;
    let service = Service::start(&url).await;
    proxy.down();
    let keyed = with(
        event("keyed"),
        json!({"event_id": "018f0000-0000-4000-8000-000000000001"}),
    );
    service.post(EVENTS, &keyed).await.expect(202);
    service.post(EVENTS, &keyed).await.expect(202);
    let earlier = jiff::Timestamp::now() - jiff::SignedDuration::from_millis(7);
    service
        .post(
            EVENTS,
            &with(
                keyed.clone(),
                json!({"event_timestamp": earlier.to_string()}),
            ),
        )
        .await
        .expect(409);
    depth_becomes(&service, 1.0).await;
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    service.post(EVENTS, &keyed).await.expect(201);
    assert_eq!(count(&database.connect().await).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_parent_counts_as_existing_and_an_unknown_one_is_not_refused_in_an_outage() {
    let (database, proxy, url) = behind_proxy().await;
    let service = Service::start(&url).await;
    proxy.down();
    let parent = "018f0000-0000-4000-8000-000000000001";
    service
        .post(EVENTS, &with(event("parent"), json!({"event_id": parent})))
        .await
        .expect(202);
    service
        .post(
            EVENTS,
            &with(event("child"), json!({"parent_event_id": parent})),
        )
        .await
        .expect(202);
    service
        .post(
            EVENTS,
            &with(
                event("orphan"),
                json!({"parent_event_id": "018f0000-0000-4000-8000-000000000002"}),
            ),
        )
        .await
        .expect(202);
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    assert_eq!(count(&database.connect().await).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_outlives_a_graceful_stop() {
    let (database, proxy, url) = behind_proxy().await;
    let directory = tempfile::tempdir().expect("a directory");
    let service = Service::in_directory(directory.path(), &url, Clock::system(), &[]).await;
    proxy.down();
    service.post(EVENTS, &event("kept")).await.expect(202);
    service.stop().await;
    proxy.heal();
    let service = Service::in_directory(directory.path(), &url, Clock::system(), &[]).await;
    let client = database.connect().await;
    until("the queued event to be stored", SOON, async || {
        if count(&client).await == 1 {
            Ok(())
        } else {
            Err("it is not there")
        }
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_parked_does_not_block_the_others_and_can_be_redriven() {
    let (database, proxy, url) = behind_proxy().await;
    let tokens = token_file();
    let more = [(TOKEN_FILE, tokens.path().to_str().expect("UTF-8"))];
    let service = Service::with(&url, Clock::system(), &more).await;
    let client = database.connect().await;
    client
        .batch_execute(
            "ALTER TABLE audit_events ADD CONSTRAINT no_poison CHECK (correlation_id <> 'poison')",
        )
        .await
        .expect("added");
    proxy.down();
    for id in ["before", "poison", "after"] {
        service.post(EVENTS, &event(id)).await.expect(202);
    }
    proxy.heal();
    depth_becomes(&service, 0.0).await;
    assert_eq!(count(&client).await, 2);
    let parked = service.get("/api/v1/queue/parked").await.expect(200).body;
    assert_eq!(
        (&parked["total"], &parked["entries"][0]["sqlstate"]),
        (&json!(1), &json!("23514"))
    );
    assert_eq!(parked["entries"][0]["payload"]["correlation_id"], "poison");
    assert_eq!(service.metric("datastorage_queue_parked").await, Some(1.0));
    // Online the same event is answered at once, as the server's failure and not the client's.
    let problem = service
        .post(EVENTS, &event("poison"))
        .await
        .expect(500)
        .problem();
    assert_eq!(
        (problem.kind, problem.retry),
        (
            Some(datastorage_api::DatabaseErrorKind::Constraint),
            Some(false)
        )
    );

    client
        .batch_execute("ALTER TABLE audit_events DROP CONSTRAINT no_poison")
        .await
        .expect("dropped");
    assert_eq!(
        service
            .post("/api/v1/queue/parked/redrive", &json!({}))
            .await
            .expect(200)
            .body,
        json!({"redriven": 1})
    );
    until("the re-driven event to be stored", SOON, async || {
        if count(&client).await == 3 {
            Ok(())
        } else {
            Err("it is not there")
        }
    })
    .await;
    assert_eq!(
        service.get("/api/v1/queue/parked").await.expect(200).body,
        json!({"entries": [], "total": 0, "has_more": false})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unwritable_queue_directory_is_reported_and_answered_with_503_instead_of_202() {
    let (database, proxy, url) = behind_proxy().await;
    let directory = tempfile::tempdir().expect("a directory");
    let blocker = directory.path().join("file");
    std::fs::write(&blocker, "in the way").expect("written");
    let queue = blocker.join("queue").display().to_string();
    let service = Service::with(
        &url,
        Clock::system(),
        &[("DATASTORAGE_QUEUE_DIRECTORY", &queue)],
    )
    .await;
    assert_eq!(
        service.metric("datastorage_queue_available").await,
        Some(0.0)
    );
    service.post(EVENTS, &event("direct")).await.expect(201);
    proxy.down();
    let answer = service.post(EVENTS, &event("lost?")).await.expect(503);
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    assert!(
        answer
            .problem()
            .detail
            .is_some_and(|detail| detail.contains("was not queued"))
    );
    service.get("/api/v1/queue/parked").await.expect(503);

    // Mended, it is used without a restart.
    std::fs::remove_file(&blocker).expect("removed");
    until("the queue to be used", SOON, async || {
        match service.post(EVENTS, &event("queued")).await.status.as_u16() {
            202 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    proxy.heal();
    let client = database.connect().await;
    until("the queued event to be stored", SOON, async || {
        if count(&client).await == 2 {
            Ok(())
        } else {
            Err("it is not there")
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_appears_later_lets_the_queue_drain() {
    let server: Server = testkit::postgres::own_server(Options::default()).await;
    let url = server.url(server.database());
    let proxy = Proxy::start(format!("127.0.0.1:{}", server.port().expect("it listens"))).await;
    let service = Service::start(&proxy.url(&url)).await;
    proxy.down();
    service.post(EVENTS, &event("early")).await.expect(202);
    proxy.heal();
    until(
        "the database to be seen without its table",
        SOON,
        async || {
            let answer = service.post(EVENTS, &event("refused")).await;
            if answer.status == 503 && answer.problem().sqlstate.as_deref() == Some("42P01") {
                Ok(())
            } else {
                Err(answer.status)
            }
        },
    )
    .await;
    migrate(&url, "audit").await;
    depth_becomes(&service, 0.0).await;
    assert!(count(&testkit::postgres::connect(&url).await).await >= 1);
}

/// Peak memory of a process in KiB (`proc_pid_status(5)`).
fn peak_memory_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    let number = line.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn large_events_are_drained_within_the_memory_of_a_pod() {
    let mut postgres = testkit::postgres::own_server(Options::default()).await;
    let url = postgres.url(postgres.database());
    migrate(&url, "audit").await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut service = Process::start(settings(&url, directory.path())).await;
    let events = format!("http://{}{EVENTS}", service.address);
    postgres.kill().await.expect("killed");
    // Several times over the most that the drain may take.
    let text = "x".repeat(1_000_000);
    for n in 0..120 {
        let large = with(
            event(&format!("large-{n:03}")),
            json!({"event_data": {"text": text}}),
        );
        let answer = try_send(http().post(&events).json(&large)).await;
        answer.expect("an answer").expect(202);
    }
    // A new process, whose memory is that of the drain.
    service.kill();
    postgres.restart().await.expect("restarted");
    service.restart().await;
    let client = testkit::postgres::connect(&url).await;
    until(
        "every queued event to be stored",
        SOON * 4,
        async || match count(&client).await {
            120 => Ok(()),
            stored => Err(format!("{stored} of 120")),
        },
    )
    .await;
    let peak = peak_memory_kib(service.id());
    assert!(peak < 96 << 10, "the drain took {peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_takes_too_long_is_halved_until_it_does_not() {
    let (database, proxy, url) = behind_proxy().await;
    let service = Service::start(&url).await;
    service.ready().await;
    proxy.down();
    for n in 0..8 {
        service
            .post(EVENTS, &event(&format!("slow-{n}")))
            .await
            .expect(202);
    }
    // A group of more than two rows takes longer than the statement timeout of 2 s.
    let client = database.connect().await;
    client
        .batch_execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.7); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await
        .expect("made");
    proxy.heal();
    until(
        "every queued event to be stored",
        SOON * 2,
        async || match count(&client).await {
            8 => Ok(()),
            stored => Err(format!("{stored} of 8")),
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_does_not_drain_makes_the_instance_unready_until_it_does() {
    let (database, proxy, url) = behind_proxy().await;
    let service = Service::start(&url).await;
    service.ready().await;
    proxy.down();
    service.post(EVENTS, &event("stuck")).await.expect(202);
    let client = database.connect().await;
    client
        .batch_execute("BEGIN; LOCK TABLE audit_events IN SHARE MODE")
        .await
        .expect("locked");
    proxy.heal();
    until("readiness to say so", SOON, async || {
        let answer = service.get("/health/ready").await;
        if answer.body["reason"] == "queue_not_draining" {
            Ok(())
        } else {
            Err(answer.body)
        }
    })
    .await;
    client.batch_execute("COMMIT").await.expect("unlocked");
    service.ready().await;
    assert_eq!(count(&client).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_alone_fails_for_now_keeps_neither_the_queued_nor_the_new_ones_waiting() {
    let (database, proxy, url) = behind_proxy().await;
    let service = Service::start(&url).await;
    service.ready().await;
    let client = database.connect().await;
    // As of a damaged page of an index that one row goes to.
    client
        .batch_execute(
            "CREATE FUNCTION damaged() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'invalid page' USING ERRCODE = 'XX001'; END $$;
             CREATE TRIGGER damaged BEFORE INSERT ON audit_events FOR EACH ROW
             WHEN (NEW.correlation_id = 'damaged') EXECUTE FUNCTION damaged()",
        )
        .await
        .expect("made");
    proxy.down();
    for id in ["damaged", "behind-1", "behind-2", "behind-3"] {
        service.post(EVENTS, &event(id)).await.expect(202);
    }
    proxy.heal();
    depth_becomes(&service, 1.0).await;
    assert_eq!(count(&client).await, 3);
    service.post(EVENTS, &event("damaged")).await.expect(202);
    for n in 0..5 {
        let id = format!("new-{n}");
        service.post(EVENTS, &event(&id)).await.expect(201);
    }
    service.get("/health/ready").await.expect(200);
    client
        .batch_execute("DROP TRIGGER damaged ON audit_events")
        .await
        .expect("dropped");
    depth_becomes(&service, 0.0).await;
    assert_eq!(count(&client).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_cannot_be_opened_makes_no_instance_unready_that_commits() {
    let database = audit_database().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "no directory").expect("written");
    let queue = file.join("queue").display().to_string();
    let more = [("DATASTORAGE_QUEUE_DIRECTORY", queue.as_str())];
    let service = Service::with(database.url(), Clock::system(), &more).await;
    service.ready().await;
    // Beyond the time after which a queue that does not drain is reported.
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    service.get("/health/ready").await.expect(200);
    service.post(EVENTS, &event("direct")).await.expect(201);
}
