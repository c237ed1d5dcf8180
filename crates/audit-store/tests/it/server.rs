//! A Data Storage with scripted answers, which remembers what it stored.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use audit_store::{Backoff, Config, Event, Report, Store};
use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use datastorage_api::{AuditEventRequest, EventCategory, EventOutcome};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::wait;
use tokio::{net::TcpListener, task::JoinHandle};

/// Longest wait of a test for something that takes milliseconds.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What the server does with a batch.
pub(crate) enum Reply {
    /// 201.
    Commit,
    /// 201, but the client never hears of it.
    CommitUnheard,
    /// 202: kept in a queue that a test never drains.
    Queue,
    /// Any other status with a problem document.
    Refuse(u16),
    /// 400 for the time of the first event, with this text.
    WrongTime(&'static str),
    /// A status of something in between, with a page for people.
    Foreign(u16),
    /// 201 for other events than were sent.
    CommitOthers,
}

type Behaviour = Box<dyn FnMut(&[AuditEventRequest]) -> Reply + Send>;

struct Inner {
    behaviour: Behaviour,
    events: Vec<AuditEventRequest>,
    ids: HashSet<uuid::Uuid>,
    repeats: usize,
    requests: Vec<usize>,
}

/// A server on a port of this machine.
pub(crate) struct Server {
    inner: Arc<Mutex<Inner>>,
    address: std::net::SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(
        behaviour: impl FnMut(&[AuditEventRequest]) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener, behaviour)
    }

    pub(crate) fn on(
        listener: TcpListener,
        behaviour: impl FnMut(&[AuditEventRequest]) -> Reply + Send + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("its address");
        let inner = Inner {
            behaviour: Box::new(behaviour),
            events: Vec::new(),
            ids: HashSet::new(),
            repeats: 0,
            requests: Vec::new(),
        };
        let inner = Arc::new(Mutex::new(inner));
        let router = Router::new()
            .route("/api/v1/audit/events/batch", post(batch))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serve") });
        Self {
            inner,
            address,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The stored events, in the order of their first commit.
    pub(crate) fn events(&self) -> Vec<AuditEventRequest> {
        self.inner.lock().expect("no handler panics").events.clone()
    }

    /// How many events were sent again after they were stored.
    pub(crate) fn repeats(&self) -> usize {
        self.inner.lock().expect("no handler panics").repeats
    }

    /// Sizes of the batches, in the order they came.
    pub(crate) fn requests(&self) -> Vec<usize> {
        self.inner
            .lock()
            .expect("no handler panics")
            .requests
            .clone()
    }

    pub(crate) fn now(
        &self,
        behaviour: impl FnMut(&[AuditEventRequest]) -> Reply + Send + 'static,
    ) {
        self.inner.lock().expect("no handler panics").behaviour = Box::new(behaviour);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn batch(State(inner): State<Arc<Mutex<Inner>>>, body: String) -> (StatusCode, String) {
    let events: Vec<AuditEventRequest> =
        serde_json::from_str(&body).expect("a batch of events in the full form");
    let reply = {
        let mut inner = inner.lock().expect("no handler panics");
        inner.requests.push(events.len());
        let reply = (inner.behaviour)(&events);
        if matches!(reply, Reply::Commit | Reply::CommitUnheard) {
            for event in &events {
                if inner.ids.insert(event.event_id.expect("an id")) {
                    inner.events.push(event.clone());
                } else {
                    inner.repeats += 1;
                }
            }
        }
        reply
    };
    match reply {
        Reply::Commit => {
            let ids: Vec<_> = events.iter().map(|event| event.event_id).collect();
            (
                StatusCode::CREATED,
                json!({"event_ids": ids, "message": "stored"}).to_string(),
            )
        }
        Reply::Foreign(status) => {
            let status = StatusCode::from_u16(status).expect("a status");
            (status, format!("<html>{status}</html>"))
        }
        Reply::CommitOthers => {
            let ids: Vec<_> = events.iter().map(|_| uuid::Uuid::new_v4()).collect();
            (
                StatusCode::CREATED,
                json!({"event_ids": ids, "message": "stored"}).to_string(),
            )
        }
        Reply::CommitUnheard => (StatusCode::BAD_GATEWAY, "the answer was lost".to_owned()),
        Reply::Queue => (
            StatusCode::ACCEPTED,
            json!({"status": "accepted", "message": "queued"}).to_string(),
        ),
        Reply::WrongTime(what) => {
            let errors = json!({"[0].event_timestamp": format!("is an invalid timestamp: {what} (as scripted)")});
            let problem = json!({"type": "https://kubernaut.io/problems/validation-error", "title": "Validation Error", "status": 400, "field_errors": errors});
            (StatusCode::BAD_REQUEST, problem.to_string())
        }
        Reply::Refuse(status) => {
            let problem = json!({"type": "https://kubernaut.io/problems/scripted", "title": "Scripted", "status": status, "detail": "as scripted"});
            (
                StatusCode::from_u16(status).expect("a status"),
                problem.to_string(),
            )
        }
    }
}

/// Settings with short times, the journal in `directory`.
pub(crate) fn quick(directory: &TempDir) -> Config {
    Config {
        flush_interval: Duration::from_millis(20),
        backoff: Backoff {
            first: Duration::from_millis(5),
            longest: Duration::from_millis(50),
        },
        request_deadline: Duration::from_secs(5),
        ..Config::for_service("test", directory.path().join("journal"))
    }
}

pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub(crate) fn open(url: &str, config: Config) -> Store {
    Store::open(url, config).expect("a store")
}

/// Flushes until the report is as wanted, which is not what a flush waits for when the server does not take events.
pub(crate) async fn flush_until(
    store: &Store,
    what: &str,
    wanted: impl Fn(&Report) -> bool,
) -> Report {
    wait::until(what, DEADLINE, async || {
        let report = store.flush(Duration::from_millis(50)).await;
        if wanted(&report) {
            Ok(report)
        } else {
            Err(format!("{report:?}"))
        }
    })
    .await
}

/// The `number`th event of a stream.
pub(crate) fn event(number: usize) -> Event {
    Event::new(
        EventCategory::Workflow,
        "workflow.started",
        EventOutcome::Success,
        "stream",
    )
    .data(&json!({ "number": number }))
}

/// Makes a journal as another process would have left it, with the events of these numbers and times.
pub(crate) fn leave(journal: &Path, events: &[(usize, Timestamp)]) {
    let mut segment = b"AUDITJ01".to_vec();
    for (number, at) in events {
        let event = json!({"event_id": uuid::Uuid::now_v7(), "version": "1.0", "event_type": "workflow.started", "event_timestamp": at,
            "event_category": "workflow", "event_action": "started", "event_outcome": "success", "correlation_id": "stream",
            "event_data": {"number": number}});
        segment.extend_from_slice(&frame(event.to_string().as_bytes()));
    }
    fs::create_dir_all(journal).expect("writable");
    fs::write(journal.join("0000000000000001.journal"), segment).expect("writable");
}

/// A record of the journal, accepted long ago.
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    let checked = [&[0; 8], payload].concat();
    let checksum = crc32fast::hash(&checked);
    [&length.to_le_bytes()[..], &checksum.to_le_bytes(), &checked].concat()
}

/// The numbers of events made by [`event`].
pub(crate) fn numbers(events: &[AuditEventRequest]) -> Vec<usize> {
    let number = |event: &AuditEventRequest| {
        let data: Value = event.event_data.parse().expect("an object");
        usize::try_from(data["number"].as_u64().expect("a number")).expect("a small number")
    };
    events.iter().map(number).collect()
}
