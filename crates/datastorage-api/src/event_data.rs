//! `event_data`: any JSON object that PostgreSQL's jsonb can hold, kept as the text it came in.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::limits;

/// A JSON object that jsonb can hold: depth and numbers within bounds, no U+0000, no lone surrogate.
///
/// It keeps the text, so that numbers beyond 64 bits stay exact and storing costs no tree.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct EventData(Box<RawValue>);

/// Why a value cannot be an `event_data`; reads after the field's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventDataError {
    /// Not a JSON object.
    NotAnObject,
    /// Not JSON at all, or a value that does not serialise.
    NotJson,
    /// More than [`limits::EVENT_DATA_DEPTH`] levels.
    TooDeep,
    /// U+0000 in a key or a string.
    Nul,
    /// Half of a surrogate pair in a key or a string.
    LoneSurrogate,
    /// A number of more than [`limits::NUMBER_DIGITS`] digits.
    NumberTooLong,
    /// A number beyond those of a double, or whose exponent is not within [`limits::NUMBER_EXPONENT`].
    Exponent,
    /// Exponents that stand for more than [`limits::EXPANSION`] digits.
    NumbersTooLong,
}

impl fmt::Display for EventDataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("must be an object"),
            Self::NotJson => f.write_str("must be JSON"),
            Self::TooDeep => write!(f, "must nest at most {} levels", limits::EVENT_DATA_DEPTH),
            Self::Nul => f.write_str("must not hold U+0000"),
            Self::LoneSurrogate => f.write_str("must not hold half a surrogate pair"),
            Self::NumberTooLong => write!(
                f,
                "must not hold a number of more than {} digits",
                limits::NUMBER_DIGITS
            ),
            Self::Exponent => {
                let (least, most) = limits::NUMBER_EXPONENT;
                write!(
                    f,
                    "must not hold a number beyond 1.8e308, or whose exponent is not from {least} to {most}"
                )
            }
            Self::NumbersTooLong => write!(
                f,
                "must not hold exponents that stand for more than {} digits in all",
                limits::EXPANSION
            ),
        }
    }
}

impl std::error::Error for EventDataError {}

impl EventData {
    /// The empty object.
    pub fn empty() -> Self {
        Self(RawValue::from_string("{}".to_owned()).unwrap_or_default())
    }

    /// Serialises `value`, which must become an object.
    pub fn new(value: &impl Serialize) -> Result<Self, EventDataError> {
        Self::from_raw(to_raw_value(value).map_err(|_| EventDataError::NotJson)?)
    }

    /// Takes over a JSON value that must be an object.
    pub fn from_raw(raw: Box<RawValue>) -> Result<Self, EventDataError> {
        check_jsonb(raw.get())?;
        Ok(Self(raw))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The JSON value, unparsed.
    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }

    /// Reads the object as `T`.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.as_str())
    }
}

impl Default for EventData {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for EventData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for EventData {
    /// Equal text; another order of keys is another value.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<'de> Deserialize<'de> for EventData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw(raw).map_err(serde::de::Error::custom)
    }
}

/// Whether `json`, known to be well-formed, is an object that jsonb can hold and that can be read again. Walks it once.
pub(crate) fn check_jsonb(json: &str) -> Result<(), EventDataError> {
    let bytes = json.trim_ascii_start().as_bytes();
    if bytes.first() != Some(&b'{') {
        return Err(EventDataError::NotAnObject);
    }
    let mut depth = 0;
    let mut expansion = limits::EXPANSION;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limits::EVENT_DATA_DEPTH {
                    return Err(EventDataError::TooDeep);
                }
                at += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            b'"' => at = check_string(bytes, at + 1)?,
            b'-' | b'0'..=b'9' => at = check_number(bytes, at, &mut expansion)?,
            _ => at += 1,
        }
    }
    Ok(())
}

/// Checks the string whose text starts at `at`; returns the position after its closing quote.
fn check_string(bytes: &[u8], mut at: usize) -> Result<usize, EventDataError> {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' if bytes.get(at + 1) == Some(&b'u') => match unit(bytes, at) {
                Some(0) => return Err(EventDataError::Nul),
                Some(0xd800..=0xdbff) if matches!(unit(bytes, at + 6), Some(0xdc00..=0xdfff)) => {
                    at += 12;
                }
                Some(0xd800..=0xdfff) => return Err(EventDataError::LoneSurrogate),
                _ => at += 6,
            },
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Ok(at)
}

/// The UTF-16 unit that a `\uXXXX` at `at` writes.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let escape = bytes.get(at..at + 6)?;
    let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

/// Checks the number that starts at `at`; returns the position after it. jsonb writes a number out in full, so what its exponent
/// stands for comes off `expansion`.
fn check_number(bytes: &[u8], at: usize, expansion: &mut i64) -> Result<usize, EventDataError> {
    let length = bytes[at..]
        .iter()
        .take_while(|byte| matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9'))
        .count();
    let number = &bytes[at..at + length];
    let exponent_at = number.iter().position(|byte| matches!(byte, b'e' | b'E'));
    if exponent_at.unwrap_or(length) > limits::NUMBER_DIGITS {
        return Err(EventDataError::NumberTooLong);
    }
    let exponent = match exponent_at {
        // One that does not fit 64 bits is out of bounds with certainty.
        Some(e) => std::str::from_utf8(&number[e + 1..])
            .ok()
            .and_then(|digits| digits.parse::<i64>().ok())
            .ok_or(EventDataError::Exponent)?,
        None => 0,
    };
    let (least, most) = limits::NUMBER_EXPONENT;
    if !(least..=most).contains(&exponent) {
        return Err(EventDataError::Exponent);
    }
    // What a reader that knows doubles only could not take. Few numbers are long enough to be looked at.
    let digits = number
        .iter()
        .take_while(|byte| !matches!(byte, b'.' | b'e' | b'E'));
    if i64::try_from(digits.count()).unwrap_or(most) + exponent > most {
        let text = std::str::from_utf8(number).ok();
        let double = text.and_then(|text| text.parse::<f64>().ok());
        if double.is_none_or(f64::is_infinite) {
            return Err(EventDataError::Exponent);
        }
    }
    *expansion -= exponent.abs();
    if *expansion < 0 {
        return Err(EventDataError::NumbersTooLong);
    }
    Ok(at + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<EventData, EventDataError> {
        EventData::from_raw(RawValue::from_string(json.to_owned()).expect("well-formed JSON"))
    }

    #[test]
    fn an_object_keeps_its_text() {
        let json = r#" {"big": 123456789012345678901234567890, "text": "\ud83d\ude00 \\u0000", "list": [1.50, -2e10, 5e-324, 1.7976931348623157E+308, 17976.9e304, 0.5e-323, 1000e305, null]}"#;
        assert_eq!(parsed(json).expect("an object").as_str(), json.trim_start());
    }

    #[test]
    fn what_jsonb_cannot_hold_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
        let bomb = format!("{{\"a\":[{}1]}}", "1e308,".repeat(3300));
        let huge = format!("{{\"a\":{}}}", "9".repeat(309));
        let long = format!("{{\"a\":0.{}1}}", "0".repeat(20_000));
        for (json, expected) in [
            ("[]", EventDataError::NotAnObject),
            ("\"text\"", EventDataError::NotAnObject),
            (r#"{"a":"\u0000"}"#, EventDataError::Nul),
            (r#"{"\u0000":1}"#, EventDataError::Nul),
            (r#"{"a":"\ud83d"}"#, EventDataError::LoneSurrogate),
            (r#"{"a":"\ude00\ud83d"}"#, EventDataError::LoneSurrogate),
            (r#"{"a":"\ud83d\u0041"}"#, EventDataError::LoneSurrogate),
            (r#"{"a":1e999}"#, EventDataError::Exponent),
            (r#"{"a":0e309}"#, EventDataError::Exponent),
            (r#"{"a":1.8e308}"#, EventDataError::Exponent),
            (r#"{"a":-18000e304}"#, EventDataError::Exponent),
            (&huge, EventDataError::Exponent),
            (r#"{"a":1e-325}"#, EventDataError::Exponent),
            (
                r#"{"a":[1e-99999999999999999999]}"#,
                EventDataError::Exponent,
            ),
            (&long, EventDataError::NumberTooLong),
            (&deep, EventDataError::TooDeep),
            (&bomb, EventDataError::NumbersTooLong),
        ] {
            assert_eq!(parsed(json).err(), Some(expected), "{json}");
        }
    }
}
