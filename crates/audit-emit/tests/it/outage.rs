//! Data Storage or its database away, the emitting process killed meanwhile: every event is stored exactly once, in order.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use audit_store::{Config, Event};
use datastorage_api::{EventCategory, EventOutcome};
use embedded_postgres::Options;
use testkit::{events::unique, postgres, wait};

use crate::{
    server::{DEADLINE, directory, flush_until, open, quick},
    service::{Ask as _, Service},
};

const CORRELATIONS: usize = 5;

/// An emitting process; the ids that it accepted come through the channel.
struct Emitter {
    child: Child,
    stdin: ChildStdin,
    accepted: mpsc::Receiver<String>,
}

impl Emitter {
    fn start(url: &str, journal: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_audit-emit"));
        command
            .args(["--stdin", "--deadline", "60s", "--url", url, "--journal"])
            .arg(journal);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start audit-emit");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, accepted) = mpsc::channel();
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|id| sender.send(id))
        });
        Self {
            stdin: child.stdin.take().expect("a pipe"),
            child,
            accepted,
        }
    }

    fn emit(&mut self, prefix: &str, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let correlation_id = format!("{prefix}-{}", number % CORRELATIONS);
            let event = serde_json::json!({"event_category": "workflow", "event_action": "workflow.started", "event_outcome": "success",
                "resource_type": "WorkflowExecution", "correlation_id": correlation_id, "event_data": {"number": number}});
            writeln!(self.stdin, "{event}").expect("audit-emit reads");
        }
    }

    /// Waits until `count` events are accepted.
    fn take(&self, count: usize) -> Vec<String> {
        let next = || {
            self.accepted
                .recv_timeout(Duration::from_secs(30))
                .expect("another id from audit-emit")
        };
        (0..count).map(|_| next()).collect()
    }
}

/// Two minutes, as in the incident; a shorter time in CI shows the same, as retries are no further apart than 10 s.
fn outage() -> Duration {
    let seconds = std::env::var("AUDIT_OUTAGE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_or_doubled_when_the_server_is_away_and_the_emitter_is_killed() {
    let database = postgres::database("audit").await;
    let (mut service, directory, prefix) = (
        Service::start(&database).await,
        directory(),
        unique("outage"),
    );
    let mut accepted = Vec::new();

    let mut emitter = Emitter::start(&service.url(), directory.path());
    emitter.emit(&prefix, 0..500);
    accepted.extend(emitter.take(500));
    wait::until("the first batch to be stored", DEADLINE, async || {
        let stored = service.events(&format!("{prefix}-0")).await.len();
        if stored > 0 { Ok(()) } else { Err("no event") }
    })
    .await;
    service.kill();
    emitter.emit(&prefix, 500..1500);
    accepted.extend(emitter.take(700));
    emitter.child.kill().expect("kill -9 the emitter");
    emitter.child.wait().expect("reap it");
    accepted.extend(emitter.accepted.iter().filter(|id| id.len() == 36));

    let mut emitter = Emitter::start(&service.url(), directory.path());
    emitter.emit(&prefix, 2000..2500);
    accepted.extend(emitter.take(500));
    tokio::time::sleep(outage()).await;
    service.restart().await;
    drop(emitter.stdin);
    assert!(emitter.child.wait().expect("it ends").success());

    let (mut stored, mut rows) = (BTreeSet::new(), 0);
    for correlation in 0..CORRELATIONS {
        let events = service.events(&format!("{prefix}-{correlation}")).await;
        let numbers: Vec<_> = events
            .iter()
            .map(|event| event.event_data["number"].as_u64().expect("a number"))
            .collect();
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "out of order: {numbers:?}"
        );
        rows += events.len();
        stored.extend(events.into_iter().map(|event| event.event_id.to_string()));
    }
    assert_eq!(stored.len(), rows, "every event once");
    let missing = accepted.iter().filter(|id| !stored.contains(*id)).count();
    assert_eq!(missing, 0, "of {} accepted", accepted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_data_storage_queued_while_its_database_was_killed_are_stored_exactly_once() {
    let mut postgres = postgres::own_server(Options::default()).await;
    let database = postgres::database_on(&postgres, "audit").await;
    let (service, directory, correlation_id) = (
        Service::start(&database).await,
        directory(),
        unique("queued"),
    );
    let event = |number: usize| {
        Event::new(
            EventCategory::Workflow,
            "workflow.started",
            EventOutcome::Success,
            &correlation_id,
        )
        .data(&serde_json::json!({ "number": number }))
    };
    let config = Config {
        batch_size: 10,
        ..quick(&directory)
    };
    let store = open(&service.url(), config);
    for number in 0..100 {
        store.store(event(number)).expect("accepted");
    }
    assert!(store.flush(DEADLINE).await.is_complete());

    postgres.kill().await.expect("kill -9 PostgreSQL");
    for number in 100..200 {
        store.store(event(number)).expect("accepted");
    }
    let queued = flush_until(&store, "Data Storage to queue a batch", |report| {
        report.queued > 0
    })
    .await;
    assert_eq!((queued.stored, queued.journalled), (100, 100), "{queued:?}");

    postgres.restart().await.expect("PostgreSQL is back");
    let report = store
        .close(DEADLINE)
        .await
        .expect("a journal loses nothing");
    assert!(report.is_complete(), "{report:?}");
    let events = service.events(&correlation_id).await;
    let numbers: Vec<_> = events
        .iter()
        .map(|event| event.event_data["number"].as_u64().expect("a number"))
        .collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>(), "once each, in order");
}
