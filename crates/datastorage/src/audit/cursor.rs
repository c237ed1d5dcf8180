//! The opaque cursor of a query: where the next page begins, and what the first page counted.

use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;

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
        write!(
            f,
            "1-{:x}-{}-{:x}-{:x}",
            self.time.as_microsecond(),
            self.id.simple(),
            self.total,
            self.seen
        )
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(());
        if next()? != "1" {
            return Err(());
        }
        let number = |text: &str| i64::from_str_radix(text, 16).map_err(|_| ());
        let cursor = Self {
            time: Timestamp::from_microsecond(number(next()?)?).map_err(|_| ())?,
            id: Uuid::try_parse(next()?).map_err(|_| ())?,
            total: number(next()?)?,
            seen: number(next()?)?,
        };
        let canonical = cursor.total >= 0 && cursor.seen >= 0 && cursor.to_string() == text;
        if canonical { Ok(cursor) } else { Err(()) }
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
            &format!("{cursor}-"),
            &format!("{cursor} "),
        ] {
            assert_eq!(junk.parse::<Cursor>(), Err(()), "{junk}");
        }
    }
}
