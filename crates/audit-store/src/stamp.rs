//! Time and identity of an accepted event: ids never go back within a process, times only from a clock that was ahead.

use std::time::{SystemTime, UNIX_EPOCH};

use datastorage_api::limits;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

/// The bits of a `UUIDv7` behind its milliseconds, without version and variant.
const TAIL_BITS: u32 = 74;
/// How far a time may be ahead of the clock for the sake of order: half of what Data Storage accepts, the other half is for the two clocks
/// to differ.
const MOST_AHEAD_US: u64 = limits::FUTURE.as_secs().unsigned_abs() * 1_000_000 / 2;

/// When an event was accepted and what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Microseconds of the Unix epoch.
    pub(crate) micros: u64,
    /// A `UUIDv7` above every one before.
    pub(crate) id: Uuid,
}

/// Gives out stamps in order (D32), also when the wall clock is set back a little: reading by (timestamp, `event_id`) then gives the order of
/// emission.
///
/// A clock that is set back far was wrong before: times go on from the new one, since Data Storage would refuse the old. Order by id stays.
#[derive(Debug)]
pub(crate) struct Stamper {
    last_micros: u64,
    /// Of the last id.
    last_millis: u64,
    tail: u128,
    random: SmallRng,
}

impl Stamper {
    pub(crate) fn new() -> Self {
        Self {
            last_micros: 0,
            last_millis: 0,
            tail: 0,
            random: SmallRng::from_rng(&mut rand::rng()),
        }
    }

    /// Returns the stamp for a time of the wall clock.
    ///
    /// Within one millisecond the tail grows by a random step (RFC 9562, section 6.2, method 2): ids stay in order and cannot be guessed. Its top
    /// bit starts clear, which leaves room for 2^41 steps.
    pub(crate) fn at(&mut self, clock: u64) -> Stamp {
        let micros = if self.last_micros > clock.saturating_add(MOST_AHEAD_US) {
            clock
        } else {
            clock.max(self.last_micros)
        };
        self.tail = if micros / 1000 > self.last_millis {
            self.random.random::<u128>() >> (128 - TAIL_BITS + 1)
        } else {
            self.tail + 1 + u128::from(self.random.random::<u32>())
        };
        self.last_micros = micros;
        self.last_millis = self.last_millis.max(micros / 1000);
        Stamp {
            micros,
            id: version_7(self.last_millis, self.tail),
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
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000_000;

    #[test]
    fn ids_and_times_grow_while_the_clock_is_set_back_a_little() {
        let mut stamper = Stamper::new();
        let clock = [
            60 * MINUTE,
            60 * MINUTE,
            60 * MINUTE + 1,
            60 * MINUTE + 1000,
            58 * MINUTE,
            60 * MINUTE + 1001,
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
    fn times_recover_at_once_from_a_clock_that_was_ahead_and_ids_keep_their_order() {
        let mut stamper = Stamper::new();
        let ahead = stamper.at(180 * MINUTE);
        let corrected = [60 * MINUTE, 60 * MINUTE, 61 * MINUTE].map(|clock| stamper.at(clock));
        assert_eq!(
            corrected.map(|stamp| stamp.micros),
            [60 * MINUTE, 60 * MINUTE, 61 * MINUTE]
        );
        let ids = [ahead, corrected[0], corrected[1], corrected[2]].map(|stamp| stamp.id);
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        assert_eq!(stamper.at(0).micros, 0, "set back to the very start");
    }

    proptest! {
        #[test]
        fn whatever_the_clock_does_data_storage_takes_the_time(clocks in prop::collection::vec(0..20 * MINUTE, 1..100)) {
            let mut stamper = Stamper::new();
            let future = limits::FUTURE.as_secs().unsigned_abs() * 1_000_000;
            for clock in clocks {
                prop_assert!(stamper.at(clock).micros < clock + future);
            }
        }
    }

    #[test]
    fn an_id_is_a_version_7_uuid_of_its_millisecond() {
        let stamp = Stamper::new().at(now_micros());
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
