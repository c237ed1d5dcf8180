//! The workflow catalogue: register, list, get, change, disable, versions of a name, search.

mod audit;
mod score;
pub(crate) mod search;

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use datastorage_api::{
    ProblemType, UpdateError, WORKFLOW_STATUSES, WorkflowUpdateRequest, limits, parse_uuid,
    parse_workflow, parse_workflow_disable, parse_workflow_update,
};
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::body::{Content, Cut, Json, JsonText};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::store::{WorkflowChange, WorkflowFilter, WorkflowRow};

const TABLE: &str = "remediation_workflow_catalog";

/// A workflow's name or id in the path.
type InPath = Result<Path<String>, PathRejection>;

/// `POST /api/v1/workflows`.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    app.require_table(TABLE)?;
    let body = app.bodies.read_json(Content::Record, request).await?;
    let workflow =
        parse_workflow(&body).map_err(|error| Problem::submission(&app.metrics, error))?;
    let id = App::new_id();
    let audit = audit::created(&app, id, &workflow);
    let started = Instant::now();
    let result = app
        .store
        .create_workflow(id, &workflow, audit.as_ref())
        .await;
    app.metrics.row_written(TABLE, started, result.is_ok());
    let row = result.map_err(|error| app.failed(&error))?;
    let row = row.ok_or_else(|| {
        let detail = format!(
            "workflow {:?} has a version {:?} already; a version is immutable, register another",
            workflow.workflow_name, workflow.version
        );
        Problem::new(ProblemType::Conflict, detail).titled("Workflow Already Exists")
    })?;
    Ok((StatusCode::CREATED, Json(row)).into_response())
}

/// `GET /api/v1/workflows`.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(cut): Extension<Cut>,
    RawQuery(query): RawQuery,
) -> Result<JsonText, Problem> {
    app.require_table(TABLE)?;
    let mut parameters = Parameters::of(query.as_deref().unwrap_or_default());
    let filter = WorkflowFilter {
        status: parameters.word("status", &WORKFLOW_STATUSES),
        environment: parameters.text("environment"),
        priority: parameters.text("priority"),
        component: parameters.text("component"),
    };
    let limit = parameters.number("limit", limits::DEFAULT_WORKFLOWS, 1, limits::PAGE);
    let offset = parameters.number("offset", 0, 0, i64::MAX);
    let filter = parameters.finish(filter)?;
    let mut list = app.answers.list("workflows", cut).await?;
    let page = app
        .store
        .list_workflows(&filter, limit, offset, &mut list.text);
    let page = app.timed("workflow_list", page).await?;
    Ok(list.end(&json!({
        "limit": limit,
        "offset": offset,
        "total": page.total,
        "has_more": page.has_more(offset),
    })))
}

/// `GET /api/v1/workflows/{workflow_id}`.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    path: InPath,
) -> Result<Json<WorkflowRow>, Problem> {
    app.require_table(TABLE)?;
    let id = workflow_id(path)?;
    let row = app
        .timed("workflow_get", app.store.get_workflow(id))
        .await?;
    row.map(Json).ok_or_else(|| not_found(id))
}

/// `GET /api/v1/workflows/by-name/{workflow_name}/versions`.
pub(crate) async fn versions(
    State(app): State<Arc<App>>,
    Extension(cut): Extension<Cut>,
    path: InPath,
) -> Result<JsonText, Problem> {
    app.require_table(TABLE)?;
    let workflow_name = in_path("workflow_name", path)?;
    if workflow_name.chars().count() > limits::WORKFLOW_NAME {
        let what = format!("must have at most {} characters", limits::WORKFLOW_NAME);
        return Err(Problem::field("workflow_name", &what));
    }
    let mut list = app.answers.list("versions", cut).await?;
    let versions = app.store.workflow_versions(&workflow_name, &mut list.text);
    let versions = app.timed("workflow_versions", versions).await?;
    Ok(list.end(&json!({
        "workflow_name": workflow_name,
        "total": versions.total,
        "has_more": versions.has_more(0),
    })))
}

/// `PATCH /api/v1/workflows/{workflow_id}`.
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    path: InPath,
    request: Request,
) -> Result<Json<WorkflowRow>, Problem> {
    app.require_table(TABLE)?;
    let id = workflow_id(path)?;
    let body = app.bodies.read_json(Content::Record, request).await?;
    let asked = parse_workflow_update(&body).map_err(|error| match error {
        UpdateError::Submission(error) => Problem::submission(&app.metrics, error),
        UpdateError::Immutable(errors) => {
            Problem::new(ProblemType::ImmutableField, errors.to_string()).with_fields(errors)
        }
    })?;
    let data = json!(asked);
    let WorkflowUpdateRequest {
        status,
        disabled_by,
        disabled_reason,
    } = asked;
    let change = WorkflowChange {
        status,
        disabled_by,
        disabled_reason,
        updated_by: None,
    };
    change_workflow(&app, id, &change, &data).await
}

/// `PATCH /api/v1/workflows/{workflow_id}/disable`.
pub(crate) async fn disable(
    State(app): State<Arc<App>>,
    path: InPath,
    request: Request,
) -> Result<Json<WorkflowRow>, Problem> {
    app.require_table(TABLE)?;
    let id = workflow_id(path)?;
    // The body is optional, and so is the media type of none.
    let typed = request
        .headers()
        .contains_key(axum::http::header::CONTENT_TYPE);
    let body = if typed {
        app.bodies.read_json(Content::Record, request).await?
    } else {
        app.bodies.read(Content::Record, request).await?
    };
    let asked =
        parse_workflow_disable(&body).map_err(|error| Problem::submission(&app.metrics, error))?;
    let data = json!({"status": "disabled", "disabled_by": asked.updated_by, "disabled_reason": asked.reason});
    let change = WorkflowChange {
        status: Some("disabled".to_owned()),
        disabled_by: asked.updated_by.clone(),
        disabled_reason: asked.reason,
        updated_by: asked.updated_by,
    };
    change_workflow(&app, id, &change, &data).await
}

/// Changes a version; `data` is what its audit event says of the change.
async fn change_workflow(
    app: &App,
    id: Uuid,
    change: &WorkflowChange,
    data: &serde_json::Value,
) -> Result<Json<WorkflowRow>, Problem> {
    let started = Instant::now();
    let audit = |changed: &_| audit::updated(app, changed, data);
    let result = app.store.update_workflow(id, change, audit).await;
    app.metrics.row_written(TABLE, started, result.is_ok());
    let row = result.map_err(|error| app.failed(&error))?;
    row.map(Json).ok_or_else(|| not_found(id))
}

fn not_found(id: Uuid) -> Problem {
    Problem::new(ProblemType::NotFound, format!("there is no workflow {id}"))
}

fn workflow_id(path: InPath) -> Result<Uuid, Problem> {
    let text = in_path("workflow_id", path)?;
    parse_uuid(&text).ok_or_else(|| Problem::field("workflow_id", "must be a UUID"))
}

fn in_path(name: &str, path: InPath) -> Result<String, Problem> {
    match path {
        Ok(Path(text)) if text.contains('\0') => Err(Problem::field(name, "must not hold U+0000")),
        Ok(Path(text)) => Ok(text),
        Err(_) => Err(Problem::field(name, "must be percent-encoded UTF-8")),
    }
}
