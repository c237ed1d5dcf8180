//! Where a setting comes from: the environment, else the file, else a default. Notes every fault instead of stopping at the first.

use std::collections::BTreeMap;
use std::time::Duration;

use datastorage_api::time::parse_duration;
use serde_json::Value;

/// The settings as they stand, before anything is checked.
pub(super) struct Source<'a> {
    pub(super) file: &'a Value,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) faults: Vec<String>,
}

impl Source<'_> {
    /// The setting as text; an empty one in the file counts as absent.
    pub(super) fn text(&self, section: &str, field: &str) -> Option<String> {
        if let Some(value) = self.environment.get(&variable(section, field)) {
            return Some(value.clone());
        }
        match self.file.get(section)?.get(field)? {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, section: &str, field: &str) -> String {
        let text = self.text(section, field).filter(|text| !text.is_empty());
        text.unwrap_or_else(|| {
            self.fault(section, field, "is required");
            String::new()
        })
    }

    /// A number within bounds.
    pub(super) fn number(
        &mut self,
        section: &str,
        field: &str,
        default: u64,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        let Some(text) = self.text(section, field) else {
            return default;
        };
        match text.parse() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                self.fault(
                    section,
                    field,
                    &format!(
                        "must be a whole number from {} to {}, is {text:?}",
                        bounds.start(),
                        bounds.end()
                    ),
                );
                default
            }
        }
    }

    /// A duration such as `30s`, positive.
    pub(super) fn duration(&mut self, section: &str, field: &str, default: Duration) -> Duration {
        let Some(text) = self.text(section, field) else {
            return default;
        };
        let duration = parse_duration(&text).and_then(|parsed| Duration::try_from(parsed).ok());
        duration.unwrap_or_else(|| {
            self.fault(
                section,
                field,
                &format!("must be a duration such as 30s, is {text:?}"),
            );
            default
        })
    }

    /// One of a few words; the first is the default.
    pub(super) fn word<T: Copy>(&mut self, section: &str, field: &str, words: &[(&str, T)]) -> T {
        let Some(text) = self.text(section, field) else {
            return words[0].1;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        self.fault(
            section,
            field,
            &format!("must be one of {}, is {text:?}", names.join(", ")),
        );
        words[0].1
    }

    pub(super) fn fault(&mut self, section: &str, field: &str, what: &str) {
        self.faults.push(format!(
            "{section}.{field} ({}) {what}",
            variable(section, field)
        ));
    }
}

/// `DATASTORAGE_<SECTION>_<FIELD>`; a field in camel case gets underscores.
pub(super) fn variable(section: &str, field: &str) -> String {
    let mut name = format!("DATASTORAGE_{}_", section.to_ascii_uppercase());
    for c in field.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}
