//! The routes: every operation of the contract, and nothing else.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, Request, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use datastorage_api::{ProblemType, paths};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use tower::Service as _;

use crate::app::App;
use crate::audit::Writer;
use crate::gate::{Caller, Gate};
use crate::metrics::Seen;
use crate::problem::{self, Problem};
use crate::{audit, health, notifications, parked, traces, workflows};

/// What answers a worker's requests.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    app: Arc<App>,
    router: Router,
}

impl Service {
    /// Audit events go to `writer`, the lane of the worker.
    pub(crate) fn new(app: &Arc<App>, writer: Writer) -> Self {
        let router = routes()
            .into_iter()
            .fold(Router::new(), |router, (path, methods)| {
                router.route(path, methods)
            })
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(Shared {
                app: Arc::clone(app),
                writer,
            });
        Self {
            app: Arc::clone(app),
            router,
        }
    }

    /// How far a client may fall behind with taking an answer.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.app.request_timeout
    }

    /// What lets calls in.
    pub(crate) fn gate(&self) -> &Gate {
        &self.app.gate
    }

    /// Answers a request that came over a connection of `caller`, within the time for one. What every route needs is around the router: its own layers are cloned
    /// and boxed anew for each request, which cost as much as reading and checking an event.
    pub(crate) async fn answer(self, mut request: Request<Incoming>, caller: Caller) -> Response {
        let uri = request.uri().clone();
        let app = Arc::clone(&self.app);
        let response = match app.gate.admit(&uri, request.headers(), caller) {
            // Nothing of the body is read.
            Err(refused) => refused,
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                let answer = tokio::time::timeout(app.request_timeout, self.route(request)).await;
                answer.unwrap_or_else(|_| {
                    Problem::unavailable("the request took too long; send it again").into_response()
                })
            }
        };
        problem::finish(&app.problem_base, &uri, response)
    }

    /// Holds the body's share of memory until the request is answered.
    async fn route(mut self, mut request: Request<Incoming>) -> Response {
        let _share = self.app.bodies.share(&mut request);
        let answer = AssertUnwindSafe(self.router.call(request)).catch_unwind();
        match answer.await {
            Ok(Ok(response)) => response,
            // The panic's own message went to stderr with its place; it may hold data, so the client gets none of it.
            Err(_) => Problem::new(
                ProblemType::InternalError,
                "the server has a defect; its log says more",
            )
            .into_response(),
        }
    }
}

/// What handlers take their parts from.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    app: Arc<App>,
    writer: Writer,
}

impl FromRef<Shared> for Arc<App> {
    fn from_ref(shared: &Shared) -> Self {
        Self::clone(&shared.app)
    }
}

impl FromRef<Shared> for Writer {
    fn from_ref(shared: &Shared) -> Self {
        shared.writer.clone()
    }
}

/// Each path of the contract with its methods.
fn routes() -> [(&'static str, MethodRouter<Shared>); 20] {
    [
        (paths::AUDIT_EVENTS, post(audit::single).get(audit::query)),
        (paths::AUDIT_EVENTS_BATCH, post(audit::batch)),
        (paths::NOTIFICATIONS, post(notifications::create)),
        (
            paths::WORKFLOWS,
            post(workflows::create).get(workflows::list),
        ),
        (paths::WORKFLOWS_SEARCH, post(workflows::search::search)),
        (paths::WORKFLOW_VERSIONS, get(workflows::versions)),
        (
            paths::WORKFLOW,
            get(workflows::get).patch(workflows::update),
        ),
        (paths::WORKFLOW_DISABLE, patch(workflows::disable)),
        (paths::RATE_INCIDENT_TYPE, get(traces::by_incident_type)),
        (paths::RATE_WORKFLOW, get(traces::by_workflow)),
        (paths::RATE_DIMENSIONS, get(traces::by_dimensions)),
        (paths::INCIDENTS, get(traces::incidents)),
        (paths::INCIDENTS_RATE, get(traces::incident_success_rate)),
        (paths::QUEUE_PARKED, get(parked::list)),
        (paths::QUEUE_PARKED_ENTRY, delete(parked::delete)),
        (paths::QUEUE_REDRIVE, post(parked::redrive)),
        (paths::HEALTH, get(health::health)),
        (paths::HEALTH_READY, get(health::ready)),
        (paths::HEALTH_LIVE, get(health::live)),
        (paths::METRICS, get(metrics)),
    ]
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(ProblemType::NotFound, format!("there is no {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(
        ProblemType::MethodNotAllowed,
        format!("{} has no {method}", uri.path()),
    )
}

/// `GET /metrics`.
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let depth = app.queue.depth().await.ok();
    let text = app.metrics.render(Seen {
        depth,
        capacity: app.queue.capacity(),
        faults: app.queue.faults(),
        now: app.clock.now(),
        pools: app.store.connections(),
        away: app.availability.is_away(),
        clients: app.clients.clients(),
    });
    (
        [(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
        )],
        text,
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_paths_are_those_of_the_document() {
        let document: serde_json::Value =
            serde_saphyr::from_str(datastorage_api::OPENAPI).expect("the document is YAML");
        let declared: BTreeSet<_> = document["paths"]
            .as_object()
            .expect("paths")
            .keys()
            .map(String::as_str)
            .collect();
        let routed: BTreeSet<_> = routes().into_iter().map(|(path, _)| path).collect();
        assert_eq!(routed, declared);
    }
}
