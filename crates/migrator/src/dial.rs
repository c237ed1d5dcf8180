//! Streams to one host of a target, and the TLS on them.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::Host;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::target::{ByteStream, Encrypted, Encryptor, Lookup, Place, Target};

/// A stream to a server, in plain text or inside TLS.
pub(crate) struct Stream {
    bytes: Box<dyn ByteStream>,
    /// What a login is bound to, inside TLS.
    end_point: Option<Vec<u8>>,
}

impl Stream {
    pub(crate) fn plain(bytes: impl ByteStream + 'static) -> Self {
        Self {
            bytes: Box::new(bytes),
            end_point: None,
        }
    }
}

/// Opens a stream to `place`, or asks the caller's dialer for one.
pub(crate) async fn open(target: &Target, place: Option<&Place>) -> io::Result<Stream> {
    if let Some(dialer) = &target.dialer {
        return dialer().await.map(Stream::plain);
    }
    let settings = target.settings().map_err(io::Error::other)?;
    let Some(Place {
        host,
        address,
        port,
    }) = place
    else {
        return Err(io::Error::other("the URL names no host"));
    };
    let stream = match (host, address) {
        #[cfg(unix)]
        (Host::Unix(directory), _) => return unix(directory, *port).await,
        (_, Some(address)) => TcpStream::connect((*address, *port)).await?,
        (Host::Tcp(name), None) => match &target.lookup {
            Some(lookup) => TcpStream::connect(&*looked_up(lookup, name, *port).await?).await?,
            None => TcpStream::connect((name.as_str(), *port)).await?,
        },
    };
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    if settings.get_keepalives() {
        let mut keepalive = TcpKeepalive::new().with_time(settings.get_keepalives_idle());
        if let Some(interval) = settings.get_keepalives_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(retries) = settings.get_keepalives_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = settings.get_tcp_user_timeout() {
        socket.set_tcp_user_timeout(Some(*timeout))?;
    }
    Ok(Stream::plain(stream))
}

async fn looked_up(lookup: &Lookup, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (lookup, name) = (Arc::clone(lookup), name.to_owned());
    let found = tokio::task::spawn_blocking(move || lookup(&name)).await;
    let addresses = found.map_err(io::Error::other)??.into_iter();
    Ok(addresses
        .map(|address| SocketAddr::new(address, port))
        .collect())
}

#[cfg(unix)]
async fn unix(directory: &Path, port: u16) -> io::Result<Stream> {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    tokio::net::UnixStream::connect(path)
        .await
        .map(Stream::plain)
}

/// TLS to one host, as the driver asks for it.
#[derive(Clone)]
pub(crate) struct Connector {
    encryptor: Encryptor,
    host: String,
}

impl Connector {
    /// The target's own TLS; never asked for where the mode is `disable`.
    pub(crate) fn to(target: &Target, place: Option<&Place>) -> Self {
        let host = match place.map(|place| &place.host) {
            Some(Host::Tcp(name)) => name.clone(),
            _ => String::new(),
        };
        match &target.encryptor {
            Some(encryptor) => Self {
                encryptor: Arc::clone(encryptor),
                host,
            },
            None => Self::plain(),
        }
    }

    /// No TLS at all: the stream as it is.
    pub(crate) fn plain() -> Self {
        Self {
            encryptor: Arc::new(|stream, _| {
                Box::pin(async move {
                    Ok(Encrypted {
                        stream,
                        end_point: None,
                    })
                })
            }),
            host: String::new(),
        }
    }
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct HandshakeError(pub(crate) io::Error);

impl TlsConnect<Stream> for Connector {
    type Stream = Stream;
    type Error = HandshakeError;
    type Future = BoxFuture<'static, Result<Stream, HandshakeError>>;

    fn connect(self, stream: Stream) -> Self::Future {
        let encrypted = (self.encryptor)(stream.bytes, self.host);
        Box::pin(async move {
            let Encrypted { stream, end_point } = encrypted.await.map_err(HandshakeError)?;
            Ok(Stream {
                bytes: stream,
                end_point,
            })
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(context)
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point
            .clone()
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}
