//! The bearer tokens that are valid, one in each line of a file: an old and a new one beside each other while they are rotated.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::watched::Watched;

/// Characters that a token has at least: 24 of base64 carry 144 random bits.
const LEAST: usize = 24;
/// Characters that a token has at most, so that it fits into a request's head.
const MOST: usize = 4096;

/// Digests of the valid tokens: the tokens themselves are nowhere in memory to be shown.
pub(crate) struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// Whether the token is one of them. Takes as long for one that is nearly right as for any other.
    pub(crate) fn accept(&self, token: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let none = Choice::from(0);
        let found = self
            .0
            .iter()
            .fold(none, |found, valid| found | valid.ct_eq(&digest));
        found.into()
    }

    fn of(contents: &[Vec<u8>]) -> Result<Self, String> {
        let text = contents.first().map(Vec::as_slice).unwrap_or_default();
        let text = str::from_utf8(text).map_err(|_| "is not text".to_owned())?;
        let mut digests = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let token = line.trim();
            if token.is_empty() {
                continue;
            }
            let wrong = |what: &str| format!("line {} {what}", number + 1);
            if !token.bytes().all(is_token_character) {
                return Err(wrong(
                    "holds a character that a bearer token cannot have (RFC 6750: letters, digits and - . _ ~ + / =)",
                ));
            }
            if !(LEAST..=MOST).contains(&token.len()) {
                return Err(wrong(&format!(
                    "has {} characters, a token has {LEAST} to {MOST}; `openssl rand -hex 32` makes one",
                    token.len()
                )));
            }
            digests.push(Sha256::digest(token).into());
        }
        if digests.is_empty() {
            return Err("holds no token; write one into each line".to_owned());
        }
        Ok(Self(digests))
    }
}

/// RFC 6750, section 2.1.
fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// The tokens of the file.
pub(crate) fn tokens(file: PathBuf) -> Result<Watched<Tokens>, String> {
    let name = file.display().to_string();
    Watched::new("tokens", vec![file], move |contents| {
        Tokens::of(contents).map_err(|what| format!("{name} {what}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old-0123456789-0123456789";
    const NEW: &str = "new/0123456789+0123456789==";

    fn of(text: &str) -> Result<Tokens, String> {
        Tokens::of(&[text.as_bytes().to_vec()])
    }

    #[test]
    fn each_line_is_a_token_and_empty_ones_are_none() {
        let tokens = of(&format!("\n{OLD}\r\n\n  {NEW}  \n")).expect("two tokens");
        for (token, valid) in [
            (OLD, true),
            (NEW, true),
            ("", false),
            (&OLD[1..], false),
            (&OLD.to_uppercase(), false),
            (&format!("{OLD}\n{NEW}"), false),
        ] {
            assert_eq!(tokens.accept(token.as_bytes()), valid, "{token}");
        }
    }

    #[test]
    fn a_file_without_a_good_token_in_each_line_is_refused_and_not_quoted() {
        for (text, part) in [
            ("", "holds no token"),
            (" \n\n", "holds no token"),
            ("hunter2", "line 1 has 7 characters"),
            (&format!("{OLD}\nhunter2"), "line 2 has 7 characters"),
            (&"x".repeat(5000), "line 1 has 5000 characters"),
            ("# hunter2 of the clients, 2026", "line 1 holds a character"),
        ] {
            let why = of(text).err().expect("refused");
            assert!(why.contains(part) && !why.contains("hunter2"), "{why}");
        }
        assert!(Tokens::of(&[vec![0xff; 30]]).is_err());
    }
}
