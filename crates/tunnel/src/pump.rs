//! Moves bytes between a TCP connection of this machine and a connection of a session, both ways, until both ways are over.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::hub::Stream;
use crate::session::Read;

/// How long a reader has to take a piece of what came before a reset.
const LAST_PIECE: Duration = Duration::from_secs(2);

/// How a direction ended that did not end in order.
enum Broken {
    /// The TCP connection broke.
    Here(String),
    /// The other side has reset it.
    There,
}

/// Runs until the connection is over on both sides. What breaks one of the two breaks the other: a reset is a reset.
pub(crate) async fn pump(stream: Stream, mut socket: TcpStream) {
    // An option that only makes it slower where it is missing.
    socket.set_nodelay(true).ok();
    let ended = {
        let (mut from, mut to) = socket.split();
        let up = async {
            let mut bytes = BytesMut::new();
            loop {
                let Some(capacity) = stream.capacity().await else {
                    // Reset: what has come before is still to be delivered.
                    return Ok(());
                };
                bytes.clear();
                bytes.reserve(capacity);
                let read = (&mut from).take(capacity as u64).read_buf(&mut bytes).await;
                match read {
                    Ok(0) => {
                        stream.finish();
                        return Ok(());
                    }
                    Ok(_) => {}
                    Err(error) => return Err(Broken::Here(error.to_string())),
                }
                if stream.write_all(&bytes).await.is_none() {
                    return Ok(());
                }
            }
        };
        let down = async {
            loop {
                match stream.read().await {
                    Read::Data(bytes) => {
                        let written = tokio::select! {
                            written = to.write_all(&bytes) => written,
                            () = was_reset_a_while_ago(&stream) => return Err(Broken::There),
                        };
                        written.map_err(|error| Broken::Here(error.to_string()))?;
                    }
                    Read::Finished => {
                        // It is closed already where this fails.
                        to.shutdown().await.ok();
                        return Ok(());
                    }
                    Read::Reset(_) => return Err(Broken::There),
                    Read::Nothing => {}
                }
            }
        };
        tokio::pin!(up, down);
        tokio::select! {
            up = &mut up => match up {
                Ok(()) => down.await,
                broken => broken,
            },
            down = &mut down => match down {
                // Nobody reads it any more, and a reset still ends the other direction.
                Ok(()) => tokio::select! {
                    up = up => up,
                    () = stream.was_reset() => Err(Broken::There),
                },
                broken => broken,
            },
        }
    };
    match ended {
        Ok(()) => {}
        Err(Broken::Here(why)) => stream.reset(why),
        Err(Broken::There) => {
            // Dropped, it sends RST.
            socket.set_zero_linger().ok();
        }
    }
}

async fn was_reset_a_while_ago(stream: &Stream) {
    stream.was_reset().await;
    tokio::time::sleep(LAST_PIECE).await;
}
