//! The opaque cursor of a query: where the next page begins, and what the first page counted.
//!
//! It ends with a checksum, so that one that was cut, mistyped or made up is refused instead of read as another place. The checksum
//! has no key: a cursor opens nothing that its query does not, and every replica has to read those of the others, also of one that
//! was started with another configuration. What a forged one can say is held to the ranges that the server itself would write.

use std::str::FromStr;

use datastorage_api::time::FIRST;
use jiff::Timestamp;
use uuid::Uuid;

/// More events than a table holds; sums of two counts stay far within their type.
const MOST: i64 = 1 << 53;

/// The last event of a page, the count of all matches, and how many pages' events precede the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) time: Timestamp,
    pub(super) id: Uuid,
    pub(super) total: i64,
    pub(super) seen: i64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.fields();
        write!(f, "{text}-{:x}", checksum(&text))
    }
}

impl Cursor {
    fn fields(&self) -> String {
        format!(
            "2-{:x}-{}-{:x}-{:x}",
            self.time.as_microsecond() - FIRST.as_microsecond(),
            self.id.simple(),
            self.total,
            self.seen
        )
    }
}

/// FNV-1a, 64 bits.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(());
        if next()? != "2" {
            return Err(());
        }
        let number = |text: &str| i64::from_str_radix(text, 16).map_err(|_| ());
        let cursor = Self {
            time: number(next()?)?
                .checked_add(FIRST.as_microsecond())
                .and_then(|time| Timestamp::from_microsecond(time).ok())
                .ok_or(())?,
            id: Uuid::try_parse(next()?).map_err(|_| ())?,
            total: number(next()?)?,
            seen: number(next()?)?,
        };
        let counts = 0..=MOST;
        let in_range =
            cursor.time >= FIRST && counts.contains(&cursor.total) && counts.contains(&cursor.seen);
        if in_range && cursor.to_string() == text {
            Ok(cursor)
        } else {
            Err(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_and_junk_does_not_parse() {
        let cursor = Cursor {
            time: "2026-01-01T00:00:00.000001Z".parse().expect("a time"),
            id: Uuid::from_u128(9),
            total: 70,
            seen: 50,
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for junk in [
            "",
            "1",
            "2-1-2-3-4",
            "1-x-y-z-0",
            "2-0-00000000000000000000000000000000-0-0",
            "2-0-00000000000000000000000000000000-0-0-0",
            &format!("{cursor}-"),
            &format!("{cursor} "),
        ] {
            assert_eq!(junk.parse::<Cursor>(), Err(()), "{junk}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        /// Over all numbers: what is written is read as it was, or refused for its range.
        #[test]
        fn every_cursor_round_trips_or_is_out_of_range(
            microseconds in i64::MIN..=i64::MAX,
            id in 0..=u128::MAX,
            total in i64::MIN..=i64::MAX,
            seen in i64::MIN..=i64::MAX,
        ) {
            // Within what a time can be, and on both sides of the other bounds.
            let time = Timestamp::from_microsecond(microseconds % 250_000_000_000_000_000).unwrap_or(FIRST);
            for (total, seen) in [(total, seen), (total % (MOST + 1), seen % (MOST + 1))] {
                let cursor = Cursor { time, id: Uuid::from_u128(id), total, seen };
                let counts = 0..=MOST;
                let in_range = time >= FIRST && counts.contains(&total) && counts.contains(&seen);
                let expected = if in_range { Ok(cursor) } else { Err(()) };
                proptest::prop_assert_eq!(cursor.to_string().parse(), expected);
            }
        }
    }
}
