//! What is wrong with a request, by field.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Fields that are named; a request with more violations gets those of these.
const MOST: usize = 1000;

/// The violations of one request, by field; several of one field are joined by a semicolon. Of a thousand fields at most: a body of
/// violations alone would make an answer of a hundred times its length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldErrors(BTreeMap<String, String>);

impl FieldErrors {
    /// Notes that `field` breaks the contract; `what` reads after the field's name ("is required").
    pub fn add(&mut self, field: &str, what: impl fmt::Display) {
        if self.0.len() >= MOST && !self.0.contains_key(field) {
            return;
        }
        let entry = self.0.entry(field.to_owned()).or_default();
        if !entry.is_empty() {
            entry.push_str("; ");
        }
        entry.push_str(&what.to_string());
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Field and message pairs in the order of the fields' names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(field, what)| (field.as_str(), what.as_str()))
    }

    /// Takes over the violations of the item at `index` of a batch, as `[index].field`.
    pub(crate) fn absorb(&mut self, index: usize, item: Self) {
        for (field, what) in item.0 {
            let path = if field.is_empty() {
                format!("[{index}]")
            } else {
                format!("[{index}].{field}")
            };
            self.add(&path, what);
        }
    }

    /// `Ok(value)` when nothing is wrong.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (field, what)) in self.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            let space = if field.is_empty() { "" } else { " " };
            write!(f, "{separator}{field}{space}{what}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}

/// Checks a text against the characters its column holds and against U+0000, which PostgreSQL cannot store.
pub(crate) fn check_text(errors: &mut FieldErrors, field: &str, text: &str, limit: usize) {
    // A character is at least one byte, so the count is needed for long texts only.
    if text.len() > limit {
        let length = text.chars().count();
        if length > limit {
            errors.add(
                field,
                format_args!("must have at most {limit} characters, has {length}"),
            );
        }
    }
    if text.contains('\0') {
        errors.add(field, "must not hold U+0000");
    }
}

/// [`check_text`] for a text that must not be empty.
pub(crate) fn check_filled(errors: &mut FieldErrors, field: &str, text: &str, limit: usize) {
    if text.is_empty() {
        errors.add(field, "must not be empty");
    }
    check_text(errors, field, text, limit);
}

/// Reads a UUID in the hyphenated form, the only one that the contract has.
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    // Uuid also reads the braced, simple and URN forms.
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}
