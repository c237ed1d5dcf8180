//! Parked writes: seen and put back over HTTP.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use datastorage_api::{ParkedEntriesResponse, RedriveResponse, limits};

use crate::app::App;
use crate::body::Json;
use crate::parameters::Parameters;
use crate::problem::Problem;

/// `GET /api/v1/queue/parked`.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<ParkedEntriesResponse>, Problem> {
    let mut parameters = Parameters::of(query.as_deref().unwrap_or_default());
    let limit = parameters.number("limit", limits::DEFAULT_PAGE, 1, limits::PAGE);
    let limit = parameters.finish(usize::try_from(limit).unwrap_or_default())?;
    let (entries, total) = app
        .queue
        .parked(limit)
        .await
        .map_err(|error| Problem::unavailable(error.to_string()))?;
    Ok(Json(ParkedEntriesResponse { entries, total }))
}

/// `POST /api/v1/queue/parked/redrive`.
pub(crate) async fn redrive(State(app): State<Arc<App>>) -> Result<Json<RedriveResponse>, Problem> {
    let redriven = app
        .queue
        .redrive()
        .await
        .map_err(|error| Problem::unavailable(error.to_string()))?;
    tracing::info!(redriven, "parked writes are put back into the queue");
    Ok(Json(RedriveResponse { redriven }))
}
