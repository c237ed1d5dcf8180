//! What the relay answers: the two writes of the contract, its own checks, and reads, which it passes on.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use audit_store::{Event, Store, StoreError};
use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use datastorage_api::{
    AcceptedResponse, AuditEventRequest, LivenessStatus, ProblemType, ReadinessStatus, parse_batch,
    parse_event, paths,
};
use datastorage_client::Client;
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use metrics::{counter, with_local_recorder};
use metrics_exporter_prometheus::PrometheusRecorder;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{body::Bodies, problem::Problem};

/// How long an event may take to be on disk.
const SYNC: Duration = Duration::from_secs(10);
/// How long a read may wait for others.
const TURN: Duration = Duration::from_secs(5);
/// Reads that are passed on at the same time, each with its answer in memory.
const READS: usize = 4;
/// How long a journal that could not be written keeps the relay unready, while nobody tries again.
const TROUBLE: Duration = Duration::from_secs(10);

/// What the handlers share.
pub(super) struct Relay {
    pub(super) store: Arc<Store>,
    pub(super) client: Client,
    pub(super) recorder: PrometheusRecorder,
    bodies: Bodies,
    reads: Arc<Semaphore>,
    stopping: AtomicBool,
    /// When the journal last refused an event that is in order, unless it took another since.
    trouble: Mutex<Option<Instant>>,
}

impl Relay {
    pub(super) fn new(store: Store, client: Client, recorder: PrometheusRecorder) -> Self {
        Self {
            store: Arc::new(store),
            client,
            recorder,
            bodies: Bodies::new(),
            reads: Arc::new(Semaphore::new(READS)),
            stopping: AtomicBool::new(false),
            trouble: Mutex::new(None),
        }
    }

    /// From now on it is not ready, and goes on serving.
    pub(super) fn stop_being_ready(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Answers when all of `events` are in the journal and on disk.
    async fn accept(&self, events: Vec<AuditEventRequest>) -> Result<Response, Problem> {
        let message = match events.len() {
            1 => "audit event queued for async processing".to_owned(),
            count => format!("{count} audit events queued for async processing"),
        };
        let events = events.into_iter().map(Event::from).collect();
        let accepted = self.store.durable_batch(events, SYNC).await;
        let refused = matches!(
            accepted,
            Err(StoreError::JournalFull { .. }
                | StoreError::Journal { .. }
                | StoreError::NotSynced { .. })
        );
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = refused.then(Instant::now);
        accepted?;
        Ok((StatusCode::ACCEPTED, Json(AcceptedResponse::new(message))).into_response())
    }

    fn unready(&self) -> Option<&'static str> {
        let trouble = *self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stopping.load(Ordering::Relaxed) {
            Some("shutting_down")
        } else if trouble.is_some_and(|since| since.elapsed() < TROUBLE) {
            Some("journal_not_writable")
        } else {
            None
        }
    }
}

/// The relay's routes.
pub(super) fn router(relay: &Arc<Relay>) -> Router {
    Router::new()
        .route(paths::AUDIT_EVENTS, post(single).get(pass_on))
        .route(paths::AUDIT_EVENTS_BATCH, post(batch))
        .route(paths::HEALTH_LIVE, get(live))
        .route(paths::HEALTH_READY, get(ready))
        .route(paths::METRICS, get(metrics))
        .fallback(pass_on)
        .method_not_allowed_fallback(pass_on)
        .layer(middleware::from_fn_with_state(Arc::clone(relay), finish))
        .with_state(Arc::clone(relay))
}

/// Counts the request, and makes a problem its answer.
async fn finish(State(relay): State<Arc<Relay>>, request: Request, next: Next) -> Response {
    let operation = match (request.method(), request.uri().path()) {
        (&Method::POST, paths::AUDIT_EVENTS) => "single",
        (&Method::POST, paths::AUDIT_EVENTS_BATCH) => "batch",
        (&Method::GET, paths::HEALTH_LIVE | paths::HEALTH_READY | paths::METRICS) => "own",
        (&Method::GET, _) => "read",
        _ => "other",
    };
    let response = next.run(request).await;
    let status = match response.status().as_u16() {
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    with_local_recorder(&relay.recorder, || {
        counter!("audit_relay_requests_total", "operation" => operation, "status" => status)
            .increment(1);
    });
    response
}

async fn single(
    State(relay): State<Arc<Relay>>,
    uri: Uri,
    request: Request,
) -> Result<Response, Problem> {
    let answer = async {
        let body = relay.bodies.read_json(request).await?;
        let event = parse_event(&body.bytes, Timestamp::now())?;
        relay.accept(vec![event]).await
    };
    answer
        .await
        .map_err(|problem: Problem| problem.at(uri.path()))
}

async fn batch(
    State(relay): State<Arc<Relay>>,
    uri: Uri,
    request: Request,
) -> Result<Response, Problem> {
    let answer = async {
        let body = relay.bodies.read_json(request).await?;
        let events = parse_batch(&body.bytes, Timestamp::now())?;
        relay.accept(events).await
    };
    answer
        .await
        .map_err(|problem: Problem| problem.at(uri.path()))
}

/// Passes a read on to Data Storage, with its answer, whatever it is. Nothing else is passed on: the relay could not answer for it. Nor is
/// what the caller proves itself by: the relay asks as itself.
async fn pass_on(
    State(relay): State<Arc<Relay>>,
    method: Method,
    uri: Uri,
) -> Result<Response, Problem> {
    let answer = async {
        if method != Method::GET {
            let detail = format!(
                "the relay takes POST {} and {}, and passes GET on; send {method} {} to Data Storage itself",
                paths::AUDIT_EVENTS,
                paths::AUDIT_EVENTS_BATCH,
                uri.path()
            );
            return Err(Problem::new(ProblemType::MethodNotAllowed, detail));
        }
        let turn = timeout(TURN, Arc::clone(&relay.reads).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let detail = format!("{READS} other reads are under way; try again");
            return Err(Problem::unavailable(detail));
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let answer = relay.client.get_raw(target).await;
        let answer = answer.map_err(|error| Problem::unavailable(error.to_string()))?;
        if answer.status == StatusCode::UNAUTHORIZED.as_u16() {
            // Whoever asked has nothing to do with it, and nothing to send that would help.
            let detail = "Data Storage does not let the relay in; mend the relay's token or client certificate (DATASTORAGE_TOKEN_FILE, DATASTORAGE_CLIENT_CERT_FILE)";
            return Err(Problem::unavailable(detail));
        }
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut response = (status, held_by(turn, answer.body)).into_response();
        if let Some(kind) = answer.content_type.and_then(|kind| kind.try_into().ok()) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        if let Some(pause) = answer.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, pause.as_secs().into());
        }
        Ok(response)
    };
    answer
        .await
        .map_err(|problem: Problem| problem.at(uri.path()))
}

/// A body that keeps its turn until it is sent.
fn held_by(turn: OwnedSemaphorePermit, bytes: axum::body::Bytes) -> Body {
    Body::new(Full::new(bytes).map_frame(move |frame| {
        let _held = &turn;
        frame
    }))
}

async fn live() -> Json<LivenessStatus> {
    Json(LivenessStatus {
        status: "alive".to_owned(),
    })
}

/// Ready while the journal takes events; whether Data Storage is there makes no difference to the service.
async fn ready(State(relay): State<Arc<Relay>>) -> (StatusCode, Json<ReadinessStatus>) {
    let reason = relay.unready();
    let (status, word) = match reason {
        None => (StatusCode::OK, "ready"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    let body = ReadinessStatus {
        status: word.to_owned(),
        reason: reason.map(str::to_owned),
        profile: None,
        missing: Vec::new(),
        queue: None,
        warnings: Vec::new(),
    };
    (status, Json(body))
}

async fn metrics(State(relay): State<Arc<Relay>>) -> Response {
    let text = relay.recorder.handle().render();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
