//! Bodies of requests: JSON, bounded in bytes, in time, and all together in memory.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::Request,
    http::header::CONTENT_TYPE,
};
use datastorage_api::ProblemType;
use http_body_util::BodyExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::problem::Problem;

/// Bytes of one body: as many as Data Storage takes unless its settings say otherwise.
pub(super) const MOST_BYTES: usize = 16 << 20;
/// How long one may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Bytes of all bodies at the same time.
const MEMORY: usize = 4 * MOST_BYTES;

/// The memory that the bodies of all requests share, in KiB. A share is taken as bytes arrive, so that a slow client holds what it sent.
#[derive(Debug)]
pub(super) struct Bodies(Arc<Semaphore>);

/// A body, and its share of the memory.
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    _share: Vec<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY >> 10)))
    }

    /// Reads the body of a request that must be `application/json`.
    pub(super) async fn read_json(&self, request: Request) -> Result<Received, Problem> {
        let media_type = request.headers().get(CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let detail =
                format!("the body must be application/json, Content-Type is {media_type:?}");
            return Err(Problem::new(ProblemType::UnsupportedMediaType, detail));
        }
        let received = timeout(ARRIVAL, self.read(request.into_body())).await;
        received.unwrap_or_else(|_| {
            let detail = format!("the body did not arrive within {ARRIVAL:?}");
            Err(Problem::new(ProblemType::RequestTimeout, detail))
        })
    }

    async fn read(&self, mut body: Body) -> Result<Received, Problem> {
        if body.size_hint().lower() > MOST_BYTES as u64 {
            return Err(too_large(body).await);
        }
        let (mut bytes, mut share) = (Vec::new(), Vec::<OwnedSemaphorePermit>::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let detail = format!("the body ended early: {error}");
                Problem::new(ProblemType::ValidationError, detail)
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > MOST_BYTES {
                return Err(too_large(body).await);
            }
            let kib = u32::try_from(data.len().div_ceil(1 << 10)).unwrap_or(u32::MAX);
            // The semaphore is never closed, and the time for the body bounds the wait.
            if let Ok(permit) = Arc::clone(&self.0).acquire_many_owned(kib).await {
                match share.first_mut() {
                    Some(first) => first.merge(permit),
                    None => share.push(permit),
                }
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Received {
            bytes,
            _share: share,
        })
    }
}

/// Reads on for a while, since a client that still sends may not see its answer, and keeps nothing of it.
async fn too_large(mut body: Body) -> Problem {
    let mut passed = 0;
    while passed < MOST_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        passed += frame.data_ref().map_or(0, axum::body::Bytes::len);
    }
    let detail = format!("the body is larger than {MOST_BYTES} bytes; send smaller batches");
    Problem::new(ProblemType::PayloadTooLarge, detail)
}
