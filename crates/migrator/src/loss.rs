//! What Downs take from tables: tried in a transaction that is rolled back, else read from their statements.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tokio_postgres::SimpleQueryRow;

use crate::error::{Error, chain};
use crate::rows::text;
use crate::session::Session;
use crate::sql::{self, literal};
use crate::words::Words;

/// How long the rows of one table are counted before the server's estimate is taken.
const COUNTING: &str = "1s";
/// How long the trial waits for a lock that somebody else holds.
const LOCKS: &str = "2s";

/// What one table loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Its name, with its schema unless the search path has it.
    pub table: String,
    /// What happens to it.
    pub what: LossKind,
    /// Rows that are concerned: all that it has, or those that are deleted or changed.
    pub rows: u64,
    /// Whether `rows` is the server's estimate.
    pub estimated: bool,
}

/// What happens to a table, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Rows of it are deleted or changed.
    Rows,
    /// Columns of it are dropped.
    Columns,
    /// It is emptied, or written anew with other contents.
    Emptied,
    /// It is dropped.
    Dropped,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            LossKind::Rows => "deletes or changes rows of",
            LossKind::Columns => "drops columns of",
            LossKind::Emptied => "empties or rewrites",
            LossKind::Dropped => "drops",
        };
        let about = if self.estimated { "about " } else { "" };
        write!(f, "{what} table {} ({about}{} rows)", self.table, self.rows)
    }
}

/// What scripts take, by table, and why that may not be all, if so.
///
/// Trying them takes their locks for a moment; what they wait for is bounded, and nothing stays.
pub(crate) async fn losses(
    session: &Session,
    scripts: &[&str],
) -> Result<(Vec<Loss>, Option<String>), Error> {
    let statements = scripts.iter().flat_map(|script| sql::statements(script));
    let mut untried = statements.filter(|statement| {
        statement.refuses_transaction()
            || statement.controls_transaction()
            || statement.rows.is_some()
    });
    let reason = match untried.next() {
        Some(statement) => format!(
            "`{}` cannot be tried in a transaction",
            first_words(statement.text)
        ),
        None => match trial(session, scripts).await? {
            Ok(losses) => return Ok((losses, None)),
            Err(reason) => reason,
        },
    };
    let mut found: BTreeMap<String, Loss> = BTreeMap::new();
    for (name, what) in scripts.iter().flat_map(|script| taken(script)) {
        if let Some(loss) = count(session, &name, what).await? {
            let known = found.entry(loss.table.clone()).or_insert(loss);
            known.what = known.what.max(what);
        }
    }
    let note =
        format!("what is lost was read from the statements alone, which may hide more: {reason}");
    Ok((found.into_values().collect(), Some(note)))
}

fn first_words(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(4).collect();
    words.join(" ")
}

/// A table as the catalogue has it.
struct Table {
    name: String,
    file: String,
    columns: Vec<String>,
    parent: Option<String>,
}

/// Every table of somebody's, by its OID.
const TABLES: &str = "SELECT c.oid, c.oid::regclass, c.relfilenode, \
(SELECT to_json(array_agg(a.attname)) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
(SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid LIMIT 1) \
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";
/// Rows that the transaction deleted or changed, by table.
const CHANGED: &str = "SELECT relid, n_tup_upd + n_tup_del FROM pg_stat_xact_all_tables WHERE n_tup_upd + n_tup_del > 0";

/// Runs the scripts, compares the tables, and rolls back; the server's refusal if there is one.
async fn trial(session: &Session, scripts: &[&str]) -> Result<Result<Vec<Loss>, String>, Error> {
    const STAGE: &str = "trying what is to be reverted";
    let before = session.query(STAGE, TABLES).await?;
    let begin = format!("BEGIN; SET LOCAL lock_timeout = '{LOCKS}'");
    session.query(STAGE, &begin).await?;
    for script in scripts {
        if let Err(error) = session.try_query(script).await {
            if error.as_db_error().is_none() {
                return Err(session.explain(&error, STAGE));
            }
            session.query(STAGE, "ROLLBACK").await?;
            return Ok(Err(chain(&error)));
        }
    }
    let after = session.query(STAGE, TABLES).await?;
    let changed = session.query(STAGE, CHANGED).await?;
    session.query(STAGE, "ROLLBACK").await?;
    let (before, after) = (tables(&before), tables(&after));
    let changed: BTreeMap<String, u64> = changed
        .iter()
        .flatten()
        .map(|row| (text(row, 0), text(row, 1).parse().unwrap_or(0)))
        .collect();
    let mut losses = Vec::new();
    for (oid, table) in &before {
        // A partition goes with its table, whose rows are counted with it.
        let with_parent =
            |parent: &String| before.contains_key(parent) && !after.contains_key(parent);
        let what = match after.get(oid) {
            None if table.parent.as_ref().is_some_and(with_parent) => continue,
            None => LossKind::Dropped,
            Some(now)
                if table
                    .columns
                    .iter()
                    .any(|column| !now.columns.contains(column)) =>
            {
                LossKind::Columns
            }
            Some(now) if now.file != table.file => LossKind::Emptied,
            Some(_) => match changed.get(oid) {
                Some(rows) => {
                    losses.push(Loss {
                        table: table.name.clone(),
                        what: LossKind::Rows,
                        rows: *rows,
                        estimated: false,
                    });
                    continue;
                }
                None => continue,
            },
        };
        losses.extend(count(session, &table.name, what).await?);
    }
    Ok(Ok(losses))
}

fn tables(sets: &[Vec<SimpleQueryRow>]) -> BTreeMap<String, Table> {
    let table = |row: &SimpleQueryRow| Table {
        name: text(row, 1),
        file: text(row, 2),
        columns: row
            .get(3)
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default(),
        parent: row.get(4).map(str::to_owned),
    };
    sets.iter()
        .flatten()
        .map(|row| (text(row, 0), table(row)))
        .collect()
}

/// Tables that the statements of a text drop or take from, as written.
fn taken(script: &str) -> Vec<(String, LossKind)> {
    let mut taken = Vec::new();
    for statement in sql::statements(script) {
        let mut words = Words::of(&statement);
        let (names, what) = if words.take(&["DROP", "TABLE"])
            || words.take(&["DROP", "FOREIGN", "TABLE"])
            || words.take(&["DROP", "MATERIALIZED", "VIEW"])
        {
            words.take(&["IF", "EXISTS"]);
            (words.names(), LossKind::Dropped)
        } else if words.take(&["TRUNCATE"]) {
            words.take(&["TABLE"]);
            words.take(&["ONLY"]);
            (words.names(), LossKind::Emptied)
        } else if words.take(&["DELETE", "FROM"]) {
            words.take(&["ONLY"]);
            (words.name().into_iter().collect(), LossKind::Rows)
        } else if words.take(&["ALTER", "TABLE"]) && words.holds("DROP") {
            words.take(&["IF", "EXISTS"]);
            words.take(&["ONLY"]);
            (words.name().into_iter().collect(), LossKind::Columns)
        } else {
            continue;
        };
        taken.extend(names.into_iter().map(|name| (name, what)));
    }
    taken
}

/// The table of that name with its rows.
async fn count(session: &Session, name: &str, what: LossKind) -> Result<Option<Loss>, Error> {
    let find = format!(
        "SELECT c.oid::regclass, greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.oid = to_regclass({}) \
         AND c.relkind IN ('r', 'p', 'm', 'f')",
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
                "Columns d",
                "Emptied e",
                "Rows f"
            ]
        );
    }
}
