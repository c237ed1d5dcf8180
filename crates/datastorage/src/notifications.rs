//! POST the record of a notification.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use datastorage_api::{AcceptedResponse, NotificationAudit, ProblemType, parse_notification};

use crate::app::App;
use crate::body::{Content, Json};
use crate::problem::Problem;
use crate::queue::{Pushed, Write};
use crate::store::Recorded;

const TABLE: &str = "notification_audit";

/// `POST /api/v1/audit/notifications`.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    app.require_table(TABLE)?;
    let body = app.bodies.read_json(Content::Record, request).await?;
    let record = parse_notification(&body, app.clock.now())
        .map_err(|error| Problem::submission(&app.metrics, error))?;
    if app.availability.is_away() {
        return enqueue(&app, record).await;
    }
    let started = Instant::now();
    let result = app.store.insert_notification(&record).await;
    app.metrics.row_written(TABLE, started, result.is_ok());
    match result {
        Ok(Recorded::New(stored)) => Ok((StatusCode::CREATED, Json(stored)).into_response()),
        Ok(Recorded::Repeat | Recorded::Taken) => {
            let detail = format!(
                "a record with notification_id {:?} exists",
                record.notification_id
            );
            Err(Problem::new(ProblemType::Conflict, detail)
                .titled("Resource Conflict")
                .taken(TABLE, "notification_id", &record.notification_id))
        }
        Err(error) if error.is_away() => {
            app.availability.mark_away(&error);
            enqueue(&app, record).await
        }
        Err(error) if error.is_transient() => enqueue(&app, record).await,
        Err(error) => Err(Problem::store(&error)),
    }
}

async fn enqueue(app: &App, record: NotificationAudit) -> Result<Response, Problem> {
    let pushed = app
        .queue
        .push(vec![vec![Write::from(record)]], app.clock.now())
        .await;
    let reason = match pushed.as_deref() {
        Ok([Pushed::Queued]) => {
            app.metrics.notification_enqueued();
            let accepted = AcceptedResponse::new("audit record queued for processing");
            return Ok((StatusCode::ACCEPTED, Json(accepted)).into_response());
        }
        Ok(_) => "the queue is full".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Problem::unavailable(format!(
        "the database is away and the record was not queued: {reason}; send it again later"
    )))
}
