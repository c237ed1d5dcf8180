//! Errors as problem documents (RFC 9457), in the form that Data Storage's own have.

use audit_store::Report;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use datastorage_api::{ProblemDetails, ProblemType};
use serde_json::{Value, json};

use crate::PlayError;

/// A problem that is the answer.
pub(crate) struct Problem(Box<ProblemDetails>);

impl Problem {
    pub(crate) fn new(problem: ProblemType, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemDetails::new(problem, detail)))
    }

    /// Data Storage has not committed everything in time.
    pub(crate) fn outstanding(report: &Report) -> Self {
        let why = report.blocked_by.as_ref().map(ToString::to_string);
        let detail = format!(
            "{} events wait in the journal and {} are parked: {}",
            report.journalled,
            report.parked,
            why.as_deref().unwrap_or("no attempt has failed"),
        );
        let problem = Self::new(ProblemType::ServiceUnavailable, detail);
        problem
            .with_status(504)
            .with("outstanding", json!({"journalled": report.journalled, "queued": report.queued, "parked": report.parked}))
    }

    fn with_status(mut self, status: u16) -> Self {
        self.0.status = status;
        self
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.0.extensions.insert(name.to_owned(), value);
        self
    }
}

impl From<PlayError> for Problem {
    fn from(error: PlayError) -> Self {
        let detail = error.to_string();
        match error {
            PlayError::Scenario { .. } => Self::new(ProblemType::NotFound, detail),
            PlayError::Names { .. } | PlayError::Steps { .. } => {
                Self::new(ProblemType::ValidationError, detail)
            }
            PlayError::Sent(_) => Self::new(ProblemType::ServiceUnavailable, detail),
            PlayError::Store { emitted, .. } => {
                Self::new(ProblemType::ServiceUnavailable, detail).with("emitted", json!(emitted))
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(CONTENT_TYPE, ProblemDetails::CONTENT_TYPE)], body).into_response()
    }
}
