//! Request and response bodies: JSON, of bounded size and arrival time.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use datastorage_api::ProblemType;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::Problem;

/// Bodies that may be in memory at the same time, in units of the limit of one.
const BODIES_IN_MEMORY: usize = 2;

/// Bounds of the bodies of requests.
#[derive(Debug)]
pub(crate) struct Bodies {
    /// Bytes of one.
    limit: usize,
    /// How long one may take to arrive.
    timeout: Duration,
    /// Memory that the bodies of all requests share, in KiB: what goes beyond waits, so that many large batches at once are slow
    /// rather than fatal.
    budget: Semaphore,
}

impl Bodies {
    pub(crate) fn new(limit: usize, timeout: Duration) -> Self {
        Self {
            limit,
            timeout,
            budget: Semaphore::new(kib(limit * BODIES_IN_MEMORY) as usize),
        }
    }

    /// The body's share of the memory of all, to be held until the request is answered. A body that does not declare its length
    /// counts as the longest that is taken.
    pub(crate) async fn share(&self, body: &impl HttpBody) -> Option<SemaphorePermit<'_>> {
        let length = match body.size_hint().upper() {
            Some(0) => return None,
            Some(length) => usize::try_from(length)
                .unwrap_or(self.limit)
                .min(self.limit),
            None => self.limit,
        };
        // The request's own timeout bounds the wait; the semaphore is never closed.
        self.budget.acquire_many(kib(length)).await.ok()
    }

    /// The body of a request that must be `application/json`.
    pub(crate) async fn read_json(&self, request: Request) -> Result<Bytes, Problem> {
        let media_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let detail =
                format!("the body must be application/json, Content-Type is {media_type:?}");
            return Err(Problem::new(ProblemType::UnsupportedMediaType, detail));
        }
        self.read(request.into_body()).await
    }

    /// The body, as far as the limits of size and time allow.
    pub(crate) async fn read(&self, body: Body) -> Result<Bytes, Problem> {
        let collect = Limited::new(body, self.limit).collect();
        match tokio::time::timeout(self.timeout, collect).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let detail = format!(
                    "the body is larger than {} bytes; send smaller batches",
                    self.limit
                );
                Err(Problem::new(ProblemType::PayloadTooLarge, detail))
            }
            Ok(Err(error)) => Err(Problem::new(
                ProblemType::ValidationError,
                format!("the body ended early: {error}"),
            )),
            Err(_) => Err(Problem::new(
                ProblemType::RequestTimeout,
                format!("the body did not arrive within {:?}", self.timeout),
            )),
        }
    }
}

/// Bytes in KiB, rounded up.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// A JSON response.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => (
                [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
                body,
            )
                .into_response(),
            Err(error) => Problem::new(
                ProblemType::InternalError,
                format!("the answer is not JSON: {error}"),
            )
            .into_response(),
        }
    }
}
