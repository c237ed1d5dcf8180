//! One record of the journal: a length, a checksum, the time of acceptance, the payload.
//!
//! Layout, little endian: `u32` payload length, `u32` CRC-32 of what follows, `u64` microseconds of the Unix epoch, payload. The checksum is
//! what distinguishes an event from a tail that a crash tore or a disk that lied.

/// Bytes before the payload.
pub(crate) const HEADER: usize = 16;
/// Longest payload; a length above it is damage, never an event.
pub(crate) const MAX_PAYLOAD: usize = 1 << 20;
/// Longest frame.
pub(crate) const MAX_FRAME: usize = HEADER + MAX_PAYLOAD;

/// What the bytes at some offset turn out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    /// A whole frame.
    Frame { accepted_us: u64, payload: &'a [u8] },
    /// The frame goes on behind the end of these bytes.
    Incomplete,
    /// Not a frame.
    Damaged,
}

/// Appends to `buffer` one frame around the payload that `write` appends, and returns the payload's length.
pub(crate) fn encode<E>(
    buffer: &mut Vec<u8>,
    accepted_us: u64,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<usize, E> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 8]);
    buffer.extend_from_slice(&accepted_us.to_le_bytes());
    write(buffer)?;
    let frame = &mut buffer[start..];
    let payload = frame.len() - HEADER;
    let length = u32::try_from(payload).unwrap_or(u32::MAX);
    let checksum = crc32fast::hash(&frame[8..]);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
    Ok(payload)
}

/// Reads the frame at the start of `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Decoded<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Decoded::Incomplete;
    };
    let [length, checksum] = [0, 4].map(|at| u32_at(header, at));
    let length = length as usize;
    if length == 0 || length > MAX_PAYLOAD {
        return Decoded::Damaged;
    }
    let Some(payload) = rest.get(..length) else {
        return Decoded::Incomplete;
    };
    if crc32fast::hash(&bytes[8..HEADER + length]) != checksum {
        return Decoded::Damaged;
    }
    let accepted_us = u64::from(u32_at(header, 8)) | u64::from(u32_at(header, 12)) << 32;
    Decoded::Frame {
        accepted_us,
        payload,
    }
}

/// Finds the next whole frame behind a damaged or torn place at the start of `bytes`.
pub(crate) fn resync(bytes: &[u8]) -> Option<usize> {
    (1..bytes.len()).find(|&at| matches!(decode(&bytes[at..]), Decoded::Frame { .. }))
}

fn u32_at(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn framed(accepted_us: u64, payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        encode(&mut buffer, accepted_us, |out| {
            out.extend_from_slice(payload);
            Ok::<_, Infallible>(())
        })
        .unwrap_or_else(|never: Infallible| match never {});
        buffer
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_what_was_written(accepted_us: u64, payload in prop::collection::vec(any::<u8>(), 1..2000), tail: Vec<u8>) {
            let mut bytes = framed(accepted_us, &payload);
            bytes.extend_from_slice(&tail);
            prop_assert_eq!(decode(&bytes), Decoded::Frame { accepted_us, payload: &payload });
        }

        #[test]
        fn a_frame_cut_anywhere_is_incomplete(payload in prop::collection::vec(any::<u8>(), 1..200), cut: prop::sample::Index) {
            let bytes = framed(7, &payload);
            prop_assert_eq!(decode(&bytes[..cut.index(bytes.len())]), Decoded::Incomplete);
        }

        #[test]
        fn one_changed_byte_is_never_read_as_the_event(payload in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, change in 1..=255_u8) {
            let mut bytes = framed(7, &payload);
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            let whole = matches!(decode(&bytes), Decoded::Frame { .. });
            prop_assert!(!whole);
        }

        #[test]
        fn the_frame_behind_damage_is_found(damage in prop::collection::vec(any::<u8>(), 1..300), payload in prop::collection::vec(any::<u8>(), 1..200)) {
            let frame = framed(7, &payload);
            let bytes = [damage.as_slice(), &frame].concat();
            prop_assert_eq!(resync(&bytes), Some(damage.len()));
        }
    }

    #[test]
    fn a_hole_of_zeroes_is_damage() {
        assert_eq!(decode(&[0; 64]), Decoded::Damaged);
    }
}
