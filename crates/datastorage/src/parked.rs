//! Parked writes: seen, put back and deleted over HTTP, the last two by nobody who has not proven who calls.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use datastorage_api::{ParkedEntriesResponse, ParkedEntry, ProblemType, RedriveResponse, limits};

use crate::app::App;
use crate::body::{Cut, Json, JsonText};
use crate::gate::Proven;
use crate::parameters::Parameters;
use crate::problem::Problem;

/// `GET /api/v1/queue/parked`.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(cut): Extension<Cut>,
    RawQuery(query): RawQuery,
) -> Result<JsonText, Problem> {
    let mut parameters = Parameters::of(query.as_deref().unwrap_or_default());
    let limit = parameters.number("limit", limits::DEFAULT_PAGE, 1, limits::PAGE);
    let after = parameters.number("after", -1, 0, i64::MAX);
    let most = parameters.finish(usize::try_from(limit).unwrap_or_default())?;
    let after = u64::try_from(after).ok();
    let share = app.answers.share(cut).await?;
    let page = app
        .queue
        .parked(after, most)
        .await
        .map_err(|error| Problem::unavailable(error.to_string()))?;
    let list = ParkedEntriesResponse {
        entries: page.entries,
        total: page.total,
        has_more: page.has_more,
    };
    JsonText::new(&list, share)
}

/// `DELETE /api/v1/queue/parked/{id}`.
pub(crate) async fn delete(
    _caller: Proven,
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ParkedEntry>, Problem> {
    let number = id
        .ok()
        .and_then(|Path(id)| id.parse::<u64>().ok())
        .filter(|number| i64::try_from(*number).is_ok())
        .ok_or_else(|| Problem::field("id", "must be an integer from 0"))?;
    let deleted = app
        .queue
        .delete(number)
        .await
        .map_err(|error| Problem::unavailable(error.to_string()))?;
    let entry = deleted.ok_or_else(|| {
        Problem::new(
            ProblemType::NotFound,
            format!("no parked entry has the id {number}"),
        )
    })?;
    tracing::warn!(
        number,
        reason = entry.reason,
        "a parked write is deleted on request"
    );
    Ok(Json(entry))
}

/// `POST /api/v1/queue/parked/redrive`.
pub(crate) async fn redrive(
    _caller: Proven,
    State(app): State<Arc<App>>,
) -> Result<Json<RedriveResponse>, Problem> {
    let redriven = app
        .queue
        .redrive()
        .await
        .map_err(|error| Problem::unavailable(error.to_string()))?;
    tracing::info!(redriven, "parked writes are put back into the queue");
    Ok(Json(RedriveResponse { redriven }))
}
