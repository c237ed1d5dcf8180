//! What the members of a JSON object may be, as tables that say the same as the OpenAPI document, and a check against them.
//!
//! The check names every violation by its path. A body that passes can be read by serde and stored by PostgreSQL: no U+0000,
//! lengths in characters as the columns count them, times within timestamptz, free objects that jsonb can hold. It reads the text
//! once and builds nothing of it, so that a body costs its own length and no more, whatever it holds.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::event_data::check_jsonb;
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
    let mut errors = FieldErrors::default();
    let members = Members {
        errors: &mut errors,
        path: "",
        rules,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = json.deserialize_map(members).and_then(|()| json.end());
    read.map_err(|error| {
        SubmissionError::Body(match error.classify() {
            Category::Data => "the body must be an object".to_owned(),
            _ => format!("the body is not JSON: {error}"),
        })
    })?;
    if !errors.is_empty() {
        return Err(SubmissionError::Fields {
            first: None,
            errors,
        });
    }
    // What is left to fail is a member given twice.
    serde_json::from_slice(body).map_err(|error| SubmissionError::Body(error.to_string()))
}

/// Checks the members of an object as they are read.
struct Members<'a> {
    errors: &'a mut FieldErrors,
    path: &'a str,
    rules: &'a [Rule],
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self {
            errors,
            path,
            rules,
        } = self;
        let mut given = vec![false; rules.len()];
        while let Some(found) = map.next_key_seed(Name(rules))? {
            let Some(at) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            given[at] = true;
            let rule = &rules[at];
            map.next_value_seed(Checked {
                errors,
                at: &join(path, rule.name),
                kind: rule.kind,
                nullable: rule.presence == Presence::Nullable,
            })?;
        }
        for (rule, _) in rules.iter().zip(given).filter(|(_, given)| !given) {
            if rule.presence == Presence::Required {
                errors.add(&join(path, rule.name), "is required");
            }
        }
        Ok(())
    }
}

/// Finds the rule of a member by its name.
struct Name<'a>(&'a [Rule]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<usize>, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|rule| rule.name == name))
    }
}

/// Checks a value as it is read.
struct Checked<'a> {
    errors: &'a mut FieldErrors,
    at: &'a str,
    kind: Kind,
    nullable: bool,
}

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if !matches!(self.kind, Kind::AnyObject) {
            return json.deserialize_any(self);
        }
        let raw = <&RawValue>::deserialize(json)?.get();
        if !(self.nullable && raw == "null")
            && let Err(error) = check_jsonb(raw)
        {
            self.errors.add(self.at, error);
        }
        Ok(())
    }
}

impl Checked<'_> {
    fn another_type(self) {
        self.errors
            .add(self.at, format_args!("must be {}", self.kind.noun()));
    }

    fn number(self, integer: Option<i64>, number: f64) {
        match self.kind {
            Kind::Integer(least, most) => {
                let within = |number: i64| (i64::from(least)..=i64::from(most)).contains(&number);
                if !integer.is_some_and(within) {
                    self.errors.add(
                        self.at,
                        format_args!("must be a whole number from {least} to {most}"),
                    );
                }
            }
            Kind::UnitInterval => {
                if !(0.0..=1.0).contains(&number) {
                    self.errors.add(self.at, "must be a number from 0 to 1");
                }
            }
            _ => self.another_type(),
        }
    }
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.noun())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        if !self.nullable {
            self.another_type();
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        if !matches!(self.kind, Kind::Boolean) {
            self.another_type();
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "compared with 0 and 1")]
    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(Some(number), number as f64);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "compared with 0 and 1")]
    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.number(i64::try_from(number).ok(), number as f64);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.number(None, number);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let Self { errors, at, .. } = self;
        match self.kind {
            Kind::Text(least, most) => {
                if text.chars().take(least).count() < least {
                    errors.add(at, too_short(least));
                }
                check_text(errors, at, text, most);
            }
            Kind::OneOf(words) if !words.contains(&text) => {
                errors.add(at, format_args!("must be one of {}", words.join(", ")));
            }
            Kind::Uuid if crate::field::parse_uuid(text).is_none() => {
                errors.add(at, "must be a UUID");
            }
            Kind::Time => check_time(errors, at, text),
            Kind::OneOf(_) | Kind::Uuid => {}
            kind => errors.add(at, format_args!("must be {}", kind.noun())),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Kind::List(kind) = self.kind else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            self.another_type();
            return Ok(());
        };
        let mut index = 0;
        while items
            .next_element_seed(Checked {
                errors: self.errors,
                at: &format!("{}[{index}]", self.at),
                kind: *kind,
                nullable: false,
            })?
            .is_some()
        {
            index += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.kind {
            Kind::Object(rules) => Members {
                errors: self.errors,
                path: self.at,
                rules,
            }
            .visit_map(map),
            Kind::MapOf(kind) => {
                while let Some(name) = map.next_key::<String>()? {
                    if name.contains('\0') {
                        self.errors.add(self.at, "must not hold U+0000");
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    map.next_value_seed(Checked {
                        errors: self.errors,
                        at: &join(self.at, &name),
                        kind: *kind,
                        nullable: false,
                    })?;
                }
                Ok(())
            }
            _ => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                self.another_type();
                Ok(())
            }
        }
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
        Some(time) if time < time::FIRST => errors.add(at, "must not lie before the year 1"),
        Some(_) => {}
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
