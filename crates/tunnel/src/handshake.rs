//! What both sides say first on a new transport: which session it is for, and what they have received of it.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What a first message begins with: the protocol and its version.
const MAGIC: &[u8; 8] = b"TUNNEL1\n";
/// What an answer begins with: something that only sends back what it gets is no relay.
const ANSWER: &[u8; 8] = b"RELAYED\n";
const HELLO: usize = 8 + 1 + 16 + 8 + 4;
const WELCOME: usize = 8 + 1 + 8;

/// The name of a session: random, so that nobody else resumes it.
pub(crate) type Id = [u8; 16];

/// What the local end wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A session that begins now. One of this name that is there is gone on with: its welcome was lost.
    Begin,
    /// A session that the relay has welcomed before.
    Resume,
    /// To know whether the relay answers.
    Probe,
}

/// The first message of the local end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) wish: Wish,
    pub(crate) id: Id,
    pub(crate) received: u64,
    /// How long the session is kept without a transport.
    pub(crate) away: Duration,
}

/// What a relay answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    /// The session goes on; so many frames of it were received.
    Accepted(u64),
    /// The relay has no such session: it was started again, or the session was away for too long.
    Unknown,
    /// It has as many sessions as it may.
    Full,
}

fn no_relay() -> io::Error {
    let what = "what answers is no tunnel relay of this version";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Hello {
    /// Sends it and reads the answer.
    pub(crate) async fn exchange<T>(&self, transport: &mut T) -> io::Result<Welcome>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut bytes = Vec::with_capacity(HELLO);
        bytes.put_slice(MAGIC);
        bytes.put_u8(match self.wish {
            Wish::Begin => 0,
            Wish::Resume => 1,
            Wish::Probe => 2,
        });
        bytes.put_slice(&self.id);
        bytes.put_u64(self.received);
        bytes.put_u32(u32::try_from(self.away.as_millis()).unwrap_or(u32::MAX));
        transport.write_all(&bytes).await?;
        transport.flush().await?;
        let mut answer = [0; WELCOME];
        transport.read_exact(&mut answer).await?;
        let mut answer = answer.strip_prefix(ANSWER).ok_or_else(no_relay)?;
        match (answer.get_u8(), answer.get_u64()) {
            (0, received) => Ok(Welcome::Accepted(received)),
            (1, _) => Ok(Welcome::Unknown),
            (2, _) => Ok(Welcome::Full),
            _ => Err(no_relay()),
        }
    }

    /// Reads what a local end sends.
    pub(crate) async fn read(transport: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let refused = || io::Error::new(io::ErrorKind::InvalidData, "no local end of this version");
        let mut bytes = [0; HELLO];
        transport.read_exact(&mut bytes).await?;
        let mut bytes = bytes.strip_prefix(MAGIC).ok_or_else(refused)?;
        let wish = match bytes.get_u8() {
            0 => Wish::Begin,
            1 => Wish::Resume,
            2 => Wish::Probe,
            _ => return Err(refused()),
        };
        let mut id = [0; 16];
        bytes.copy_to_slice(&mut id);
        Ok(Self {
            wish,
            id,
            received: bytes.get_u64(),
            away: Duration::from_millis(bytes.get_u32().into()),
        })
    }
}

impl Welcome {
    /// Sends it.
    pub(crate) async fn write(self, transport: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let (word, received) = match self {
            Self::Accepted(received) => (0, received),
            Self::Unknown => (1, 0),
            Self::Full => (2, 0),
        };
        let mut bytes = Vec::with_capacity(WELCOME);
        bytes.put_slice(ANSWER);
        bytes.put_u8(word);
        bytes.put_u64(received);
        transport.write_all(&bytes).await?;
        transport.flush().await
    }
}
