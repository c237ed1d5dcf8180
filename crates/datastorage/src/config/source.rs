//! Where a setting comes from: the environment, else the file, else a default. Notes every fault instead of stopping at the first.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datastorage_api::time::parse_duration;
use serde_json::Value;

/// The settings as they stand, before anything is checked.
pub(super) struct Source<'a> {
    pub(super) file: &'a Value,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) faults: Vec<String>,
    /// Every section and field that was looked for: what else is given nobody reads.
    pub(super) known: RefCell<BTreeSet<(String, String)>>,
}

/// The longest duration that is of any use.
const LONGEST: Duration = Duration::from_hours(24);

/// Variables that this server or Kubernetes (for a Service of this name) sets beside the settings.
const OTHER_VARIABLES: [&str; 7] = [
    // Of clients, whose environment a server may share.
    "DATASTORAGE_TOKEN_FILE",
    "DATASTORAGE_CA_FILE",
    "DATASTORAGE_CLIENT_",
    "DATASTORAGE_DATABASE_PASSWORD",
    "DATASTORAGE_ADDRESS_FILE",
    "DATASTORAGE_SERVICE_",
    "DATASTORAGE_PORT",
];

/// Sections and fields of the existing service's file that mean nothing here; without a field the whole section.
pub(super) const IGNORED: [(&str, &str); 6] = [
    ("redis", ""),
    ("service", ""),
    ("server", "metricsPort"),
    ("database", "max_idle_conns"),
    ("database", "conn_max_lifetime"),
    ("database", "conn_max_idle_time"),
];

impl Source<'_> {
    /// What is given in the file or by a `DATASTORAGE_` variable and was never looked for, each with the nearest that is known.
    pub(super) fn unknown(&self) -> Vec<String> {
        let known = self.known.borrow();
        let names: Vec<_> = known.iter().map(|(a, b)| format!("{a}.{b}")).collect();
        let variables: Vec<_> = known.iter().map(|(a, b)| variable(a, b)).collect();
        let sections: BTreeSet<_> = known.iter().map(|(a, _)| a.clone()).collect();
        let mut found = Vec::new();
        for (section, fields) in self.file.as_object().into_iter().flatten() {
            if IGNORED.contains(&(section.as_str(), "")) {
                continue;
            }
            if !sections.contains(section) {
                found.push(with_nearest(section, sections.iter().map(String::as_str)));
                continue;
            }
            for field in fields
                .as_object()
                .into_iter()
                .flatten()
                .map(|(field, _)| field)
            {
                let name = format!("{section}.{field}");
                if !names.contains(&name) && !IGNORED.contains(&(section.as_str(), field.as_str()))
                {
                    found.push(with_nearest(&name, names.iter().map(String::as_str)));
                }
            }
        }
        for name in self.environment.keys() {
            let other = OTHER_VARIABLES.iter().any(|other| name.starts_with(other));
            if name.starts_with("DATASTORAGE_") && !other && !variables.contains(name) {
                found.push(with_nearest(name, variables.iter().map(String::as_str)));
            }
        }
        found
    }

    /// The setting as text; an empty one counts as absent.
    pub(super) fn text(&self, section: &str, field: &str) -> Option<String> {
        let name = (section.to_owned(), field.to_owned());
        self.known.borrow_mut().insert(name);
        if let Some(value) = self.environment.get(&variable(section, field))
            && !value.is_empty()
        {
            return Some(value.clone());
        }
        match self.file.get(section)?.get(field)? {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// Notes a fault for each known section that is no map, and each known setting that is a list or a map: it would count as absent.
    pub(super) fn check_shapes(&mut self) {
        let known = self.known.take();
        let mut sections: Vec<&str> = known.iter().map(|(section, _)| section.as_str()).collect();
        sections.dedup();
        for section in sections {
            let given = self.file.get(section);
            if given.is_some_and(|given| !given.is_object() && !given.is_null()) {
                self.faults
                    .push(format!("{section} must be a map of settings"));
            }
        }
        for (section, field) in &known {
            let given = self.file.get(section).and_then(|given| given.get(field));
            if given.is_some_and(|given| given.is_array() || given.is_object()) {
                self.fault(section, field, "must be a single value, and no list or map");
            }
        }
        self.known = RefCell::new(known);
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

    /// A duration such as `30s`, from `least` to a day.
    pub(super) fn duration(
        &mut self,
        section: &str,
        field: &str,
        default: Duration,
        least: Duration,
    ) -> Duration {
        let Some(text) = self.text(section, field) else {
            return default;
        };
        let duration = parse_duration(&text).and_then(|parsed| Duration::try_from(parsed).ok());
        let duration = duration.filter(|duration| (least..=LONGEST).contains(duration));
        duration.unwrap_or_else(|| {
            self.fault(
                section,
                field,
                &format!("must be a duration such as 30s, from {least:?} to 24h, is {text:?}"),
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

fn with_nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.min_by_key(|known| strsim::levenshtein(name, known));
    nearest.map_or_else(
        || name.to_owned(),
        |nearest| format!("{name} (nearest known: {nearest})"),
    )
}
