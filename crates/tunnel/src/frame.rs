//! The frames of a session on a transport: a header of sixteen bytes, and what it announces.
//!
//! ```text
//! kind: u8 | length of the payload: u24 | connection: u32 | number: u64 | payload
//! ```
//!
//! The frames that concern a connection are numbered, from one, each direction for itself. The number of an acknowledgement is that of
//! the last frame that was received.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The length of a header.
pub(crate) const HEADER: usize = 16;
/// The longest payload.
pub(crate) const LONGEST: usize = 32 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything up to a number was received. Not numbered itself.
    Acknowledge = 1,
    /// A connection to the target in the payload begins.
    Open = 2,
    /// Bytes of a connection.
    Data = 3,
    /// No more bytes come from this side.
    Finish = 4,
    /// The connection is over; the payload says why.
    Reset = 5,
    /// So many bytes more may be sent.
    Window = 6,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Acknowledge,
            Self::Open,
            Self::Data,
            Self::Finish,
            Self::Reset,
            Self::Window,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) stream: u32,
    pub(crate) number: u64,
    pub(crate) payload: Bytes,
}

/// The other side does not speak this protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("a frame of no known kind: {0}")]
    Kind(u8),
    #[error("a frame of {0} bytes, where {LONGEST} are the most")]
    Length(usize),
    #[error("frame {got} where {expected} was expected")]
    Number { expected: u64, got: u64 },
    #[error("an acknowledgement of frame {got}, where {sent} were sent")]
    Acknowledged { sent: u64, got: u64 },
    #[error("more bytes of connection {0} than its window has room for")]
    Window(u32),
    #[error("a frame of connection {0}, which was never opened")]
    Stream(u32),
    #[error("more frames wait to be acknowledged than a session has")]
    Unacknowledged,
}

impl Frame {
    /// The frame as bytes.
    pub(crate) fn encode(kind: Kind, stream: u32, number: u64, payload: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER + payload.len());
        bytes.put_u8(kind as u8);
        bytes.put_uint(payload.len() as u64, 3);
        bytes.put_u32(stream);
        bytes.put_u64(number);
        bytes.put_slice(payload);
        bytes.freeze()
    }

    /// Takes the first frame off what has come, once it is whole.
    pub(crate) fn decode(bytes: &mut BytesMut) -> Result<Option<Self>, Violation> {
        let Some(mut header) = bytes.get(..HEADER) else {
            return Ok(None);
        };
        let byte = header.get_u8();
        let kind = Kind::of(byte).ok_or(Violation::Kind(byte))?;
        let length = usize::try_from(header.get_uint(3)).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(Violation::Length(length));
        }
        let (stream, number) = (header.get_u32(), header.get_u64());
        if bytes.len() < HEADER + length {
            return Ok(None);
        }
        bytes.advance(HEADER);
        let payload = bytes.split_to(length).freeze();
        Ok(Some(Self {
            kind,
            stream,
            number,
            payload,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_once_it_is_whole() {
        let sent = Frame::encode(Kind::Data, 7, 1 << 40, b"bytes");
        for cut in 0..sent.len() {
            let mut part = BytesMut::from(&sent[..cut]);
            assert_eq!(Frame::decode(&mut part), Ok(None));
        }
        let mut whole = BytesMut::from(&sent[..]);
        let frame = Frame::decode(&mut whole).expect("a frame").expect("whole");
        assert_eq!(
            (frame.kind, frame.stream, frame.number, &*frame.payload),
            (Kind::Data, 7, 1 << 40, &b"bytes"[..])
        );
        assert!(whole.is_empty());
    }

    #[test]
    fn what_is_no_frame_is_refused_by_its_header() {
        let mut unknown = BytesMut::from(&[9; HEADER][..]);
        assert_eq!(Frame::decode(&mut unknown), Err(Violation::Kind(9)));
        let mut long =
            BytesMut::from(&Frame::encode(Kind::Data, 1, 1, &vec![0; LONGEST + 1])[..HEADER]);
        assert_eq!(
            Frame::decode(&mut long),
            Err(Violation::Length(LONGEST + 1))
        );
    }
}
