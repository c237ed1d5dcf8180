//! The client's side of TLS, for the driver and for a stream that is open already.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::binding;
use crate::mode::{InvalidTls, Tls};
use crate::verifier::Lenient;

/// Encrypts streams and proves of the server what a [`Tls`] says.
#[derive(Clone)]
pub struct Connector(Arc<ClientConfig>);

impl Connector {
    /// The connector of `tls`. The provider of the algorithms is named here, so that it does not depend on which features other
    /// crates turn on.
    ///
    /// # Errors
    /// [`InvalidTls::SetUp`], a defect rather than a setting.
    pub fn new(tls: &Tls) -> Result<Self, InvalidTls> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| InvalidTls::SetUp(error.to_string()))?;
        let chain = match tls {
            Tls::VerifyFull(roots) => {
                let config = builder.with_root_certificates(Arc::clone(&roots.0));
                return Ok(Self(Arc::new(config.with_no_client_auth())));
            }
            Tls::VerifyCa(roots) => {
                let roots = Arc::clone(&roots.0);
                let chain =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
                Some(
                    chain
                        .build()
                        .map_err(|error| InvalidTls::SetUp(error.to_string()))?,
                )
            }
            Tls::Disable | Tls::Prefer | Tls::Require => None,
        };
        let config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Lenient { chain, provider }));
        Ok(Self(Arc::new(config.with_no_client_auth())))
    }

    /// Encrypts `stream`, on which the server `host` has agreed to speak TLS.
    ///
    /// # Errors
    /// Those of the stream; [`io::ErrorKind::InvalidData`] where the server does not prove what it must, and
    /// [`io::ErrorKind::InvalidInput`] for a host that is neither a name nor an address.
    pub async fn encrypt<S>(&self, stream: S, host: &str) -> io::Result<Encrypted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(Arc::clone(&self.0));
        connector.connect(name, stream).await.map(Encrypted)
    }
}

/// An encrypted stream.
pub struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S> Encrypted<S> {
    /// What a login may be bound to (RFC 5929, `tls-server-end-point`), where the server's certificate has it.
    pub fn end_point(&self) -> Option<Vec<u8>> {
        let (_, session) = self.0.get_ref();
        session
            .peer_certificates()?
            .first()
            .and_then(|certificate| binding::end_point(certificate))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point()
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = ToHost;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<ToHost, Infallible> {
        Ok(ToHost {
            connector: self.clone(),
            host: host.to_owned(),
        })
    }
}

/// A [`Connector`] for one host, as the driver asks for it.
pub struct ToHost {
    connector: Connector,
    host: String,
}

impl<S> TlsConnect<S> for ToHost
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.connector.encrypt(stream, &self.host).await })
    }
}
