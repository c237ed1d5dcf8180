//! The shape of an object as PostgreSQL itself prints it, and how two shapes differ (D18).
//!
//! `migrations/schema.json` holds each object's shape after every migration that touches it. A shape is a map from part
//! (`column event_id`, `index …`, `grant …`) to PostgreSQL's own text for it, so nothing is compared that the server did not
//! normalise, and a column's position does not count.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tokio_postgres::SimpleQueryRow;

use crate::catalogue::{Catalogue, Migration, Object};
use crate::error::{CatalogueError, Error};
use crate::ledger::text;
use crate::roles::ROLE;
use crate::session::Session;
use crate::sql::literal;

const QUERY: &str = include_str!("shape.sql");
/// Begins the text of the error by which the server tells that a shape differs.
const MARK: &str = "schema drift: ";

/// Parts of one object and PostgreSQL's text for each; empty if the object is not there.
pub(crate) type Shape = BTreeMap<String, String>;
/// Shapes by object, such as `table audit_events`.
pub(crate) type Shapes = BTreeMap<String, Shape>;

/// `schema.json`: by object, then by the migration after which it has that shape.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(BTreeMap<String, BTreeMap<String, Shape>>);

impl History {
    pub(crate) fn parse(json: &str) -> Result<Self, Error> {
        let history = serde_json::from_str(json).map_err(|error| {
            CatalogueError::new(
                "schema.json",
                format!("{error}; make it anew with `cargo xtask gen`"),
            )
        })?;
        Ok(Self(history))
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

impl Catalogue {
    /// Whether any migration must leave a recorded shape.
    pub(crate) fn has_shapes(&self) -> bool {
        !self.history.0.is_empty()
    }

    /// The shapes that `objects` have once the migrations for which `ran` holds did run; objects without a recorded shape are
    /// left out. Grants to the application's role count only where it exists.
    pub(crate) fn expected<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Object>,
        ran: impl Fn(&str) -> bool,
        has_role: bool,
    ) -> Shapes {
        let mut shapes = Shapes::new();
        for object in objects.into_iter().map(ToString::to_string) {
            let Some(after) = self.history.0.get(&object) else {
                continue;
            };
            let latest = self
                .migrations()
                .iter()
                .rev()
                .find(|migration| after.contains_key(&migration.id) && ran(&migration.id));
            let Some(shape) = latest.and_then(|migration| after.get(&migration.id)) else {
                continue;
            };
            let mut shape = shape.clone();
            if !has_role {
                shape.remove(&format!("grant {ROLE}"));
            }
            shapes.insert(object, shape);
        }
        shapes
    }
}

/// Shapes of `objects` as they are in the database.
pub(crate) async fn read(session: &Session, objects: &[String]) -> Result<Shapes, Error> {
    let names: Vec<String> = objects.iter().map(|object| literal(object)).collect();
    let query = QUERY.replace("$1", &format!("ARRAY[{}]", names.join(", ")));
    let sets = session.query("reading the catalogues", &query).await?;
    Ok(from_rows(sets.iter().flatten()))
}

fn from_rows<'a>(rows: impl Iterator<Item = &'a SimpleQueryRow>) -> Shapes {
    let mut shapes = Shapes::new();
    for row in rows {
        shapes
            .entry(text(row, 0))
            .or_default()
            .insert(text(row, 1), text(row, 2));
    }
    shapes
}

/// Prepares [`check`] for a session: planning the look at the catalogues once is most of its cost.
pub(crate) fn prepare() -> String {
    // A cast that cannot succeed is the one way to fail inside a plain SELECT; the text carries what was found.
    format!(
        "PREPARE schema_shape(text[], jsonb) AS WITH part AS ({QUERY}), \
         found AS (SELECT coalesce(jsonb_object_agg(object, parts), '{{}}') AS shapes FROM \
         (SELECT object, jsonb_object_agg(part, shape) AS parts FROM part GROUP BY object) AS by_object) \
         SELECT CASE WHEN shapes = $2 THEN 0 ELSE ('{MARK}' || shapes::text)::integer END FROM found"
    )
}

/// The statement that fails, inside the migration's transaction, unless the objects have these shapes.
pub(crate) fn check(expected: &Shapes) -> String {
    let names: Vec<String> = expected.keys().map(|object| literal(object)).collect();
    let json = serde_json::to_string(expected).unwrap_or_default();
    format!(
        "EXECUTE schema_shape(ARRAY[{}], {})",
        names.join(", "),
        literal(&json)
    )
}

/// What [`check`] found, if `message` is its failure.
pub(crate) fn found(message: &str) -> Option<Shapes> {
    let (_, json) = message.split_once(MARK)?;
    serde_json::Deserializer::from_str(json)
        .into_iter()
        .next()?
        .ok()
}

/// One place in which an object differs from what the migrations make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The object, such as `table audit_events`.
    pub object: String,
    /// The part of it, such as `column event_id`; empty for the whole object.
    pub part: String,
    /// What the migrations make; `None` where they make nothing.
    pub expected: Option<String>,
    /// What is there; `None` where nothing is.
    pub found: Option<String>,
}

/// Every difference, by object and part; none means equal.
pub(crate) fn compare(expected: &Shapes, found: &Shapes) -> Vec<Difference> {
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
    use super::{Shapes, compare, found};

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

    #[test]
    fn what_was_found_is_read_from_the_servers_words() {
        let message = r#"invalid input syntax for type integer: "schema drift: {"table t": {"kind": "table"}}""#;
        assert_eq!(
            found(message),
            Some(shapes(r#"{"table t": {"kind": "table"}}"#))
        );
        assert_eq!(found("division by zero"), None);
    }
}
