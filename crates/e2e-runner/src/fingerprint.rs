//! Names for what something was made from: equal contents, equal name.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// A name for what something was made from: equal texts, equal name.
pub fn fingerprint(parts: &[&str]) -> String {
    hex(parts.join("\0").as_bytes())
}

/// SHA-256 in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    digits(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal digits.
pub fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
