//! Query parameters: read by name, unknown ones ignored, every violation in one problem.

use std::str::FromStr;

use datastorage_api::{FieldErrors, ProblemType};

use crate::problem::Problem;

/// The parameters of one request and what is wrong with them.
pub(crate) struct Parameters {
    given: Vec<(String, String)>,
    errors: FieldErrors,
}

impl Parameters {
    pub(crate) fn of(query: &str) -> Self {
        let given = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            });
        let mut parameters = Self {
            given: Vec::new(),
            errors: FieldErrors::default(),
        };
        for (name, value) in given {
            match (name, value) {
                (Some(name), Some(value)) => parameters.given.push((name, value)),
                _ => parameters
                    .errors
                    .add("query", "must be percent-encoded UTF-8"),
            }
        }
        parameters
    }

    /// The value; an empty one or one with U+0000 is a violation. Of a repeated parameter the first counts.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let value = self
            .given
            .iter()
            .find(|(given, _)| given == name)?
            .1
            .clone();
        if value.is_empty() {
            self.fault(name, "must not be empty");
            return None;
        }
        if value.contains('\0') {
            self.fault(name, "must not hold U+0000");
            return None;
        }
        Some(value)
    }

    /// One of a few words.
    pub(crate) fn word(&mut self, name: &str, words: &[&str]) -> Option<String> {
        let value = self.text(name)?;
        if words.contains(&value.as_str()) {
            return Some(value);
        }
        self.fault(name, format_args!("must be one of {}", words.join(", ")));
        None
    }

    /// A whole number within bounds.
    pub(crate) fn number<T: FromStr + PartialOrd + Copy + std::fmt::Display>(
        &mut self,
        name: &str,
        default: T,
        least: T,
        most: T,
    ) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        let digits = text.strip_prefix('-').unwrap_or(&text);
        match text.parse::<T>() {
            Ok(number) if number < least => {
                self.fault(name, format_args!("must be at least {least}"));
            }
            Ok(number) if number > most => self.fault(name, format_args!("must be at most {most}")),
            Ok(number) => return number,
            // Too many digits for the type is a number out of bounds, not a word.
            Err(_) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let (what, bound) = if text.starts_with('-') {
                    ("least", least)
                } else {
                    ("most", most)
                };
                self.fault(name, format_args!("must be at {what} {bound}"));
            }
            Err(_) => self.fault(name, "must be a whole number"),
        }
        default
    }

    pub(crate) fn fault(&mut self, name: &str, what: impl std::fmt::Display) {
        self.errors.add(name, what);
    }

    /// `value` when nothing is wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Problem> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        Err(
            Problem::new(ProblemType::ValidationError, self.errors.to_string())
                .with_fields(self.errors),
        )
    }
}

/// Undoes the encoding of a form (WHATWG URL, 5.1). By hand, since the libraries let a malformed escape pass as it is.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                // The radix parser takes a sign, too.
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
                rest = &rest[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(query: &str, read: impl FnOnce(&mut Parameters)) -> String {
        let mut parameters = Parameters::of(query);
        read(&mut parameters);
        parameters.finish(()).expect_err(query).detail().to_owned()
    }

    #[test]
    fn numbers_out_of_bounds_name_the_bound() {
        let limit = |query| {
            problem(query, |parameters| {
                assert_eq!(parameters.number("limit", 50, 1, 1000), 50);
            })
        };
        assert_eq!(limit("limit=0"), "limit must be at least 1");
        assert_eq!(limit("limit=1001"), "limit must be at most 1000");
        assert_eq!(
            limit("limit=99999999999999999999"),
            "limit must be at most 1000"
        );
        assert_eq!(
            limit("limit=-99999999999999999999"),
            "limit must be at least 1"
        );
        assert_eq!(limit("limit=abc"), "limit must be a whole number");
        assert_eq!(limit("limit="), "limit must not be empty");
    }

    #[test]
    fn values_are_decoded_and_unknown_names_ignored() {
        let mut parameters = Parameters::of("a=x%2By+z&unknown=1&&b");
        assert_eq!(parameters.text("a").as_deref(), Some("x+y z"));
        assert_eq!(parameters.text("c"), None);
        parameters.finish(()).expect("nothing wrong");
        assert_eq!(
            problem("a=%ff", |_| ()),
            "query must be percent-encoded UTF-8"
        );
        assert_eq!(
            problem("a=%00", |parameters| drop(parameters.text("a"))),
            "a must not hold U+0000"
        );
    }
}
