//! Problem documents (RFC 9457), in the form that Data Storage's own have.

use audit_store::StoreError;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use datastorage_api::{FieldErrors, ProblemDetails, ProblemType, SubmissionError};

/// Seconds after which a client may try again.
const RETRY_AFTER_SECONDS: u16 = 1;

/// A problem that is the answer.
pub(super) struct Problem(Box<ProblemDetails>);

impl Problem {
    pub(super) fn new(problem: ProblemType, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemDetails::new(problem, detail)))
    }

    /// The relay, or who it asks, cannot do it now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(ProblemType::ServiceUnavailable, detail);
        problem.0.retry = Some(true);
        problem
    }

    /// Names the path that was asked.
    pub(super) fn at(mut self, path: &str) -> Self {
        self.0.instance = Some(path.to_owned());
        self
    }

    fn invalid(detail: String, errors: FieldErrors) -> Self {
        let mut problem = Self::new(ProblemType::ValidationError, detail);
        problem.0.field_errors = errors;
        problem
    }
}

impl From<SubmissionError> for Problem {
    fn from(error: SubmissionError) -> Self {
        let detail = error.to_string();
        match error {
            SubmissionError::Body(_) => Self::new(ProblemType::ValidationError, detail),
            SubmissionError::Fields { errors, .. } => Self::invalid(detail, errors),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Invalid(errors) => Self::invalid(detail, errors),
            StoreError::TooLarge { .. } => Self::new(ProblemType::PayloadTooLarge, detail),
            StoreError::NotSynced { .. } => Self::unavailable(format!(
                "{detail}; send it again, with the same event_id and event_timestamp if it has them"
            )),
            _ => Self::unavailable(detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(details) = self;
        let status =
            StatusCode::from_u16(details.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&details).unwrap_or_default();
        let mut response =
            (status, [(CONTENT_TYPE, ProblemDetails::CONTENT_TYPE)], body).into_response();
        if details.retry == Some(true) {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}
