//! /health, /health/ready, /health/live.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use datastorage_api::time::utc_date;
use datastorage_api::{HealthStatus, LivenessStatus, ReadinessStatus};
use jiff::ToSpan;

use crate::app::App;
use crate::body::Json;

/// Whether the database answers.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let (status, health, database) = match app.store.ping().await {
        Ok(()) => (StatusCode::OK, "healthy", "connected"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "disconnected"),
    };
    (
        status,
        Json(HealthStatus {
            status: health.to_owned(),
            database: database.to_owned(),
        }),
    )
        .into_response()
}

/// Whether the instance can commit what its profile serves: tables, columns, partitions for today and tomorrow (D10).
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let queue = app.queue.trouble().await;
    let not_ready = |reason: &str, missing: Vec<String>| {
        let profile = (!missing.is_empty()).then(|| app.profile.clone());
        let body = ReadinessStatus {
            status: "not_ready".to_owned(),
            reason: Some(reason.to_owned()),
            profile,
            missing,
            queue: queue.clone(),
        };
        (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
    };
    if app.is_stopping() {
        return not_ready("shutting_down", Vec::new());
    }
    let today = utc_date(app.clock.now());
    match app
        .store
        .missing(&app.requirements, &[today, today.saturating_add(1.day())])
        .await
    {
        Ok(missing) if missing.is_empty() => {
            app.on_ready();
            if app.queue.is_stalled() {
                return not_ready("queue_not_draining", missing);
            }
            Json(ReadinessStatus {
                status: "ready".to_owned(),
                reason: None,
                profile: None,
                missing,
                queue,
            })
            .into_response()
        }
        Ok(missing) => {
            app.on_incomplete();
            not_ready("schema_incomplete", missing)
        }
        Err(_) => not_ready("database_unreachable", Vec::new()),
    }
}

/// Whether the process runs.
pub(crate) async fn live() -> Json<LivenessStatus> {
    Json(LivenessStatus {
        status: "alive".to_owned(),
    })
}
