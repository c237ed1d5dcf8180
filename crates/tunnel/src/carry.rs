//! Carries a session on one transport until that is lost.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::frame::Violation;
use crate::hub::{Hub, Stream};

/// About what is read and written at once.
const PIECE: usize = 64 << 10;

/// Why a transport is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("nothing came for {0:?}")]
    Silent(std::time::Duration),
    #[error("the other side does not keep to the protocol: {0}")]
    Violation(#[from] Violation),
}

/// Carries the session of `hub`, which is attached, until the transport is lost; what the other side opens goes to `opened`.
pub(crate) async fn carry<T>(
    hub: &Arc<Hub>,
    transport: T,
    mut opened: impl FnMut(Stream, String),
) -> Lost
where
    T: AsyncRead + AsyncWrite,
{
    let (mut from, mut to) = tokio::io::split(transport);
    let limits = *hub.limits();
    let reading = async {
        let mut bytes = BytesMut::new();
        loop {
            bytes.reserve(PIECE);
            match timeout(limits.silence, from.read_buf(&mut bytes)).await {
                Err(_) => return Lost::Silent(limits.silence),
                Ok(Ok(0)) => return Lost::Closed,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Lost::Broken(error),
            }
            match hub.receive(&mut bytes) {
                Ok(streams) => {
                    for (stream, target) in streams {
                        opened(stream, target);
                    }
                }
                Err(violation) => return Lost::Violation(violation),
            }
        }
    };
    let writing = async {
        loop {
            let bytes = timeout(limits.heartbeat, hub.outgoing(PIECE)).await;
            let bytes = bytes.unwrap_or_else(|_| hub.heartbeat());
            let written = async {
                to.write_all(&bytes).await?;
                to.flush().await
            };
            if let Err(error) = written.await {
                return Lost::Broken(error);
            }
        }
    };
    tokio::select! {
        lost = reading => lost,
        lost = writing => lost,
    }
}
