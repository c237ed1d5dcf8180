//! Time and identity of an accepted event: neither ever goes back within a process.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

/// The bits of a `UUIDv7` behind its milliseconds, without version and variant.
const TAIL_BITS: u32 = 74;

/// When an event was accepted and what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Microseconds of the Unix epoch, at least those of the stamp before.
    pub(crate) micros: u64,
    /// A `UUIDv7` above every one before.
    pub(crate) id: Uuid,
}

/// Gives out stamps in order (D32), also when the wall clock is set back: reading by (timestamp, `event_id`) then gives the order of emission.
#[derive(Debug)]
pub(crate) struct Stamper {
    last_micros: u64,
    tail: u128,
    random: SmallRng,
}

impl Stamper {
    pub(crate) fn new() -> Self {
        Self {
            last_micros: 0,
            tail: 0,
            random: SmallRng::from_rng(&mut rand::rng()),
        }
    }

    /// Returns the stamp for now.
    pub(crate) fn now(&mut self) -> Stamp {
        self.at(now_micros())
    }

    /// Within one millisecond the tail grows by a random step (RFC 9562, section 6.2, method 2): ids stay in order and cannot be guessed. Its top
    /// bit starts clear, which leaves room for 2^41 steps.
    fn at(&mut self, micros: u64) -> Stamp {
        let micros = micros.max(self.last_micros);
        self.tail = if micros / 1000 > self.last_micros / 1000 {
            self.random.random::<u128>() >> (128 - TAIL_BITS + 1)
        } else {
            self.tail + 1 + u128::from(self.random.random::<u32>())
        };
        self.last_micros = micros;
        Stamp {
            micros,
            id: version_7(micros / 1000, self.tail),
        }
    }
}

/// Reads the wall clock in microseconds of the Unix epoch.
pub(crate) fn now_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX))
}

fn version_7(millis: u64, tail: u128) -> Uuid {
    let high = (tail >> 62) & 0xfff;
    let low = tail & ((1 << 62) - 1);
    Uuid::from_u128((u128::from(millis) << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_times_grow_even_when_the_clock_is_set_back() {
        let mut stamper = Stamper::new();
        let hour = 3_600_000_000;
        let clock = [
            hour,
            hour,
            hour + 1,
            hour + 1000,
            hour / 2,
            hour / 2,
            0,
            hour + 1001,
        ];
        let stamps: Vec<_> = clock
            .into_iter()
            .cycle()
            .take(10_000)
            .map(|micros| stamper.at(micros))
            .collect();
        assert!(stamps.is_sorted_by(|a, b| a.id < b.id && a.micros <= b.micros));
    }

    #[test]
    fn an_id_is_a_version_7_uuid_of_its_millisecond() {
        let stamp = Stamper::new().now();
        assert_eq!(stamp.id.get_version_num(), 7);
        assert_eq!(stamp.id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = stamp
            .id
            .get_timestamp()
            .expect("version 7 holds a time")
            .to_unix();
        assert_eq!(
            seconds * 1000 + u64::from(nanos / 1_000_000),
            stamp.micros / 1000
        );
    }
}
