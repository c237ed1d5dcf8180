//! Times of the contract: RFC 3339 with a zone, UTC dates, and the `since`/`until` forms of a query.

use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::limits;

/// What the problem of an event says whose time is ahead of the server's clock by more than [`limits::FUTURE`]: waiting heals it.
pub const AHEAD: &str = "timestamp is in the future";
/// What the problem of an event says that is older than [`oldest_accepted`].
pub const TOO_OLD: &str = "timestamp is too old";
/// The first time of the year 1. PostgreSQL writes earlier years as BC, which RFC 3339 has not, and its timestamps begin in 4713 BC.
pub const FIRST: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// The UTC date of a time: the partition key of the audit trail (D25).
pub fn utc_date(time: Timestamp) -> Date {
    Offset::UTC.to_datetime(time).date()
}

/// `time` as PostgreSQL keeps it: whole microseconds, towards the past.
pub fn to_microseconds(time: Timestamp) -> Timestamp {
    let floor = time.as_nanosecond().div_euclid(1000) * 1000;
    Timestamp::from_nanosecond(floor).unwrap_or(Timestamp::MIN)
}

/// The earliest time accepted for an event (D29): 7 days ago, and for an event with an id of its own the first day of the
/// previous UTC month, so that a journal replayed late is still stored.
pub fn oldest_accepted(now: Timestamp, has_event_id: bool) -> Timestamp {
    let week = now - limits::AGE;
    if !has_event_id {
        return week;
    }
    let month = utc_date(now).first_of_month().saturating_sub(1.month());
    Offset::UTC
        .to_timestamp(month.at(0, 0, 0, 0))
        .map_or(week, |month| month.min(week))
}

/// Parses an RFC 3339 time; the zone is mandatory.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    // jiff reads more forms than RFC 3339 has: hold it to date, T, time with seconds.
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20
        && bytes.len() <= 64
        && bytes[..19].iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            10 => matches!(byte, b'T' | b't'),
            13 | 16 => *byte == b':',
            _ => byte.is_ascii_digit(),
        })
        && !text.contains('[');
    if shaped { text.parse().ok() } else { None }
}

/// Parses a bound of a query: a duration before `now` (`24h`, `1h30m`, `7d`, `1.5d`; a negative one lies ahead), an RFC 3339 time, or
/// a date with or without a time in UTC.
pub fn parse_bound(text: &str, now: Timestamp) -> Result<Timestamp, InvalidTime> {
    let absolute = || {
        parse_rfc3339(text).or_else(|| {
            let civil = match text.len() {
                10 => text.parse::<Date>().ok()?.at(0, 0, 0, 0),
                19.. if text.as_bytes()[10] == b'T' && !text.ends_with(['Z', 'z']) => {
                    text.parse::<DateTime>().ok()?
                }
                _ => return None,
            };
            Offset::UTC.to_timestamp(civil).ok()
        })
    };
    match parse_duration(text) {
        Some(duration) => now.checked_sub(duration).ok(),
        None => absolute(),
    }
    .filter(|time| *time >= FIRST)
    .ok_or_else(|| InvalidTime(text.to_owned()))
}

/// A bound of a query in none of the accepted forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTime(String);

impl std::fmt::Display for InvalidTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "invalid time format: {:?} is neither a duration such as 24h or 7d nor an RFC 3339 time nor a date, from the year 1 on",
            self.0
        )
    }
}

impl std::error::Error for InvalidTime {}

/// A sequence of decimal numbers with units (Go's `time.ParseDuration`, and `d` for 24 hours).
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum = SignedDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|at| *at > 0)?;
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let part = SignedDuration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = tail;
    }
    Some(if negative { -sum } else { sum })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_bound_is_a_duration_or_a_time() {
        let now = time("2026-03-10T12:00:00Z");
        for (text, expected) in [
            ("24h", "2026-03-09T12:00:00Z"),
            ("90m", "2026-03-10T10:30:00Z"),
            ("1h30m", "2026-03-10T10:30:00Z"),
            ("-2h", "2026-03-10T14:00:00Z"),
            ("7d", "2026-03-03T12:00:00Z"),
            ("1.5d", "2026-03-09T00:00:00Z"),
            ("2026-03-01T10:00:00+02:00", "2026-03-01T08:00:00Z"),
            ("2026-03-01T10:00:00.5Z", "2026-03-01T10:00:00.5Z"),
            ("2026-03-01T10:00:00", "2026-03-01T10:00:00Z"),
            ("2026-03-01", "2026-03-01T00:00:00Z"),
        ] {
            assert_eq!(parse_bound(text, now), Ok(time(expected)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_an_invalid_time() {
        let now = time("2026-03-10T12:00:00Z");
        for text in [
            "junk",
            "",
            "24",
            "h",
            "1..5h",
            "7w",
            "2026-13-01",
            "2026-03-01 10:00:00",
            "99999999999999h",
            "1e400h",
            "70000000h",
            "-70000000h",
            "-0001-01-01",
            "0000-12-31",
            "24h ",
            "äää-01-01T",
            "2026-02-30",
        ] {
            let message = parse_bound(text, now).expect_err(text).to_string();
            assert!(message.contains("invalid time format"), "{message}");
        }
    }

    #[test]
    fn a_time_needs_a_zone() {
        assert_eq!(parse_rfc3339("2026-03-01T10:00:00"), None);
        assert_eq!(parse_rfc3339("2026-03-01T10:00Z"), None);
        assert_eq!(
            parse_rfc3339("2026-03-01T23:30:00-01:00"),
            Some(time("2026-03-02T00:30:00Z"))
        );
    }

    #[test]
    fn microseconds_go_towards_the_past_on_both_sides_of_1970() {
        assert_eq!(
            to_microseconds(time("2026-03-01T10:00:00.123456789Z")),
            time("2026-03-01T10:00:00.123456Z")
        );
        assert_eq!(
            to_microseconds(time("1969-12-31T23:59:59.999999900Z")),
            time("1969-12-31T23:59:59.999999Z")
        );
    }

    #[test]
    fn an_event_with_an_id_may_reach_back_to_the_previous_month() {
        let now = time("2026-03-10T12:00:00Z");
        assert_eq!(oldest_accepted(now, false), time("2026-03-03T12:00:00Z"));
        assert_eq!(oldest_accepted(now, true), time("2026-02-01T00:00:00Z"));
        assert_eq!(
            oldest_accepted(time("2026-01-31T23:59:59Z"), true),
            time("2025-12-01T00:00:00Z")
        );
    }
}
