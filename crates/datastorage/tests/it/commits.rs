//! A commit that fails or is not answered is never taken for one that happened: on every path that writes.

use serde_json::{Value, json};
use testkit::faults;
use testkit::postgres::{Database, connect, own_server};
use testkit::proxy::{Direction, Proxy};
use testkit::wait::until;

use crate::support::{SOON, Service, audit_database, count, event, migrate, with};

const EVENTS: &str = "/api/v1/audit/events";
const BATCH: &str = "/api/v1/audit/events/batch";
const NOTIFICATIONS: &str = "/api/v1/audit/notifications";
const WORKFLOWS: &str = "/api/v1/workflows";

/// The end of the rows of COPY (PostgreSQL manual, "Message Formats", `CopyDone`).
const COPY_DONE: &[u8] = b"c\0\0\0\x04";
/// That and the Sync behind it, at which a COPY outside of a transaction commits.
const SYNCED: &[u8] = b"c\0\0\0\x04S\0\0\0\x04";
/// The statement that commits, with its end.
const COMMIT: &[u8] = b"COMMIT\0";

/// Lets every commit that wrote a row of `table` fail with `sqlstate`.
async fn refuse_commits(database: &Database, table: &str, sqlstate: &str) {
    let sql = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'the commit is refused' USING ERRCODE = '{sqlstate}'; END $$;
         CREATE CONSTRAINT TRIGGER refuse_at_commit AFTER INSERT OR UPDATE ON {table}
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    );
    database
        .connect()
        .await
        .batch_execute(&sql)
        .await
        .expect("made");
}

async fn allow_commits(database: &Database, table: &str) {
    database
        .connect()
        .await
        .batch_execute(&format!("DROP TRIGGER refuse_at_commit ON {table}"))
        .await
        .expect("dropped");
}

async fn rows(database: &Database, table: &str) -> i64 {
    let client = database.connect().await;
    let sql = format!("SELECT count(*) FROM {table}");
    client.query_one(&sql, &[]).await.expect("a count").get(0)
}

async fn stored(client: &tokio_postgres::Client, expected: i64) {
    until("the events to be stored", SOON, async || {
        match count(client).await {
            stored if stored == expected => Ok(()),
            stored => Err(format!("{stored} of {expected}")),
        }
    })
    .await;
}

fn notification(id: &str) -> Value {
    json!({"remediation_id": "r-1", "notification_id": id, "recipient": "ops@example.com", "channel": "email",
        "message_summary": "done", "status": "sent", "sent_at": jiff::Timestamp::now().to_string(), "escalation_level": 0})
}

#[tokio::test(flavor = "multi_thread")]
async fn events_whose_commit_is_refused_are_not_acknowledged() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    refuse_commits(&database, "audit_events", "P0001").await;
    for (path, body) in [
        (EVENTS, event("single")),
        (BATCH, json!([event("first"), event("second")])),
    ] {
        let answer = service.post(path, &body).await.expect(500);
        let detail = answer.problem().detail.unwrap_or_default();
        assert!(detail.contains("the commit is refused"), "{detail}");
    }
    assert_eq!(count(&database.connect().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_a_repeat_whose_commit_is_refused_is_not_acknowledged() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let first = with(event("first"), json!({"event_id": uuid::Uuid::now_v7()}));
    service.post(EVENTS, &first).await.expect(201);
    refuse_commits(&database, "audit_events", "P0001").await;
    service
        .post(BATCH, &json!([first, event("second")]))
        .await
        .expect(500);
    assert_eq!(count(&database.connect().await).await, 1);
    // Nothing new is written, so nothing is refused; the connection is in no failed transaction.
    service.post(EVENTS, &first).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_may_succeed_later_is_queued_and_stays_queued_until_it_does() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    refuse_commits(&database, "audit_events", "40001").await;
    service.post(EVENTS, &event("serialized")).await.expect(202);
    let client = database.connect().await;
    // The drain tries, fails at the commit, and keeps the event.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(count(&client).await, 0);
    allow_commits(&database, "audit_events").await;
    stored(&client, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_event_whose_commit_is_refused_is_parked_and_not_forgotten() {
    let database = audit_database().await;
    let server = testkit::postgres::server().await;
    let proxy = Proxy::start(format!("127.0.0.1:{}", server.port().expect("it listens"))).await;
    let service = Service::start(&proxy.url(database.url())).await;
    refuse_commits(&database, "audit_events", "P0001").await;
    proxy.down();
    service.post(EVENTS, &event("parked")).await.expect(202);
    proxy.heal();
    let parked = until("the event to be parked", SOON, async || {
        let answer = service.get("/api/v1/queue/parked").await;
        match answer.body["total"].as_i64() {
            Some(1) => Ok(answer),
            total => Err(format!("{total:?} parked")),
        }
    })
    .await;
    assert!(
        parked.body["entries"][0]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("the commit is refused")),
        "{parked:?}"
    );
    assert_eq!(count(&database.connect().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_and_catalogue_changes_whose_commit_is_refused_are_not_acknowledged() {
    let database = testkit::postgres::database("datastorage").await;
    let service = Service::of_profile(database.url(), "datastorage").await;
    let kept = service
        .post(WORKFLOWS, &crate::workflows::workflow("kept", "1.0.0"))
        .await
        .expect(201);
    let kept = kept.body["workflow_id"].as_str().expect("an id").to_owned();
    for table in ["notification_audit", "remediation_workflow_catalog"] {
        refuse_commits(&database, table, "P0001").await;
        let sql = "DROP FUNCTION IF EXISTS refuse CASCADE";
        if table == "notification_audit" {
            service
                .post(NOTIFICATIONS, &notification("n-1"))
                .await
                .expect(500);
        } else {
            service
                .post(WORKFLOWS, &crate::workflows::workflow("new", "1.0.0"))
                .await
                .expect(500);
            let path = format!("{WORKFLOWS}/{kept}/disable");
            service
                .patch(&path, &json!({"reason": "x"}))
                .await
                .expect(500);
        }
        let client = database.connect().await;
        client.batch_execute(sql).await.expect("dropped");
    }
    assert_eq!(rows(&database, "notification_audit").await, 0);
    assert_eq!(rows(&database, "remediation_workflow_catalog").await, 1);
    let version = service
        .get(&format!("{WORKFLOWS}/{kept}"))
        .await
        .expect(200);
    assert_eq!(version.body["status"], "active");
}

/// Data Storage behind a proxy that holds back what comes after some bytes.
struct Held {
    database: Database,
    proxy: Proxy,
    service: Service,
}

impl Held {
    async fn start(profile: &str) -> Self {
        let database = testkit::postgres::database(profile).await;
        let server = testkit::postgres::server().await;
        let port = server.port().expect("it listens");
        let proxy = Proxy::start(format!("127.0.0.1:{port}")).await;
        let service = Service::of_profile(&proxy.url(database.url()), profile).await;
        service.ready().await;
        service.post(EVENTS, &event("before")).await.expect(201);
        Self {
            database,
            proxy,
            service,
        }
    }

    /// Sends a request, ends the server's connections when something of it is held back, and gives the answer.
    async fn interrupted(
        &self,
        direction: Direction,
        after: &[u8],
        request: impl Future<Output = crate::support::Answer>,
    ) -> crate::support::Answer {
        self.proxy.hold_after(direction, after);
        let fault = async {
            until("something to be held back", SOON, async || {
                match self.proxy.holding() {
                    0 => Err("nothing is"),
                    _ => Ok(()),
                }
            })
            .await;
            faults::end_connections(self.database.url()).await;
            if direction == Direction::ToClient {
                // What was held back is lost, and not late.
                self.proxy.reset();
                until("the connections to be reset", SOON, async || {
                    match self.proxy.holding() {
                        0 => Ok(()),
                        held => Err(format!("{held} are held")),
                    }
                })
                .await;
            }
            self.proxy.heal();
        };
        tokio::join!(request, fault).0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_ends_before_the_commit_reaches_it_has_stored_nothing_yet() {
    let held = Held::start("audit").await;
    let client = held.database.connect().await;
    for (n, after) in [COPY_DONE, SYNCED].into_iter().enumerate() {
        let body = event(&format!("held-{n}"));
        let request = held.service.post(EVENTS, &body);
        // Not a 201: there is no commit that it could speak of. Queued, it is stored under its key later.
        held.interrupted(Direction::ToServer, after, request)
            .await
            .expect(202);
        stored(&client, 2 + i64::try_from(n).expect("few")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_stored_once() {
    let held = Held::start("audit").await;
    let client = held.database.connect().await;
    let body = event("answered");
    let request = held.service.post(EVENTS, &body);
    held.interrupted(Direction::ToClient, COMMIT, request)
        .await
        .expect(202);
    until("the queue to be empty", SOON, async || {
        let depth = held
            .service
            .metric("datastorage_dlq_depth{stream=\"audit_events\"}")
            .await;
        if depth == Some(0.0) {
            Ok(())
        } else {
            Err(format!("{depth:?}"))
        }
    })
    .await;
    assert_eq!(count(&client).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_inserted_rather_than_copied_is_as_careful() {
    let held = Held::start("audit").await;
    let client = held.database.connect().await;
    // After a repeat the next groups are inserted.
    let repeated = with(event("repeated"), json!({"event_id": uuid::Uuid::now_v7()}));
    for _ in 0..2 {
        held.service.post(EVENTS, &repeated).await.expect(201);
    }
    let body = event("inserted");
    let request = held.service.post(EVENTS, &body);
    // The statement is sent and its answer is lost: there is no commit yet.
    held.interrupted(Direction::ToClient, b"INSERT 0 1\0", request)
        .await
        .expect(202);
    stored(&client, 3).await;
    let body = event("committed");
    let request = held.service.post(EVENTS, &body);
    held.interrupted(Direction::ToClient, COMMIT, request)
        .await
        .expect(202);
    stored(&client, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_events_stay_queued_when_the_drains_connection_ends_before_the_commit() {
    let held = Held::start("audit").await;
    let client = held.database.connect().await;
    held.proxy.down();
    for n in 0..5 {
        held.service
            .post(EVENTS, &event(&format!("drained-{n}")))
            .await
            .expect(202);
    }
    held.proxy.hold_after(Direction::ToServer, COPY_DONE);
    held.proxy.up();
    until("the drain to be held back", SOON, async || {
        match held.proxy.holding() {
            0 => Err("nothing is"),
            _ => Ok(()),
        }
    })
    .await;
    faults::end_connections(held.database.url()).await;
    held.proxy.heal();
    stored(&client, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_before_the_commit_reaches_it_loses_nothing() {
    let mut server = own_server(embedded_postgres::Options::default()).await;
    let url = server.url(server.database());
    migrate(&url, "audit").await;
    let proxy = Proxy::start(format!("127.0.0.1:{}", server.port().expect("it listens"))).await;
    let service = Service::start(&proxy.url(&url)).await;
    service.post(EVENTS, &event("before")).await.expect(201);
    proxy.hold_after(Direction::ToServer, COPY_DONE);
    let body = event("held");
    let request = service.post(EVENTS, &body);
    let fault = async {
        until("the commit to be held back", SOON, async || {
            match proxy.holding() {
                0 => Err("nothing is"),
                _ => Ok(()),
            }
        })
        .await;
        faults::restart_fast(&mut server).await;
        proxy.heal();
    };
    tokio::join!(request, fault).0.expect(202);
    stored(&connect(&url).await, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_change_whose_answer_is_lost_is_asked_for_and_answered() {
    let held = Held::start("datastorage").await;
    let body = crate::workflows::workflow("asked", "1.0.0");
    let request = held.service.post(WORKFLOWS, &body);
    let created = held
        .interrupted(Direction::ToClient, COMMIT, request)
        .await
        .expect(201);
    let id = created.body["workflow_id"]
        .as_str()
        .expect("an id")
        .to_owned();

    let path = format!("{WORKFLOWS}/{id}/disable");
    let body = json!({"reason": "broken"});
    let request = held.service.patch(&path, &body);
    let disabled = held
        .interrupted(Direction::ToClient, COMMIT, request)
        .await
        .expect(200);
    assert_eq!(disabled.body["disabled_reason"], "broken");

    // Before the commit it did not happen, and the answer says so: the same again is a success.
    let body = crate::workflows::workflow("asked", "2.0.0");
    let request = held.service.post(WORKFLOWS, &body);
    held.interrupted(Direction::ToServer, b"INSERT", request)
        .await
        .expect(503);
    held.service.post(WORKFLOWS, &body).await.expect(201);
}
