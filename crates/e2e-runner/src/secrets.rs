//! Passwords taken out of text where it is written.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

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
            let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
            for text in [secret.to_owned(), encoded] {
                if !known.contains(&text) {
                    known.push(text);
                }
            }
        }
        usable
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
    fn a_short_or_common_word_destroys_no_text() {
        let secrets = Secrets::default();
        assert!(!secrets.add("test") && !secrets.add("") && !secrets.add("postgres"));
        let text = r#"{"event":"test","url":"postgres://app@h"}"#;
        assert_eq!(secrets.clean(text), text);
    }
}
