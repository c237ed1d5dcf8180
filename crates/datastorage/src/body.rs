//! Request and response bodies: JSON, of bounded size, arrival time and memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use datastorage_api::{ProblemType, limits};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;

use crate::connections::Asking;
use crate::memory::{Memory, Revoked, Share};
use crate::problem::Problem;

/// Bytes of memory that a byte of a body with events costs until it is answered: as it came, as events, as what is sent on.
const EVENTS_WEIGHT: usize = 3;
/// The same for a body of the catalogue or a notification, which holds many small values.
const RECORD_WEIGHT: usize = 8;
/// Bytes of the body of a catalogue call or a notification.
const RECORD_BYTES: usize = 2 << 20;
/// Memory for other bodies beside the largest.
const BESIDE: usize = 4 << 20;
/// Bytes of a body from which on it is worth to make room for all that is announced: growing would copy it.
const WORTH_RESERVING: usize = 128 << 10;
/// Bytes of a page beside its list.
const REST: usize = 16 << 10;
/// Bytes of an answer that are handed to the connection at once.
const CHUNK: usize = 32 << 10;

/// What a body holds, which says how long it may be and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Audit events.
    Events,
    /// Anything else.
    Record,
}

/// Bounds of the bodies of requests.
#[derive(Debug)]
pub(crate) struct Bodies {
    /// Bytes of one.
    limit: usize,
    /// How long one may take to arrive.
    timeout: Duration,
    /// What those of all requests take until they are answered.
    memory: Arc<Memory>,
}

/// A request's part of the memory for bodies, in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct BodyShare(Arc<Share>);

impl Bodies {
    pub(crate) fn new(limit: usize, timeout: Duration) -> Self {
        Self {
            limit,
            timeout,
            memory: Memory::new(limit * EVENTS_WEIGHT, BESIDE),
        }
    }

    /// Gives the request a share of the memory of all, of nothing yet; it is to be held until the request is answered.
    pub(crate) fn share<B: HttpBody>(&self, request: &mut Request<B>) -> Option<BodyShare> {
        if request.body().is_end_stream() {
            return None;
        }
        let share = BodyShare(Arc::new(self.memory.share(Arc::default())));
        request.extensions_mut().insert(share.clone());
        Some(share)
    }

    /// The body of a request that must be `application/json`.
    pub(crate) async fn read_json(
        &self,
        content: Content,
        request: Request,
    ) -> Result<Bytes, Problem> {
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
        self.read(content, request).await
    }

    /// The body, as far as the limits of size, time and memory allow.
    pub(crate) async fn read(&self, content: Content, request: Request) -> Result<Bytes, Problem> {
        let Some(BodyShare(share)) = request.extensions().get().cloned() else {
            return Ok(Bytes::new());
        };
        let asking = request.extensions().get::<Asking>().cloned();
        let arriving = self.collect(content, request.into_body(), &share, asking.as_ref());
        match tokio::time::timeout(self.timeout, arriving).await {
            Ok(body) => {
                share.wait_for_server();
                if let Some(asking) = asking {
                    asking.body_read();
                }
                body
            }
            Err(_) => Err(Problem::new(
                ProblemType::RequestTimeout,
                format!("the body did not arrive within {:?}", self.timeout),
            )),
        }
    }

    /// Takes memory as bytes arrive: what a client announces is no reason to keep anything for it.
    async fn collect(
        &self,
        content: Content,
        mut body: Body,
        share: &Share,
        asking: Option<&Asking>,
    ) -> Result<Bytes, Problem> {
        let (limit, weight) = match content {
            Content::Events => (self.limit, EVENTS_WEIGHT),
            Content::Record => (self.limit.min(RECORD_BYTES), RECORD_WEIGHT),
        };
        let announced = usize::try_from(body.size_hint().exact().unwrap_or_default());
        let announced = announced.unwrap_or_default().min(limit);
        let mut collected = Vec::new();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = share.revoked() => return Err(too_slow()),
            };
            let frame = match frame {
                None => return Ok(collected.into()),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    return Err(Problem::new(
                        ProblemType::ValidationError,
                        format!("the body ended early: {error}"),
                    ));
                }
            };
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if collected.len() + data.len() > limit {
                let detail = format!("the body is larger than {limit} bytes; send smaller ones");
                return Err(Problem::new(ProblemType::PayloadTooLarge, detail));
            }
            let taken = share.take(data.len() * weight).await;
            taken.map_err(|Revoked| too_slow())?;
            if let Some(asking) = asking {
                asking.body_moved(data.len());
            }
            if collected.len() < WORTH_RESERVING
                && (WORTH_RESERVING..announced).contains(&(collected.len() + data.len()))
            {
                collected.reserve_exact(announced - collected.len());
            }
            collected.extend_from_slice(&data);
        }
    }
}

fn too_slow() -> Problem {
    Problem::unavailable(
        "the body arrived too slowly while others waited for the memory it took; send it again",
    )
}

/// What the answers to reads may take, until the clients have them.
#[derive(Debug)]
pub(crate) struct Answers(Arc<Memory>);

/// Ends the connection that a request came by; in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Cut(pub(crate) Arc<Notify>);

impl Answers {
    /// For `count` pages at once, one of which may hold a single event of up to `largest` bytes.
    pub(crate) fn new(largest: usize, count: usize) -> Self {
        let page = limits::PAGE_BYTES;
        // As it comes from PostgreSQL, and as it is sent on.
        let largest = 2 * (largest + page);
        Self(Memory::new(largest, page * count.saturating_sub(1)))
    }

    /// Memory for an answer, before anything is read for it. A client that takes its answer too slowly while others wait for
    /// memory loses its connection.
    pub(crate) async fn share(&self, cut: Cut) -> Result<Share, Problem> {
        let share = self.0.share(cut.0);
        let taken = share.take(limits::PAGE_BYTES).await;
        taken.map_err(too_many)?;
        share.wait_for_server();
        Ok(share)
    }

    /// Memory for a page, begun as an object whose first member is the list `name`.
    pub(crate) async fn list(&self, name: &str, cut: Cut) -> Result<List, Problem> {
        let share = self.share(cut).await?;
        // At once, so that it is not copied as it grows; the system gives what is written to, and no more.
        let mut text = Vec::with_capacity(limits::PAGE_BYTES + REST);
        text.extend_from_slice(format!("{{\"{name}\":[").as_bytes());
        Ok(List { text, share })
    }
}

/// A list that is being written: an object whose first member is an array.
pub(crate) struct List {
    pub(crate) text: Vec<u8>,
    share: Share,
}

impl List {
    /// Memory for so many bytes more.
    pub(crate) async fn grow(&self, bytes: usize) -> Result<(), Problem> {
        self.share.take(bytes).await.map_err(too_many)
    }

    /// Ends the array and adds the members of `rest`, which is an object.
    pub(crate) fn end(mut self, rest: &Value) -> JsonText {
        let rest = rest.to_string();
        self.text.extend_from_slice(b"],");
        self.text.extend_from_slice(&rest.as_bytes()[1..]);
        JsonText {
            text: self.text,
            share: self.share,
        }
    }
}

fn too_many(_: Revoked) -> Problem {
    Problem::unavailable("too many large answers are under way; ask again")
}

/// A JSON text whose memory is given back when the client has it.
pub(crate) struct JsonText {
    text: Vec<u8>,
    share: Share,
}

impl JsonText {
    pub(crate) fn new(value: &impl Serialize, share: Share) -> Result<Self, Problem> {
        match serde_json::to_vec(value) {
            Ok(text) => Ok(Self { text, share }),
            Err(error) => Err(not_json(&error)),
        }
    }
}

impl IntoResponse for JsonText {
    fn into_response(self) -> Response {
        self.share.shrink(self.text.len());
        self.share.wait_for_client();
        let body = Outgoing {
            left: self.text.into(),
            share: self.share,
        };
        (
            [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
            Body::new(body),
        )
            .into_response()
    }
}

/// What is left to be sent.
struct Outgoing {
    left: Bytes,
    share: Share,
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let length = self.left.len().min(CHUNK);
        if length == 0 {
            return Poll::Ready(None);
        }
        self.share.moved(length);
        let chunk = self.left.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
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
            Err(error) => not_json(&error).into_response(),
        }
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    let what = format!("the answer is not JSON: {error}");
    Problem::new(ProblemType::InternalError, what)
}
