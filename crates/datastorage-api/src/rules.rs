//! What the members of a JSON object may be, as tables that say the same as the OpenAPI document, and a check against them.
//!
//! The check names every violation by its path. A body that passes can be read by serde and stored by PostgreSQL: no U+0000,
//! lengths in characters as the columns count them, times within timestamptz. `serde_json` itself refuses what jsonb cannot hold
//! beyond that: half a surrogate pair, numbers past 1e308, more than 128 levels.

use jiff::Timestamp;
use jiff::civil::date;
use jiff::tz::Offset;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::field::{FieldErrors, check_text};
use crate::submission::SubmissionError;
use crate::time;

/// A member of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) presence: Presence,
    pub(crate) kind: Kind,
}

/// Whether a member must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    Optional,
    /// Optional, and null counts as absent.
    Nullable,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// At least and at most this many characters.
    Text(usize, usize),
    OneOf(&'static [&'static str]),
    Uuid,
    Time,
    /// A whole number within bounds.
    Integer(i32, i32),
    /// A number within 0 and 1.
    UnitInterval,
    Boolean,
    /// Any object.
    AnyObject,
    Object(&'static [Rule]),
    List(&'static Kind),
    /// An object whose members all are of one kind.
    MapOf(&'static Kind),
}

pub(crate) const fn required(name: &'static str, kind: Kind) -> Rule {
    Rule {
        name,
        presence: Presence::Required,
        kind,
    }
}

pub(crate) const fn optional(name: &'static str, kind: Kind) -> Rule {
    Rule {
        name,
        presence: Presence::Optional,
        kind,
    }
}

pub(crate) const fn nullable(name: &'static str, kind: Kind) -> Rule {
    Rule {
        name,
        presence: Presence::Nullable,
        kind,
    }
}

/// Any text; the column is of type text.
pub(crate) const TEXT: Kind = Kind::Text(0, usize::MAX);
/// Any text but the empty one.
pub(crate) const FILLED: Kind = Kind::Text(1, usize::MAX);
/// What fits varchar(255).
pub(crate) const TEXT_255: Kind = Kind::Text(0, 255);
/// What fits varchar(255) and is not empty.
pub(crate) const FILLED_255: Kind = Kind::Text(1, 255);

/// Reads an object that satisfies `rules`.
pub(crate) fn parse<T: DeserializeOwned>(
    body: &[u8],
    rules: &[Rule],
) -> Result<T, SubmissionError> {
    let not_json = |error| SubmissionError::Body(format!("the body is not JSON: {error}"));
    let value: Value = serde_json::from_slice(body).map_err(not_json)?;
    let Value::Object(members) = &value else {
        return Err(SubmissionError::Body(
            "the body must be an object".to_owned(),
        ));
    };
    let mut errors = FieldErrors::default();
    check_members(&mut errors, "", members, rules);
    if !errors.is_empty() {
        return Err(SubmissionError::Fields {
            first: None,
            errors,
        });
    }
    // From the text, so that numbers in free objects stay exact; what is left to fail is a member given twice.
    serde_json::from_slice(body).map_err(|error| SubmissionError::Body(error.to_string()))
}

fn check_members(
    errors: &mut FieldErrors,
    path: &str,
    members: &Map<String, Value>,
    rules: &[Rule],
) {
    for rule in rules {
        let at = join(path, rule.name);
        match (members.get(rule.name), rule.presence) {
            (None, Presence::Required) => errors.add(&at, "is required"),
            (None, _) | (Some(Value::Null), Presence::Nullable) => {}
            (Some(value), _) => check(errors, &at, value, rule.kind),
        }
    }
}

fn check(errors: &mut FieldErrors, at: &str, value: &Value, kind: Kind) {
    match (kind, value) {
        (Kind::Text(least, most), Value::String(text)) => {
            if text.chars().count() < least {
                errors.add(at, too_short(least));
            }
            check_text(errors, at, text, most);
        }
        (Kind::OneOf(words), Value::String(text)) => {
            if !words.contains(&text.as_str()) {
                errors.add(at, format_args!("must be one of {}", words.join(", ")));
            }
        }
        (Kind::Uuid, Value::String(text)) => {
            if crate::field::parse_uuid(text).is_none() {
                errors.add(at, "must be a UUID");
            }
        }
        (Kind::Time, Value::String(text)) => check_time(errors, at, text),
        (Kind::Integer(least, most), Value::Number(number)) => {
            let within = |number: i64| (i64::from(least)..=i64::from(most)).contains(&number);
            if !number.as_i64().is_some_and(within) {
                errors.add(
                    at,
                    format_args!("must be a whole number from {least} to {most}"),
                );
            }
        }
        (Kind::UnitInterval, Value::Number(number)) => {
            if !number
                .as_f64()
                .is_some_and(|number| (0.0..=1.0).contains(&number))
            {
                errors.add(at, "must be a number from 0 to 1");
            }
        }
        (Kind::Boolean, Value::Bool(_)) => {}
        (Kind::AnyObject, Value::Object(_)) => {
            if holds_nul(value) {
                errors.add(at, "must not hold U+0000");
            }
        }
        (Kind::Object(rules), Value::Object(members)) => check_members(errors, at, members, rules),
        (Kind::List(kind), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                check(errors, &format!("{at}[{index}]"), item, *kind);
            }
        }
        (Kind::MapOf(kind), Value::Object(members)) => {
            for (name, value) in members {
                if name.contains('\0') {
                    errors.add(at, "must not hold U+0000");
                } else {
                    check(errors, &join(at, name), value, *kind);
                }
            }
        }
        (kind, _) => errors.add(at, format_args!("must be {}", kind.noun())),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn too_short(least: usize) -> String {
    if least == 1 {
        "must not be empty".to_owned()
    } else {
        format!("must have at least {least} characters")
    }
}

fn check_time(errors: &mut FieldErrors, at: &str, text: &str) {
    match time::parse_rfc3339(text) {
        None => errors.add(
            at,
            "must be an RFC 3339 time with a zone, such as 2025-12-18T10:00:00Z",
        ),
        // PostgreSQL writes years before 1 as BC and reads no year 0.
        Some(time) if time < first_time() => errors.add(at, "must not lie before the year 1"),
        Some(_) => {}
    }
}

fn first_time() -> Timestamp {
    Offset::UTC
        .to_timestamp(date(1, 1, 1).at(0, 0, 0, 0))
        .unwrap_or(Timestamp::MIN)
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Self::Text(..) | Self::OneOf(_) | Self::Uuid | Self::Time => "a string",
            Self::Integer(..) | Self::UnitInterval => "a number",
            Self::Boolean => "true or false",
            Self::AnyObject | Self::Object(_) | Self::MapOf(_) => "an object",
            Self::List(_) => "an array",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
