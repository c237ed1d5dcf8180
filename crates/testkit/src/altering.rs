//! An HTTP proxy that gives a client other JSON than the server answered: the negative control of a test that reads.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Longest body that it forwards, in bytes.
const LONGEST: usize = 64 << 20;

/// What is done to the JSON of an answer; gets the path that was asked for.
type Alter = dyn Fn(&str, &mut Value) + Send + Sync;

/// A running proxy; dropping it ends it.
#[derive(Debug)]
pub struct AlteringProxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    alter: Box<Alter>,
    http: reqwest::Client,
}

impl AlteringProxy {
    /// Starts a proxy to the base URL `upstream` on a free port; it lives on the current runtime.
    ///
    /// The JSON of each successful answer goes through `alter`, with the path it is the answer to; everything else passes as it is.
    pub async fn start(
        upstream: &str,
        alter: impl Fn(&str, &mut Value) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("127.0.0.1 has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            alter: Box::new(alter),
            http: reqwest::Client::new(),
        };
        let router = Router::new().fallback(forward).with_state(Arc::new(shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the proxy serves");
        });
        Self { address, task }
    }

    /// Returns its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for AlteringProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let answered = forwarded(&shared, request).await;
    answered.unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error).into_response())
}

async fn forwarded(shared: &Shared, request: Request) -> Result<Response, String> {
    let (parts, body) = request.into_parts();
    let asked = parts
        .uri
        .path_and_query()
        .map_or("/", |asked| asked.as_str());
    let body = to_bytes(body, LONGEST)
        .await
        .map_err(|error| error.to_string())?;
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    let answer = shared
        .http
        .request(parts.method, format!("{}{asked}", shared.upstream))
        .headers(headers)
        .body(body)
        .send()
        .await
        .map_err(|error| error.to_string())?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.map_err(|error| error.to_string())?;
    let body = match serde_json::from_slice::<Value>(&body) {
        Ok(mut json) if status.is_success() => {
            (shared.alter)(parts.uri.path(), &mut json);
            json.to_string().into()
        }
        _ => body,
    };
    // Of the altered body they would be wrong.
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}
