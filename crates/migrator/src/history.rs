//! Shapes of objects as they were recorded, and how two shapes differ.
//!
//! A shape is a map from part (`column event_id`, `index …`, `grant …`) to PostgreSQL's own text for it, so nothing is compared that
//! the server did not normalise, and a column's position does not count.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::migration::Migration;

/// Parts of one object and PostgreSQL's text for each; empty if the object is not there.
pub type Shape = BTreeMap<String, String>;
/// Shapes by object, such as `table orders`.
pub type Shapes = BTreeMap<String, Shape>;

/// `schema.json`: by object, then by the migration after which it has that shape.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(BTreeMap<String, BTreeMap<String, Shape>>);

impl History {
    pub(crate) fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json).map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The shapes of an object by the migration after which it has them.
    pub(crate) fn of(&self, object: &str) -> Option<&BTreeMap<String, Shape>> {
        self.0.get(object)
    }

    pub(crate) fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(&self.0).unwrap_or_default();
        json.push('\n');
        json
    }

    pub(crate) fn insert(&mut self, migration: &Migration, mut shapes: Shapes) {
        for object in &migration.provides {
            let name = object.to_string();
            let shape = shapes.remove(&name).unwrap_or_default();
            self.0
                .entry(name)
                .or_default()
                .insert(migration.id.clone(), shape);
        }
    }

    /// The table that has an index of this name, after any migration.
    pub(crate) fn table_of_index(&self, index: &str) -> Option<&str> {
        let part = format!("index {index}");
        let holder = self
            .0
            .iter()
            .find(|(_, after)| after.values().any(|shape| shape.contains_key(&part)));
        holder.and_then(|(object, _)| object.strip_prefix("table "))
    }
}

/// One place in which an object differs from what the migrations make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The object, such as `table orders`.
    pub object: String,
    /// The part of it, such as `column event_id`; empty for the whole object.
    pub part: String,
    /// What the migrations make; `None` where they make nothing.
    pub expected: Option<String>,
    /// What is there; `None` where nothing is.
    pub found: Option<String>,
}

/// Every difference, by object and part; none means equal.
pub fn compare(expected: &Shapes, found: &Shapes) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (object, want) in expected {
        let Some(have) = found.get(object) else {
            let kind = want
                .get("kind")
                .cloned()
                .unwrap_or_else(|| "a function".to_owned());
            differences.push(Difference {
                object: object.clone(),
                part: String::new(),
                expected: Some(kind),
                found: None,
            });
            continue;
        };
        let parts: std::collections::BTreeSet<&String> = want.keys().chain(have.keys()).collect();
        for part in parts
            .into_iter()
            .filter(|part| want.get(*part) != have.get(*part))
        {
            differences.push(Difference {
                object: object.clone(),
                part: part.clone(),
                expected: want.get(part).cloned(),
                found: have.get(part).cloned(),
            });
        }
    }
    differences
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.object)?;
        if !self.part.is_empty() {
            write!(f, ", {}", self.part)?;
        }
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) => write!(f, ": expected `{expected}`, found `{found}`"),
            (Some(expected), None) => write!(f, ": missing, expected `{expected}`"),
            (None, Some(found)) => write!(f, ": unexpected `{found}`"),
            (None, None) => f.write_str(": differs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Shapes, compare};

    fn shapes(json: &str) -> Shapes {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_comparer_sees_what_is_missing_unexpected_and_other() {
        let expected = shapes(
            r#"{"table t": {"kind": "table", "column a": "integer", "index i": "…(a)"}, "table u": {"kind": "table"}}"#,
        );
        let actual =
            shapes(r#"{"table t": {"kind": "table", "column a": "bigint", "column b": "text"}}"#);
        let lines: Vec<String> = compare(&expected, &actual)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "table t, column a: expected `integer`, found `bigint`",
                "table t, column b: unexpected `text`",
                "table t, index i: missing, expected `…(a)`",
                "table u: missing, expected `table`",
            ]
        );
        assert_eq!(compare(&expected, &expected), []);
    }
}
