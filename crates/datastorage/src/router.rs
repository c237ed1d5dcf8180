//! The routes: every operation of the contract, and nothing else.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, patch, post};
use datastorage_api::{ProblemType, paths};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::problem::{self, Problem};
use crate::{audit, body, health, notifications, queue, workflows};

/// The service as one router; binary and tests use the same.
pub fn router(app: Arc<App>) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(path, methods)
        })
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(&app), body::within_budget))
        .layer(from_fn_with_state(Arc::clone(&app), problem::finish))
        .with_state(app)
}

/// Each path of the contract with its methods.
fn routes() -> [(&'static str, MethodRouter<Arc<App>>); 14] {
    [
        (paths::AUDIT_EVENTS, post(audit::single).get(audit::query)),
        (paths::AUDIT_EVENTS_BATCH, post(audit::batch)),
        (paths::NOTIFICATIONS, post(notifications::create)),
        (
            paths::WORKFLOWS,
            post(workflows::create).get(workflows::list),
        ),
        (paths::WORKFLOWS_SEARCH, post(workflows::search)),
        (paths::WORKFLOW_VERSIONS, get(workflows::versions)),
        (
            paths::WORKFLOW,
            get(workflows::get).patch(workflows::update),
        ),
        (paths::WORKFLOW_DISABLE, patch(workflows::disable)),
        (paths::QUEUE_PARKED, get(queue::http::parked)),
        (paths::QUEUE_REDRIVE, post(queue::http::redrive)),
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

fn panicked(_: Box<dyn Any + Send>) -> Response {
    // The panic's own message went to stderr with its place; it may hold data, so the client gets none of it.
    Problem::new(
        ProblemType::InternalError,
        "the server has a defect; its log says more",
    )
    .into_response()
}

/// `GET /metrics`.
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let depth = app.queue.depth().await.ok();
    let text = app.metrics.render(
        depth,
        app.queue.limits(),
        app.clock.now(),
        app.store.connections(),
        app.availability.is_away(),
    );
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
