//! What a Down takes from tables, read from its statements and counted in the database before anything runs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::error::Error;
use crate::migration::{Migration, ObjectKind};
use crate::rows::text;
use crate::session::Session;
use crate::sql::{self, literal};
use crate::words::Words;

/// How long the rows of one table are counted before the server's estimate is taken.
const COUNTING: &str = "1s";

/// What one table loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Its name, with its schema unless the search path has it.
    pub table: String,
    /// What happens to it.
    pub what: LossKind,
    /// Rows in it now.
    pub rows: u64,
    /// Whether `rows` is the server's estimate.
    pub estimated: bool,
}

/// What happens to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// A statement that cannot be read from outside may change it, or drop partitions of it.
    Changed,
    /// Rows or columns of it are removed.
    Reduced,
    /// It is dropped.
    Dropped,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            LossKind::Changed => "may change",
            LossKind::Reduced => "takes rows or columns from",
            LossKind::Dropped => "drops",
        };
        let about = if self.estimated { "about " } else { "" };
        write!(f, "{what} table {} ({about}{} rows)", self.table, self.rows)
    }
}

/// What scripts take, each with its migration: by table, in the order of the scripts.
pub(crate) async fn losses(
    session: &Session,
    scripts: &[(&Migration, &str)],
) -> Result<Vec<Loss>, Error> {
    let mut named: Vec<(String, LossKind)> = Vec::new();
    for (migration, script) in scripts {
        let provided = migration
            .provides
            .iter()
            .filter(|object| object.kind == ObjectKind::Table);
        named.extend(taken(script));
        named.extend(provided.map(|object| (sql::identifier(&object.name), LossKind::Changed)));
    }
    let mut tables: BTreeMap<String, Loss> = BTreeMap::new();
    let mut order = Vec::new();
    for (name, what) in named {
        let Some(found) = count(session, &name, what).await? else {
            continue;
        };
        let known = tables.entry(found.table.clone()).or_insert_with(|| {
            order.push(found.table.clone());
            found
        });
        known.what = known.what.max(what);
    }
    Ok(order
        .into_iter()
        .filter_map(|table| tables.remove(&table))
        .collect())
}

/// Tables that the statements of a text drop or take from, as written.
fn taken(script: &str) -> Vec<(String, LossKind)> {
    let mut taken = Vec::new();
    for statement in sql::statements(script) {
        let mut words = Words::of(&statement);
        let (names, what) =
            if words.take(&["DROP", "TABLE"]) || words.take(&["DROP", "MATERIALIZED", "VIEW"]) {
                words.take(&["IF", "EXISTS"]);
                (words.names(), LossKind::Dropped)
            } else if words.take(&["TRUNCATE"]) {
                words.take(&["TABLE"]);
                words.take(&["ONLY"]);
                (words.names(), LossKind::Reduced)
            } else if words.take(&["DELETE", "FROM"]) {
                words.take(&["ONLY"]);
                (words.name().into_iter().collect(), LossKind::Reduced)
            } else if words.take(&["ALTER", "TABLE"]) && words.holds("DROP") {
                words.take(&["IF", "EXISTS"]);
                words.take(&["ONLY"]);
                (words.name().into_iter().collect(), LossKind::Reduced)
            } else {
                continue;
            };
        taken.extend(names.into_iter().map(|name| (name, what)));
    }
    taken
}

/// The table of that name with its rows; partitions are counted with what they are a part of.
async fn count(session: &Session, name: &str, what: LossKind) -> Result<Option<Loss>, Error> {
    let find = format!(
        "SELECT c.oid::regclass, greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.oid = to_regclass({}) \
         AND c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition",
        literal(name)
    );
    let found = session.query("looking for the tables", &find).await?;
    let Some(row) = found.iter().flatten().next() else {
        return Ok(None);
    };
    let (table, estimate) = (text(row, 0), text(row, 1));
    let count = format!(
        "BEGIN; SET LOCAL statement_timeout = '{COUNTING}'; SELECT count(*) FROM {table}; COMMIT"
    );
    let counted = match session.try_query(&count).await {
        Ok(sets) => sets.iter().flatten().next().map(|row| text(row, 0)),
        Err(error) if error.as_db_error().is_some() => {
            session.query("counting rows", "ROLLBACK").await?;
            None
        }
        Err(error) => return Err(session.explain(&error, "counting rows")),
    };
    let estimated = counted.is_none();
    let rows = counted.unwrap_or(estimate).parse().unwrap_or(0);
    Ok(Some(Loss {
        table,
        what,
        rows,
        estimated,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_down_takes_is_read_from_its_statements() {
        let script = "DROP TABLE IF EXISTS a, app.\"B c\" CASCADE; ALTER TABLE ONLY d DROP COLUMN x; TRUNCATE e; DELETE FROM f WHERE true; DROP INDEX i";
        let taken: Vec<String> = taken(script)
            .into_iter()
            .map(|(name, what)| format!("{what:?} {name}"))
            .collect();
        assert_eq!(
            taken,
            [
                "Dropped a",
                "Dropped app.\"B c\"",
                "Reduced d",
                "Reduced e",
                "Reduced f"
            ]
        );
    }
}
