//! Passwords taken out of text where it is written.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2e_report::text::escaped;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands in a secret's place.
const MASK: &str = "***";
/// The shortest text that is taken for a secret: a shorter one stands in half of all words.
const SHORTEST: usize = 8;
/// Texts that are passwords of test databases at times and words of reports always.
const COMMON: [&str; 6] = [
    "password",
    "postgres",
    "postgresql",
    "kubernaut",
    "slm_user",
    "action_history",
];

/// What most programs leave as it is in a URL (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The secrets of a run. A clone knows what is added to any of them.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Arc<RwLock<Vec<String>>>);

impl Secrets {
    /// Adds a secret, as it is and as it stands in a URL. One that is too short or too common to be told from other text is not
    /// taken out; returns whether it is.
    pub fn add(&self, secret: &str) -> bool {
        let usable = secret.len() >= SHORTEST && !COMMON.contains(&secret);
        if usable {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            for text in spellings(secret) {
                if !known.contains(&text) {
                    known.push(text);
                }
            }
        }
        usable
    }

    /// The bytes of a file without the secrets; none if there is none in them.
    pub fn clean_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut clean: Option<Vec<u8>> = None;
        for secret in known.iter().map(String::as_bytes) {
            let from = clean.as_deref().unwrap_or(bytes);
            if let Some(replaced) = replaced(from, secret) {
                clean = Some(replaced);
            }
        }
        clean
    }

    /// A text without the secrets.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut clean = Cow::Borrowed(text);
        for secret in known.iter().filter(|secret| text.contains(secret.as_str())) {
            clean = Cow::Owned(clean.replace(secret.as_str(), MASK));
        }
        clean
    }
}

/// A secret as it is, and as programs write it: in URLs, forms, JSON, XML, HTML and Secrets of Kubernetes.
fn spellings(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let url = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let reserved = utf8_percent_encode(secret, UNRESERVED).to_string();
    let mut all = vec![
        secret.to_owned(),
        // As Kubernetes shows what a Secret holds.
        BASE64_STANDARD.encode(secret),
        json.trim_matches('"').to_owned(),
        escaped(secret),
        secret
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;"),
        reserved.replace("%20", "+"),
        reserved,
        url,
    ];
    // The longest first: a shorter one may stand in it.
    all.sort_by_key(|text| std::cmp::Reverse(text.len()));
    all.dedup();
    all
}

fn replaced(bytes: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    let at = |from: usize| {
        let rest = bytes.get(from..)?;
        let found = rest.windows(secret.len()).position(|part| part == secret)?;
        Some(from + found)
    };
    let mut next = at(0)?;
    let mut clean = Vec::with_capacity(bytes.len());
    let mut from = 0;
    loop {
        clean.extend_from_slice(&bytes[from..next]);
        clean.extend_from_slice(MASK.as_bytes());
        from = next + secret.len();
        match at(from) {
            Some(found) => next = found,
            None => break,
        }
    }
    clean.extend_from_slice(&bytes[from..]);
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_out_as_it_is_and_as_it_stands_in_a_url() {
        let secrets = Secrets::default();
        assert!(secrets.add("a/b@c#d:e"));
        let text = "PW=a/b@c#d:e postgres://u:a%2Fb%40c%23d%3Ae@h";
        assert_eq!(secrets.clean(text), "PW=*** postgres://u:***@h");
        assert!(matches!(secrets.clean("nothing"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_secret_is_taken_out_as_other_formats_spell_it_and_from_bytes_that_are_no_text() {
        let secrets = Secrets::default();
        secrets.add("p@/#: %\"x'y");
        for text in [
            r#"{"pw":"p@/#: %\"x'y"}"#,
            "<b>p@/#: %&quot;x&#39;y</b>",
            "pw=p%40%2F%23%3A+%25%22x%27y",
            "pw: cEAvIzogJSJ4J3k=",
        ] {
            assert!(secrets.clean(text).contains("***"), "{text}");
        }
        let bytes = b"caf\xe9 p@/#: %\"x'y!";
        assert_eq!(secrets.clean_bytes(bytes), Some(b"caf\xe9 ***!".to_vec()));
        assert_eq!(secrets.clean_bytes(b"nothing"), None);
    }

    #[test]
    fn a_short_or_common_word_destroys_no_text() {
        let secrets = Secrets::default();
        assert!(!secrets.add("test") && !secrets.add("") && !secrets.add("postgres"));
        let text = r#"{"event":"test","url":"postgres://app@h"}"#;
        assert_eq!(secrets.clean(text), text);
    }
}
