//! The fake over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{Method, Uri};
use axum::routing::{get, post};
use axum::{Json, Router};
use datastorage_api::ProblemType;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::problem::Problem;
use crate::{Fake, Played, Scenario, Steps};

/// Longest time that a flush may be asked to wait.
const LONGEST_FLUSH: Duration = Duration::from_mins(2);

/// The fake's routes.
pub fn router(fake: Arc<Fake>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/health/live", get(health))
        // The store is open before anything is listened for.
        .route("/health/ready", get(health))
        .route("/scenarios", get(scenarios))
        .route("/scenarios/{name}", post(play))
        .route("/flush", post(flush))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(fake)
}

async fn health(State(fake): State<Arc<Fake>>) -> Json<Value> {
    Json(json!({
        "status": "ok",
        "service": fake.service(),
        "fake": true,
        "emits": fake.emits(),
        "about": format!("a fake that plays the audit scenarios of {}; GET /scenarios lists them", fake.service()),
    }))
}

async fn scenarios(State(fake): State<Arc<Fake>>) -> Json<Value> {
    let shown = |scenario: &Scenario| json!({"name": scenario.name, "about": scenario.about, "names": scenario.names()});
    let scenarios: Vec<_> = fake.scenarios().iter().map(shown).collect();
    Json(json!({"service": fake.service(), "scenarios": scenarios}))
}

async fn play(
    State(fake): State<Arc<Fake>>,
    Path(name): Path<String>,
    Query(steps): Query<Steps>,
    body: Bytes,
) -> Result<Json<Played>, Problem> {
    let played = fake.play(&name, names(&body)?, steps).await?;
    Ok(Json(played))
}

/// The body's JSON object; no body is no names.
fn names(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(
            ProblemType::ValidationError,
            format!("the body must be a JSON object of names: {error}"),
        )
    })
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wait {
    seconds: u64,
}

impl Default for Wait {
    fn default() -> Self {
        Self { seconds: 30 }
    }
}

async fn flush(
    State(fake): State<Arc<Fake>>,
    Query(wait): Query<Wait>,
) -> Result<Json<Value>, Problem> {
    let deadline = Duration::from_secs(wait.seconds).min(LONGEST_FLUSH);
    let report = fake.flush(deadline).await;
    if report.is_complete() {
        Ok(Json(json!({"stored": report.stored})))
    } else {
        Err(Problem::outstanding(&report))
    }
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
