//! The opaque cursor of a query: where the next page begins, and what the first page counted.
//!
//! It ends with a keyed check, so that one that was cut, mistyped or made up is refused instead of read as another place. The key
//! comes from what every replica on a database is given and no client knows: role, password and name of the database. So each reads
//! the cursors of the others, also after a restart, and a change of the password is the only thing that ends those under way. A role
//! without a password has no secret to offer; therefore what a cursor says is held to the ranges that the server itself would write,
//! too, and it opens nothing that its query does not.

use datastorage_api::time::FIRST;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use sha2::Sha256;
use uuid::Uuid;

use crate::config::DatabaseConfig;

/// More events than a table holds; sums of two counts stay far within their type.
const MOST: i64 = 1 << 53;
/// Hexadecimal digits of the check: 128 bits.
const CHECK: usize = 32;

/// The last event of a page, the count of all matches, and how many pages' events precede the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) time: Timestamp,
    pub(crate) id: Uuid,
    pub(crate) total: i64,
    pub(crate) seen: i64,
}

/// Writes cursors, and reads those that were written with the same key.
#[derive(Clone)]
pub(crate) struct CursorKey(Hmac<Sha256>);

impl CursorKey {
    /// The key of all servers on this database.
    pub(crate) fn new(config: &DatabaseConfig) -> Self {
        let secret = config.password.expose_secret().as_bytes();
        let mut key = mac(secret);
        for part in ["cursor", &config.user, &config.name] {
            key.update(part.as_bytes());
            key.update(&[0]);
        }
        Self(mac(&key.finalize().into_bytes()))
    }

    /// The text of a cursor.
    pub(crate) fn write(&self, cursor: Cursor) -> String {
        let fields = format!(
            "3-{:x}-{}-{:x}-{:x}",
            cursor.time.as_microsecond() - FIRST.as_microsecond(),
            cursor.id.simple(),
            cursor.total,
            cursor.seen
        );
        let check = self.check(&fields);
        format!("{fields}-{check}")
    }

    /// The cursor in a text, if a server with this key wrote it.
    pub(crate) fn read(&self, text: &str) -> Option<Cursor> {
        let (fields, check) = text.rsplit_once('-')?;
        let bytes = hex(check)?;
        let whole = self.0.clone().chain_update(fields);
        whole.verify_truncated_left(&bytes).ok()?;
        let mut parts = fields.strip_prefix("3-")?.split('-');
        let number = |text: Option<&str>| i64::from_str_radix(text?, 16).ok();
        let cursor = Cursor {
            time: number(parts.next())?
                .checked_add(FIRST.as_microsecond())
                .and_then(|time| Timestamp::from_microsecond(time).ok())?,
            id: Uuid::try_parse(parts.next()?).ok()?,
            total: number(parts.next())?,
            seen: number(parts.next())?,
        };
        let counts = 0..=MOST;
        let in_range =
            cursor.time >= FIRST && counts.contains(&cursor.total) && counts.contains(&cursor.seen);
        (in_range && self.write(cursor) == text).then_some(cursor)
    }

    fn check(&self, fields: &str) -> String {
        let whole = self.0.clone().chain_update(fields).finalize().into_bytes();
        let digits = whole.iter().map(|byte| format!("{byte:02x}"));
        let mut check = digits.collect::<String>();
        check.truncate(CHECK);
        check
    }
}

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey")
    }
}

/// HMAC takes a key of any length.
fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key of any length")
}

/// The bytes of a check's hexadecimal digits.
fn hex(digits: &str) -> Option<[u8; CHECK / 2]> {
    let is_hex = digits.len() == CHECK && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u128::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;

    fn key(password: &str, name: &str) -> CursorKey {
        let settings = [
            ("DATASTORAGE_DATABASE_NAME", name),
            ("DATASTORAGE_DATABASE_USER", "slm_user"),
            ("DATASTORAGE_DATABASE_PASSWORD", password),
            ("DATASTORAGE_DATABASE_HOST", "localhost"),
            ("DATASTORAGE_SERVER_HOST", "127.0.0.1"),
        ];
        let settings: BTreeMap<_, _> = settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        CursorKey::new(&Config::load(&settings).expect("valid").database)
    }

    fn cursor() -> Cursor {
        Cursor {
            time: "2026-01-01T00:00:00.000001Z".parse().expect("a time"),
            id: Uuid::from_u128(9),
            total: 70,
            seen: 50,
        }
    }

    #[test]
    fn a_cursor_round_trips_and_junk_does_not() {
        let key = key("secret", "audit");
        let text = key.write(cursor());
        assert_eq!(key.read(&text), Some(cursor()));
        let other_total = text.replace("-46-", "-47-");
        assert_ne!(other_total, text);
        for junk in [
            "",
            "1",
            "-",
            "3-1-2-3-4",
            &format!("3-0-{:032x}-0-0", 0),
            &format!("3-0-{:032x}-0-0-{:032x}", 0, 0),
            &format!("3-0-{:032x}-0-0-{}", 0, "é".repeat(16)),
            &other_total,
            &text[..text.len() - 1],
            &text[..text.len() - 2],
            &text.to_uppercase(),
            &format!("{text}-"),
            &format!("{text} "),
        ] {
            assert_eq!(key.read(junk), None, "{junk}");
        }
    }

    #[test]
    fn servers_on_one_database_read_each_others_cursors_and_no_others() {
        let text = key("secret", "audit").write(cursor());
        assert_eq!(key("secret", "audit").read(&text), Some(cursor()));
        assert_eq!(key("guess", "audit").read(&text), None);
        assert_eq!(key("secret", "other").read(&text), None);
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
            let key = key("secret", "audit");
            // Within what a time can be, and on both sides of the other bounds.
            let time = Timestamp::from_microsecond(microseconds % 250_000_000_000_000_000).unwrap_or(FIRST);
            for (total, seen) in [(total, seen), (total % (MOST + 1), seen % (MOST + 1))] {
                let cursor = Cursor { time, id: Uuid::from_u128(id), total, seen };
                let counts = 0..=MOST;
                let in_range = time >= FIRST && counts.contains(&total) && counts.contains(&seen);
                proptest::prop_assert_eq!(key.read(&key.write(cursor)), in_range.then_some(cursor));
            }
        }
    }
}
