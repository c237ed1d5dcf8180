//! The transport: one connection pool, one deadline, and the mapping of answers to results.
//!
//! An answer counts only with the status that the contract documents for it: a proxy, a captive portal or another server in
//! between answers 2xx, too. Redirects are not followed, since a POST would become a GET.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use datastorage_api::{ProblemDetails, paths};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header, redirect};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    Error, Problem,
    receipt::Receipt,
    types::{AcceptedResponse, AuditEventBatchResponse},
};

/// How long a call may take unless [`Client::with_deadline`] says otherwise; that of the services' client so far.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// How long connecting may take: an absent host is distinguished from a slow one.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read at most; more than any page of the contract's sizes should need.
const MAX_ANSWER: usize = 64 << 20;
/// Bytes of a foreign body that an error shows.
const EXCERPT: usize = 200;

/// A client of one Data Storage; cheap to clone, clones share the connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    deadline: Duration,
}

/// How a write was taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Written<T> {
    /// 201: committed durably.
    Committed(T),
    /// 202: the database is away; the data is in the server's synced queue (D28).
    Queued(AcceptedResponse),
}

/// The body of a check that answers 200 or 503.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked<T> {
    /// Whether the answer was 200.
    pub passed: bool,
    /// What it says.
    pub body: T,
}

/// An answer as it came, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct RawAnswer {
    /// HTTP status.
    pub status: u16,
    /// Its media type, if it has one.
    pub content_type: Option<String>,
    /// When the server says that another try makes sense.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

impl<T> Written<T> {
    /// The answer of a committed write.
    pub fn committed(self) -> Option<T> {
        match self {
            Self::Committed(answer) => Some(answer),
            Self::Queued(_) => None,
        }
    }
}

impl Client {
    /// Creates a client of the Data Storage at `base_url`, such as `http://localhost:8080`; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::BaseUrl`] for anything but an http URL.
    pub fn new(base_url: &str) -> Result<Self, Error> {
        let refused = |reason: String| Error::BaseUrl {
            url: masked(base_url),
            reason,
        };
        let url = Url::parse(base_url).map_err(|error| refused(error.to_string()))?;
        if url.scheme() != "http" {
            return Err(refused("only http is spoken here".to_owned()));
        }
        let mut builder = reqwest::Client::builder();
        // A proxy of the environment cannot reach this machine's own addresses, whatever it is told of exceptions.
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        let http = builder
            .user_agent(concat!("datastorage-client/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_DEADLINE)
            .pool_idle_timeout(Duration::from_secs(90))
            .tcp_nodelay(true)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self {
            http,
            base,
            deadline: DEFAULT_DEADLINE,
        })
    }

    /// Gives every call of this client `deadline`, from connecting to the last byte of the answer.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The base URL, without a slash at its end.
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// Sends a batch that is already a JSON array of events; `event_ids` are theirs, in the same order, none where an event
    /// has none; the answer must name the same.
    ///
    /// # Errors
    /// [`Error::Decode`] also for a 201 that names other events: whether these are stored is not known then.
    pub async fn create_audit_events_batch_json(
        &self,
        body: Bytes,
        event_ids: &[Option<Uuid>],
    ) -> Result<Written<AuditEventBatchResponse>, Error> {
        self.call(Method::POST, paths::AUDIT_EVENTS_BATCH)
            .body(body)
            .written(event_ids)
            .await
    }

    /// Asks for any path, with its query, and returns the answer as it came, whatever it is, for a program that passes it on.
    pub async fn get_raw(&self, path_and_query: &str) -> Result<RawAnswer, Error> {
        let answer = self.call(Method::GET, path_and_query).receive().await?;
        Ok(RawAnswer {
            status: answer.status.as_u16(),
            content_type: answer.content_type,
            retry_after: answer.retry_after,
            body: answer.body,
        })
    }

    /// Sends any JSON to any path, for requests that the typed methods rule out, and returns the JSON of a 2xx answer, whichever
    /// it is.
    pub async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<serde_json::Value, Error> {
        let answer = self.call(method, path).json(body)?.receive().await?;
        if answer.status.is_success() {
            answer.json()
        } else {
            Err(answer.failure())
        }
    }

    pub(crate) fn call(&self, method: Method, path: impl AsRef<str>) -> Call {
        let url = format!("{}{}", self.base, path.as_ref());
        let name = format!("{method} {}", masked(&url));
        let request = self.http.request(method, url).timeout(self.deadline);
        Call {
            request,
            name,
            deadline: self.deadline,
        }
    }
}

/// A request in the making.
pub(crate) struct Call {
    request: RequestBuilder,
    name: String,
    deadline: Duration,
}

impl Call {
    pub(crate) fn query(mut self, query: &impl Serialize) -> Self {
        self.request = self.request.query(query);
        self
    }

    pub(crate) fn json(self, body: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        match serde_json::to_vec(body) {
            Ok(body) => Ok(self.body(body.into())),
            Err(error) => Err(Error::Encode {
                call: self.name,
                reason: error.to_string(),
            }),
        }
    }

    pub(crate) fn maybe_json(self, body: Option<&impl Serialize>) -> Result<Self, Error> {
        match body {
            Some(body) => self.json(body),
            None => Ok(self),
        }
    }

    fn body(mut self, body: Bytes) -> Self {
        self.request = self
            .request
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        self
    }

    /// Receives the JSON of the documented success.
    pub(crate) async fn answer<T: DeserializeOwned>(self, success: u16) -> Result<T, Error> {
        self.receive().await?.success(success)?.json()
    }

    /// Receives the text of the documented success.
    pub(crate) async fn text(self, success: u16) -> Result<String, Error> {
        let answer = self.receive().await?.success(success)?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Receives the 201 of a write of `sent`, which must acknowledge just that, or the 202.
    pub(crate) async fn written<T, S: ?Sized>(self, sent: &S) -> Result<Written<T>, Error>
    where
        T: DeserializeOwned + Receipt<S>,
    {
        let answer = self.receive().await?;
        if answer.status == StatusCode::ACCEPTED {
            return Ok(Written::Queued(answer.json()?));
        }
        let answer = answer.success(StatusCode::CREATED.as_u16())?;
        let receipt: T = answer.json()?;
        match receipt.mismatch(sent) {
            None => Ok(Written::Committed(receipt)),
            Some(reason) => Err(answer.foreign(&reason)),
        }
    }

    /// Receives the 200 or 503 of a check.
    pub(crate) async fn checked<T: DeserializeOwned>(self) -> Result<Checked<T>, Error> {
        let answer = self.receive().await?;
        match answer.status {
            StatusCode::OK => Ok(Checked {
                passed: true,
                body: answer.json()?,
            }),
            StatusCode::SERVICE_UNAVAILABLE => Ok(Checked {
                passed: false,
                body: answer.json()?,
            }),
            _ => Err(answer.failure()),
        }
    }

    async fn receive(self) -> Result<Answer, Error> {
        let Self {
            request,
            name: call,
            deadline,
        } = self;
        let received = async {
            let response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let (body, whole) = read(response).await?;
            Ok((status, headers, body, whole))
        };
        match received.await {
            Ok((status, headers, body, whole)) => {
                let seconds = headers
                    .get(header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                let content_type = headers
                    .get(header::CONTENT_TYPE)
                    .and_then(|value| Some(value.to_str().ok()?.to_owned()));
                let answer = Answer {
                    call,
                    status,
                    content_type,
                    retry_after: seconds.map(Duration::from_secs),
                    body,
                };
                if whole {
                    Ok(answer)
                } else {
                    Err(answer.foreign(&format!("more than {MAX_ANSWER} bytes")))
                }
            }
            Err(error) if is_timeout(&error) => Err(Error::Timeout { call, deadline }),
            Err(error) if error.is_builder() => Err(Error::Encode {
                call,
                reason: error.to_string(),
            }),
            Err(cause) => Err(Error::Transport {
                call,
                cause: cause.without_url(),
            }),
        }
    }
}

/// Reads a body up to its bound; whether that was all of it.
async fn read(mut response: Response) -> Result<(Bytes, bool), reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Ok((body.freeze(), false));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body.freeze(), true))
}

/// An attempt to connect that times out is a host that is not there, which is not the same as a slow answer.
fn is_timeout(error: &reqwest::Error) -> bool {
    error.is_timeout() && !error.is_connect()
}

/// An answer, whole unless it is over [`MAX_ANSWER`].
struct Answer {
    call: String,
    status: StatusCode,
    content_type: Option<String>,
    retry_after: Option<Duration>,
    body: Bytes,
}

impl Answer {
    fn success(self, documented: u16) -> Result<Self, Error> {
        if self.status.as_u16() == documented {
            Ok(self)
        } else {
            Err(self.failure())
        }
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.foreign(&error.to_string()))
    }

    fn failure(self) -> Error {
        match serde_json::from_slice::<ProblemDetails>(&self.body) {
            Ok(details) => Error::Problem(Box::new(Problem {
                call: self.call,
                status: self.status.as_u16(),
                retry_after: self.retry_after,
                details,
            })),
            Err(_) => self.foreign("not a problem document"),
        }
    }

    fn foreign(&self, reason: &str) -> Error {
        // Four bytes at most to a character.
        let start = &self.body[..self.body.len().min(EXCERPT * 4)];
        let text = String::from_utf8_lossy(start);
        Error::Decode {
            call: self.call.clone(),
            status: self.status.as_u16(),
            reason: reason.to_owned(),
            excerpt: text.chars().take(EXCERPT).collect(),
        }
    }
}

/// Everything but what RFC 3986, section 2.3, calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Escapes `value` as one segment of a path (RFC 3986, section 3.3).
pub(crate) fn segment(value: &impl ToString) -> String {
    utf8_percent_encode(&value.to_string(), RESERVED).to_string()
}

/// A URL without its user and password.
fn masked(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            let bare = parsed
                .set_username("")
                .and_then(|()| parsed.set_password(None));
            bare.map_or_else(
                |()| "a URL with a password".to_owned(),
                |()| parsed.to_string(),
            )
        }
        _ => url.to_owned(),
    }
}
/// Whether a URL leads to this machine (RFC 6761, section 6.3; RFC 1122, section 3.2.1.3).
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
