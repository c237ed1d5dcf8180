//! POST one audit event or a batch.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use datastorage_api::{
    AcceptedResponse, AuditEventBatchResponse, AuditEventResponse, ProblemType, parse_batch,
    parse_event,
};
use uuid::Uuid;

use super::Writer;
use crate::app::App;
use crate::body::{Content, Json};
use crate::outcome::{Doubt, Outcome};
use crate::problem::Problem;

/// Events over which one request's parsing yields to the runtime's other work.
const LONG_BATCH: usize = 200;

/// `POST /api/v1/audit/events`.
pub(crate) async fn single(
    State(app): State<Arc<App>>,
    State(writer): State<Writer>,
    request: Request,
) -> Result<Response, Problem> {
    app.require_table("audit_events")?;
    let body = app.bodies.read_json(Content::Events, request).await?;
    let event = parse_event(&body, app.clock.now())
        .map_err(|error| Problem::submission(&app.metrics, error))?;
    drop(body);
    if let Some(parent) = event.parent_event_id {
        check_parent(&app, parent).await?;
    }
    let event = event.into_stored(App::new_id);
    let (event_id, event_timestamp, category) =
        (event.event_id, event.event_timestamp, event.event_category);
    let outcome = writer.write(vec![event]).await;
    app.metrics
        .events_written(category, event_timestamp, app.clock.now(), &outcome);
    settle(outcome, "audit event queued for async processing", || {
        let message = "Audit event created successfully".to_owned();
        Json(AuditEventResponse {
            event_id,
            event_timestamp,
            message,
        })
        .into_response()
    })
}

/// `POST /api/v1/audit/events/batch`.
pub(crate) async fn batch(
    State(app): State<Arc<App>>,
    State(writer): State<Writer>,
    request: Request,
) -> Result<Response, Problem> {
    app.require_table("audit_events")?;
    let body = app.bodies.read_json(Content::Events, request).await?;
    let now = app.clock.now();
    let events =
        parse_batch(&body, now).map_err(|error| Problem::submission(&app.metrics, error))?;
    drop(body);
    if events.len() > LONG_BATCH {
        tokio::task::yield_now().await;
    }
    let events: Vec<_> = events
        .into_iter()
        .map(|event| event.into_stored(App::new_id))
        .collect();
    let event_ids: Vec<_> = events.iter().map(|event| event.event_id).collect();
    let lags: Vec<_> = events
        .iter()
        .map(|event| (event.event_category, event.event_timestamp))
        .collect();
    let outcome = writer.write(events).await;
    for (category, time) in lags {
        app.metrics
            .events_written(category, time, app.clock.now(), &outcome);
    }
    let count = event_ids.len();
    settle(
        outcome,
        &format!("{count} audit events queued for async processing"),
        || {
            Json(AuditEventBatchResponse {
                event_ids,
                message: format!("{count} audit events created successfully"),
            })
            .into_response()
        },
    )
}

/// The parent is stored or queued. While the database is away nobody can know, and the child is not refused for it (D28).
async fn check_parent(app: &App, parent: Uuid) -> Result<(), Problem> {
    if app.queue.holds_event(parent).await.unwrap_or(false) || app.availability.is_away() {
        return Ok(());
    }
    match app.store.event_exists(parent, app.clock.now()).await {
        Ok(true) => Ok(()),
        // It may have left the queue for the table between the two checks, or be in it since.
        Ok(false) if app.queue.holds_event(parent).await.unwrap_or(false) => Ok(()),
        Ok(false) => Err(Problem::field(
            "parent_event_id",
            "parent event does not exist",
        )),
        Err(error) if error.is_away() => {
            app.availability.read_failed(&error);
            Ok(())
        }
        // Nobody can know.
        Err(error) if error.is_transient() => Ok(()),
        Err(error) => Err(Problem::store(&error)),
    }
}

fn settle(
    outcome: Outcome,
    queued: &str,
    stored: impl FnOnce() -> Response,
) -> Result<Response, Problem> {
    match outcome {
        Outcome::Stored => Ok((StatusCode::CREATED, stored()).into_response()),
        Outcome::Queued => {
            Ok((StatusCode::ACCEPTED, Json(AcceptedResponse::new(queued))).into_response())
        }
        Outcome::Conflict(ids) => {
            let ids: Vec<_> = ids.iter().map(Uuid::to_string).collect();
            let detail = format!(
                "event_id {} is taken by an event of the same UTC date with another event_timestamp or other content; nothing was stored: send it with an event_id of its own",
                ids.join(", ")
            );
            Err(Problem::new(ProblemType::Conflict, detail))
        }
        Outcome::Refused(error) => Err(Problem::store(&error)),
        Outcome::Full(reason, Doubt::None) => Err(Problem::unavailable(format!(
            "the event was not stored: {reason}; send it again later"
        ))),
        Outcome::Full(reason, Doubt::Committed) => Err(Problem::unavailable(format!(
            "the event is not known to be stored: {reason}; the database went away before it said whether the event is committed: send it again with the same event_id and event_timestamp"
        ))),
    }
}
