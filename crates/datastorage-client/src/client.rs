//! The transport: one connection pool, one deadline, and the mapping of answers to results.
//!
//! An answer counts only with the status that the contract documents for it: a proxy, a captive portal or another server in
//! between answers 2xx, too. Redirects are not followed, since a POST would become a GET.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use datastorage_api::{ProblemDetails, paths};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    body::Incoming,
    header::{self, HeaderValue},
};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use url::{Position, Url};
use uuid::Uuid;

use crate::{
    Access, Error, Problem,
    connector::{Connector, root_cause},
    receipt::Receipt,
    tls::Tls,
    token::Token,
    types::{AcceptedResponse, AuditEventBatchResponse},
};

/// How long a call may take unless [`Client::with_deadline`] says otherwise; that of the services' client so far.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// How long a connection is kept for the next call.
const IDLE: Duration = Duration::from_secs(90);
/// What the client calls itself.
const USER_AGENT: &str = concat!("datastorage-client/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer that are read at most; more than any page of the contract's sizes should need.
const MAX_ANSWER: usize = 64 << 20;
/// Bytes of a foreign body that an error shows.
const EXCERPT: usize = 200;

/// A client of one Data Storage; cheap to clone, clones share the connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    connector: Connector,
    base: String,
    deadline: Duration,
    token: Option<Arc<Token>>,
    /// User and password of the URL, for whatever stands before the server. A token goes before them.
    basic: Option<HeaderValue>,
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
    /// [`Error::BaseUrl`] for anything but an http or https URL; [`Error::Access`] for https on a system without trusted authorities.
    pub fn new(base_url: &str) -> Result<Self, Error> {
        Self::with_access(base_url, &Access::default())
    }

    /// Creates a client that proves who it is, and trusts, as `access` says. Its files are read again when they change.
    ///
    /// A token goes over plain http too where the URL says so, as inside a cluster: whoever sees the traffic sees the token.
    ///
    /// # Errors
    /// Those of [`Client::new`], and [`Error::Access`] for files that are of no use.
    pub fn with_access(base_url: &str, access: &Access) -> Result<Self, Error> {
        let refused = |reason: String| Error::BaseUrl {
            url: masked(base_url),
            reason,
        };
        let mut url = Url::parse(base_url).map_err(|error| refused(error.to_string()))?;
        let tls = match url.scheme() {
            "http" if access.needs_tls() => {
                return Err(Error::Access(
                    "authorities or a client certificate are given, and the URL is plain http; give an https URL".to_owned(),
                ));
            }
            "http" => None,
            "https" => Some(Arc::new(Tls::new(access)?)),
            _ => return Err(refused("only http and https are spoken here".to_owned())),
        };
        let token = access.token_file.clone().map(Token::read).transpose()?;
        let basic = basic(&url);
        // Neither belongs into what is logged.
        url.set_username("").unwrap_or_default();
        url.set_password(None).unwrap_or_default();
        // A proxy of the environment cannot reach this machine's own addresses, whatever it is told of exceptions.
        let connector = Connector::new(tls, !is_loopback(&url));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector.clone());
        Ok(Self {
            http,
            connector,
            base: url.as_str().trim_end_matches('/').to_owned(),
            deadline: DEFAULT_DEADLINE,
            token: token.map(Arc::new),
            basic,
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
        Ok(answer.raw())
    }

    /// Sends any JSON to any path and returns the answer as it came, whatever it is.
    pub async fn post_raw(&self, path: &str, body: &impl Serialize) -> Result<RawAnswer, Error> {
        let answer = self.call(Method::POST, path).json(body)?.receive().await?;
        Ok(answer.raw())
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
        let name = format!("{method} {url}");
        Call {
            client: self.clone(),
            method,
            url,
            body: None,
            name,
        }
    }

    /// What the next request proves who calls by.
    async fn authorization(&self) -> Option<HeaderValue> {
        match &self.token {
            Some(token) => Some(token.current().await),
            None => self.basic.clone(),
        }
    }
}

/// A request in the making.
pub(crate) struct Call {
    client: Client,
    method: Method,
    url: String,
    body: Option<Bytes>,
    name: String,
}

impl Call {
    pub(crate) fn query(mut self, query: &impl Serialize) -> Result<Self, Error> {
        match serde_urlencoded::to_string(query) {
            Ok(query) if query.is_empty() => Ok(self),
            Ok(query) => {
                self.url = format!("{}?{query}", self.url);
                Ok(self)
            }
            Err(error) => Err(self.unserialised(&error.to_string())),
        }
    }

    pub(crate) fn json(self, body: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        match serde_json::to_vec(body) {
            Ok(body) => Ok(self.body(body.into())),
            Err(error) => Err(self.unserialised(&error.to_string())),
        }
    }

    fn unserialised(&self, reason: &str) -> Error {
        Error::Encode {
            call: self.name.clone(),
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn maybe_json(self, body: Option<&impl Serialize>) -> Result<Self, Error> {
        match body {
            Some(body) => self.json(body),
            None => Ok(self),
        }
    }

    fn body(mut self, body: Bytes) -> Self {
        self.body = Some(body);
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
        let deadline = self.client.deadline;
        let received = timeout(deadline, async {
            let proof = self.client.authorization().await;
            let answer = self.exchange(proof.clone()).await?;
            let token = self.client.token.as_ref();
            if let (StatusCode::UNAUTHORIZED, Some(token), Some(sent)) =
                (answer.status, token, proof)
            {
                // The file may hold the next one already. Nothing was done: a 401 comes before the body is read.
                let next = token.read_again().await;
                if next != sent {
                    return self.exchange(Some(next)).await;
                }
            }
            Ok(answer)
        });
        match received.await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Timeout {
                call: self.name,
                deadline,
            }),
        }
    }

    async fn exchange(&self, proof: Option<HeaderValue>) -> Result<Answer, Error> {
        let request = self.request(proof)?;
        let broken = |cause: &(dyn std::error::Error + 'static)| Error::Transport {
            call: self.name.clone(),
            cause: root_cause(cause),
        };
        let response = self.client.http.request(request).await;
        let response = response.map_err(|error| broken(&error))?;
        let (parts, body) = response.into_parts();
        let (body, whole) = read(body).await.map_err(|error| broken(&error))?;
        let text = |name| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
        let seconds = text(header::RETRY_AFTER).and_then(|text| text.parse().ok());
        let answer = Answer {
            call: self.name.clone(),
            status: parts.status,
            content_type: text(header::CONTENT_TYPE),
            retry_after: seconds.map(Duration::from_secs),
            body,
        };
        if whole {
            Ok(answer)
        } else {
            Err(answer.foreign(&format!("more than {MAX_ANSWER} bytes")))
        }
    }

    fn request(&self, proof: Option<HeaderValue>) -> Result<Request<Full<Bytes>>, Error> {
        let unusable = |reason: String| self.unserialised(&reason);
        let url = Url::parse(&self.url).map_err(|error| unusable(error.to_string()))?;
        let uri: Uri = url[..Position::AfterQuery]
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| unusable(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        if self.body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        if let Some(proof) = proof {
            headers.insert(header::AUTHORIZATION, proof);
        }
        if let Some(proof) = self.client.connector.to_proxy(&uri) {
            headers.insert(header::PROXY_AUTHORIZATION, proof);
        }
        let mut request = Request::new(Full::new(self.body.clone().unwrap_or_default()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Reads a body up to its bound; whether that was all of it.
async fn read(mut incoming: Incoming) -> Result<(Bytes, bool), hyper::Error> {
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(chunk) = frame?.into_data() else {
            continue;
        };
        if body.len() + chunk.len() > MAX_ANSWER {
            return Ok((body.freeze(), false));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body.freeze(), true))
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
    fn raw(self) -> RawAnswer {
        RawAnswer {
            status: self.status.as_u16(),
            content_type: self.content_type,
            retry_after: self.retry_after,
            body: self.body,
        }
    }

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

/// The header of the user and password in a URL (RFC 7617).
fn basic(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut text: Vec<u8> = percent_decode_str(url.username()).collect();
    text.push(b':');
    text.extend(percent_decode_str(url.password().unwrap_or_default()));
    let value = format!("Basic {}", BASE64_STANDARD.encode(text));
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
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
