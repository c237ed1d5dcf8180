//! Connects: plain or over TLS, straight or through a proxy of the environment.

use std::{
    error::Error as StdError,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Uri,
    header::HeaderValue,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::{
        legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::tls::Tls;

/// How long connecting may take: an absent host is distinguished from a slow one.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

type Failure = Box<dyn StdError + Send + Sync>;

/// Makes connections to one server.
#[derive(Clone)]
pub(crate) struct Connector {
    http: HttpConnector,
    tls: Option<Arc<Tls>>,
    proxies: Option<Arc<Matcher>>,
}

impl Connector {
    /// Over TLS where there is some; through the environment's proxies where these are asked for.
    pub(crate) fn new(tls: Option<Arc<Tls>>, proxies: bool) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_DEADLINE));
        http.enforce_http(false);
        Self {
            http,
            tls,
            proxies: proxies.then(|| Arc::new(Matcher::from_env())),
        }
    }

    /// What a plain request tells the proxy that it goes through.
    pub(crate) fn to_proxy(&self, uri: &Uri) -> Option<HeaderValue> {
        if self.tls.is_some() {
            return None;
        }
        self.proxy(uri)?.basic_auth().cloned()
    }

    fn proxy(&self, uri: &Uri) -> Option<Intercept> {
        self.proxies.as_ref()?.intercept(uri)
    }

    async fn connect(mut self, uri: Uri) -> Result<Stream, Failure> {
        let proxy = self.proxy(&uri);
        let Some(tls) = self.tls else {
            let to = proxy.as_ref().map_or(&uri, Intercept::uri).clone();
            return Ok(Stream {
                io: Box::new(self.http.call(to).await?),
                proxied: proxy.is_some(),
            });
        };
        let stream = match proxy {
            None => self.http.call(uri.clone()).await?,
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), self.http);
                if let Some(proof) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(proof.clone());
                }
                tunnel.call(uri.clone()).await?
            }
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())?;
        let config = tokio::task::spawn_blocking(move || tls.current()).await?;
        let stream = TlsConnector::from(config)
            .connect(name, stream.into_inner())
            .await?;
        Ok(Stream {
            io: Box::new(TokioIo::new(stream)),
            proxied: false,
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy may have a password.
        f.debug_struct("Connector")
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let connected = timeout(CONNECT_DEADLINE, connector.connect(uri)).await;
            connected.unwrap_or_else(|_| {
                let what = "connecting took too long";
                Err(io::Error::new(io::ErrorKind::TimedOut, what).into())
            })
        })
    }
}

/// A connection, whatever it goes over.
pub(crate) struct Stream {
    io: Box<dyn Io>,
    /// Requests name the whole URL to a proxy.
    proxied: bool,
}

trait Io: Read + Write + Send + Unpin {}
impl<T: Read + Write + Send + Unpin> Io for T {}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.proxied)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }
}

/// The libraries' own texts leave the cause to their chain.
pub(crate) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
