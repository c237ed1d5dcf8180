//! /health, /health/ready, /health/live: answers within the second that a probe waits, whatever the database does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use datastorage_api::time::utc_date;
use datastorage_api::{HealthStatus, LivenessStatus, ReadinessStatus};
use jiff::ToSpan;
use tokio::time::timeout;

use crate::app::App;
use crate::body::Json;

/// How long a look may take; a database that has not answered by then cannot be relied on.
const LOOK: Duration = Duration::from_millis(700);
/// How many days ahead a partition is missed: more than a month, so that the next one is among them.
const AHEAD: i64 = 32;

/// Whether the database answers.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let (status, health, database) = match timeout(LOOK, app.store.answers()).await {
        Ok(Ok(())) => (StatusCode::OK, "healthy", "connected"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "disconnected"),
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
    let status = if app.is_stopping() {
        not_ready("shutting_down")
    } else {
        shared_look(&app).await
    };
    let code = match status.reason {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(status)).into_response()
}

/// Whether the process runs.
pub(crate) async fn live() -> Json<LivenessStatus> {
    Json(LivenessStatus {
        status: "alive".to_owned(),
    })
}

/// Probes that come while one looks get what it sees.
async fn shared_look(app: &App) -> ReadinessStatus {
    let asked = Instant::now();
    let mut last = app.probed.lock().await;
    if let Some((at, status)) = &*last
        && *at >= asked
    {
        return status.clone();
    }
    let status = look(app).await;
    *last = Some((Instant::now(), status.clone()));
    status
}

async fn look(app: &App) -> ReadinessStatus {
    let today = utc_date(app.clock.now());
    let days = [1, AHEAD].map(|days| today.saturating_add(days.days()));
    let days = [today, days[0], days[1]];
    let (gaps, queue) = tokio::join!(
        timeout(LOOK, app.store.gaps(&app.requirements, &days)),
        timeout(LOOK, app.queue.trouble()),
    );
    let mut status = match gaps {
        Ok(Ok(gaps)) if gaps.missing.is_empty() => {
            app.on_ready();
            let mut status = if app.queue.is_stalled() {
                not_ready("queue_not_draining")
            } else {
                ReadinessStatus {
                    status: "ready".to_owned(),
                    reason: None,
                    ..not_ready("")
                }
            };
            let ahead = gaps.ahead.into_iter();
            let ahead = ahead.map(|what| format!("missing ahead: {what}"));
            let locked = gaps
                .locked
                .then(|| "audit_events is locked: events are queued until it is not".to_owned());
            status.warnings = ahead.chain(locked).chain(app.warnings()).collect();
            status
        }
        Ok(Ok(gaps)) => {
            app.on_incomplete();
            ReadinessStatus {
                profile: Some(app.profile.clone()),
                missing: gaps.missing,
                ..not_ready("schema_incomplete")
            }
        }
        Ok(Err(_)) | Err(_) => not_ready("database_unreachable"),
    };
    status.queue =
        queue.unwrap_or_else(|_| Some("the queue's file does not answer in time".to_owned()));
    status
}

fn not_ready(reason: &str) -> ReadinessStatus {
    ReadinessStatus {
        status: "not_ready".to_owned(),
        reason: Some(reason.to_owned()),
        profile: None,
        missing: Vec::new(),
        queue: None,
        warnings: Vec::new(),
    }
}
