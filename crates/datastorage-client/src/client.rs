//! The transport: one connection pool, one deadline, and the mapping of answers to results.

use std::time::Duration;

use bytes::Bytes;
use datastorage_api::{ProblemDetails, paths};
use reqwest::{Method, RequestBuilder, StatusCode, Url, header};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Problem, types::AcceptedResponse};

/// How long a call may take unless [`Client::with_deadline`] says otherwise; that of the services' client so far.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// How long connecting may take: an absent host is told from a slow one.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
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
    /// Makes a client of the Data Storage at `base_url`, such as `http://localhost:8080`; nothing is sent yet.
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
        let http = reqwest::Client::builder()
            .user_agent(concat!("datastorage-client/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_DEADLINE)
            .pool_idle_timeout(Duration::from_secs(90))
            .tcp_nodelay(true)
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

    /// Sends a batch that is already a JSON array of events; the ids in the answer are not read.
    pub async fn create_audit_events_batch_json(&self, body: Bytes) -> Result<Written<()>, Error> {
        self.call(Method::POST, paths::AUDIT_EVENTS_BATCH)
            .body(body)
            .receive()
            .await?
            .written_as(|_| Ok(()))
    }

    /// Sends any JSON to any path, for requests that the typed methods rule out, and returns the answer's JSON.
    pub async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<serde_json::Value, Error> {
        self.call(method, path).json(body)?.answer().await
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

    /// Receives a success's JSON.
    pub(crate) async fn answer<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.receive().await?.success()?.json()
    }

    /// Receives a success's text.
    pub(crate) async fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.receive().await?.success()?.body).into_owned())
    }

    /// Receives the 201 or 202 of a write.
    pub(crate) async fn written<T: DeserializeOwned>(self) -> Result<Written<T>, Error> {
        self.receive().await?.written_as(Answer::json)
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
            Ok((status, headers, response.bytes().await?))
        };
        match received.await {
            Ok((status, headers, body)) => {
                let seconds = headers
                    .get(header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                Ok(Answer {
                    call,
                    status,
                    retry_after: seconds.map(Duration::from_secs),
                    body,
                })
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

/// An attempt to connect that times out is a host that is not there, which is not the same as a slow answer.
fn is_timeout(error: &reqwest::Error) -> bool {
    error.is_timeout() && !error.is_connect()
}

/// An answer, whole.
struct Answer {
    call: String,
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Bytes,
}

impl Answer {
    fn success(self) -> Result<Self, Error> {
        if self.status.is_success() {
            Ok(self)
        } else {
            Err(self.failure())
        }
    }

    fn written_as<T>(
        self,
        read: impl FnOnce(Self) -> Result<T, Error>,
    ) -> Result<Written<T>, Error> {
        match self.status {
            StatusCode::ACCEPTED => Ok(Written::Queued(self.json()?)),
            _ => Ok(Written::Committed(read(self.success()?)?)),
        }
    }

    fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
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
        let text = String::from_utf8_lossy(&self.body);
        Error::Decode {
            call: self.call.clone(),
            status: self.status.as_u16(),
            reason: reason.to_owned(),
            excerpt: text.chars().take(EXCERPT).collect(),
        }
    }
}

/// Escapes `value` as one segment of a path (RFC 3986, section 3.3).
pub(crate) fn segment(value: &impl ToString) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    value.to_string().bytes().map(escape).collect()
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
