//! Which tables a set of files leaves, read from their statements: what can be looked for where no shapes are recorded.

use crate::error::Error;
use crate::migration::Migration;
use crate::rows::text;
use crate::session::Session;
use crate::sql::{self, literal};
use crate::words::Words;

/// A table that a file creates and no later one drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made<'a> {
    /// Its name as written.
    pub(crate) name: String,
    /// The migration that creates it, and those that name it afterwards.
    pub(crate) by: Vec<&'a str>,
}

/// Tables in the order in which they are created. One made by a statement that hides its name (in a function or a DO block, or after
/// the file sets a search path) is left out.
pub(crate) fn tables<'a>(migrations: impl IntoIterator<Item = &'a Migration>) -> Vec<Made<'a>> {
    let mut made: Vec<Made<'a>> = Vec::new();
    for migration in migrations {
        let mut elsewhere = false;
        for statement in sql::statements(&migration.up) {
            let mut words = Words::of(&statement);
            elsewhere |= words.holds("search_path") || words.holds("'search_path'");
            if words.take(&["CREATE", "TABLE"]) || words.take(&["CREATE", "UNLOGGED", "TABLE"]) {
                words.take(&["IF", "NOT", "EXISTS"]);
                let name = words.name().filter(|name| !elsewhere || name.contains('.'));
                if let Some(name) = name.filter(|name| made.iter().all(|table| table.name != *name))
                {
                    let by = vec![migration.id.as_str()];
                    made.push(Made { name, by });
                }
            } else if words.take(&["DROP", "SCHEMA"]) {
                let schemas = words.clone();
                made.retain(|table| {
                    table
                        .name
                        .split_once('.')
                        .is_none_or(|(schema, _)| !schemas.holds(schema))
                });
            } else if words.take(&["DROP", "TABLE"]) || is_moved(&words) {
                made.retain(|table| !words.mentions(&table.name));
            } else {
                for table in made.iter_mut().filter(|table| words.mentions(&table.name)) {
                    if table.by.last() != Some(&migration.id.as_str()) {
                        table.by.push(&migration.id);
                    }
                }
            }
        }
    }
    made
}

/// The first of the tables that is not in the database.
pub(crate) async fn missing<'t, 'a>(
    session: &Session,
    tables: &'t [Made<'a>],
) -> Result<Option<&'t Made<'a>>, Error> {
    let names: Vec<String> = tables.iter().map(|table| literal(&table.name)).collect();
    let sql = format!(
        "SELECT n FROM unnest(ARRAY[{}]::text[]) WITH ORDINALITY AS u(t, n) WHERE to_regclass(t) IS NULL ORDER BY n",
        names.join(", ")
    );
    let sets = session.query("looking for the tables", &sql).await?;
    let row = sets.iter().flatten().next();
    Ok(row.and_then(|row| tables.get(text(row, 0).parse::<usize>().ok()? - 1)))
}

/// Whether the statement gives a table another name or schema.
fn is_moved(words: &Words<'_>) -> bool {
    let mut words = words.clone();
    if !words.take(&["ALTER", "TABLE"]) {
        return false;
    }
    words.take(&["IF", "EXISTS"]);
    words.take(&["ONLY"]);
    words.name().is_some() && (words.take(&["RENAME", "TO"]) || words.take(&["SET", "SCHEMA"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    #[test]
    fn the_tables_that_files_leave_are_those_created_and_not_dropped() {
        let file = |name: &str, text: &str| (name.to_owned(), format!("-- +goose Up\n{text}"));
        let catalogue = Catalogue::from_goose_files(
            "team",
            [
                file("1_a.sql", "CREATE TABLE a (i int); CREATE UNLOGGED TABLE IF NOT EXISTS app.\"B c\" (i int); CREATE TABLE old (i int);"),
                file("2_b.sql", "ALTER TABLE a ADD j int; DROP TABLE old; CREATE TEMP TABLE t (i int);"),
                file("3_c.sql", "SET search_path = x; CREATE TABLE hidden (i int);"),
            ],
        )
        .unwrap();
        let made = tables(catalogue.migrations());
        let made: Vec<(String, Vec<&str>)> = made
            .into_iter()
            .map(|table| (table.name, table.by))
            .collect();
        assert_eq!(
            made,
            [
                ("a".to_owned(), vec!["1_a", "2_b"]),
                ("app.\"B c\"".to_owned(), vec!["1_a"])
            ]
        );
    }
}
