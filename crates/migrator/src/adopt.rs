//! Taking over what is in a database already: rows of another source or of goose, files under new names, a schema without a ledger.
//!
//! Nothing here runs a migration; each function changes the ledger only, in one transaction under the migration lock.

use std::sync::Arc;

use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::error::Error;
use crate::foreign::{self, GOOSE_TABLE};
use crate::history;
use crate::made;
use crate::message::Scope;
use crate::migration::{Migration, Object};
use crate::session::{Run, Session};
use crate::shape;
use crate::sql::literal;
use crate::view::Held;

/// Where the rows are that files take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopt {
    /// In this source, under names that the files had before.
    Renamed,
    /// In another source of the ledger: the directory was renamed or moved.
    Source(String),
    /// In goose's table, `goose_db_version` unless it is named.
    Goose(Option<String>),
}

/// What [`adopt`] and [`baseline`] recorded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Adopted {
    /// Migrations that are now recorded as applied, in the catalogue's order.
    pub recorded: Vec<String>,
    /// What was compared, in a sentence.
    pub compared: String,
}

/// Records files as applied that another name, another source or goose has as applied.
///
/// Every row that is taken over must belong to a file: of a source the file with the same content, of goose, which keeps no content,
/// the one file with its number.
///
/// # Errors
/// [`Error::NothingToAdopt`]; [`Error::CannotAdopt`] naming a row that belongs to no file, with nothing changed; otherwise as
/// [`crate::apply`].
pub async fn adopt(config: &Config, from: &Adopt) -> Result<Adopted, Error> {
    under_lock(config, async |held, catalogue| match from {
        Adopt::Renamed => renamed(held, catalogue).await,
        Adopt::Source(other) => other_source(held, catalogue, other).await,
        Adopt::Goose(table) => {
            goose(held, catalogue, table.as_deref().unwrap_or(GOOSE_TABLE)).await
        }
    })
    .await
}

/// Records the selection as applied without running it, for a database that has the schema and no ledger; `last` is the last
/// migration that it has, `None` for all.
///
/// Where shapes are recorded the objects are compared with them first; for other files nothing can be compared.
///
/// # Errors
/// [`Error::Drift`] if an object is missing or has another shape; [`Error::CannotAdopt`] if `last` is no migration of the selection;
/// otherwise as [`crate::apply`].
pub async fn baseline(config: &Config, last: Option<&str>) -> Result<Adopted, Error> {
    let selection = config.selection.clone();
    under_lock(config, async |held, catalogue| {
        let mut selected = catalogue.resolve(&selection)?;
        if let Some(last) = last {
            let end = selected.iter().position(|migration| migration.id == last);
            let end = end.ok_or_else(|| Error::CannotAdopt {
                reason: format!("`{last}` is no migration of what is selected"),
            })?;
            selected.truncate(end + 1);
        }
        let ran = |id: &str| {
            held.ledger.is_applied(id) || selected.iter().any(|migration| migration.id == id)
        };
        let objects: Vec<&Object> = selected
            .iter()
            .flat_map(|migration| &migration.provides)
            .collect();
        let absent = held.session.names().absent_role(held.view.has_role);
        let expected = catalogue.expected(objects, ran, absent);
        let names: Vec<String> = expected.keys().cloned().collect();
        let differences = history::compare(
            &expected,
            &shape::read(&held.session, catalogue, &names).await?,
        );
        if !differences.is_empty() {
            return Err(Error::Drift {
                migration: None,
                differences,
            });
        }
        let compared = if names.is_empty() {
            let there = tables_are_there(held, &selected).await?;
            format!("{there} tables that these files create are there; no shapes are recorded to compare")
        } else {
            format!("{} objects are as the migrations make them", names.len())
        };
        let new: Vec<&Migration> = selected
            .into_iter()
            .filter(|migration| !held.ledger.is_applied(&migration.id))
            .collect();
        record(held, catalogue, &new, &[]).await?;
        Ok(adopted(&new, compared))
    })
    .await
}

async fn under_lock(
    config: &Config,
    work: impl AsyncFnOnce(&Held, &Catalogue) -> Result<Adopted, Error>,
) -> Result<Adopted, Error> {
    Run::bounded(config, |run| async move {
        let catalogue = Arc::clone(&run.config.catalogue);
        let held = Held::open(&run, &catalogue).await?;
        let adopted = work(&held, &catalogue).await?;
        held.release().await?;
        Ok(adopted)
    })
    .await
}

async fn renamed(held: &Held, catalogue: &Catalogue) -> Result<Adopted, Error> {
    let ledger = &held.ledger;
    let gone = ledger
        .applied_last_first()
        .into_iter()
        .filter(|id| catalogue.get(id).is_none())
        .rev();
    let (mut sql, mut new) = (String::new(), Vec::new());
    for id in gone {
        let checksum = &ledger.entries[id].checksum;
        let free = |file: &Migration| !ledger.entries.contains_key(&file.id);
        let file = the_file(catalogue, id, checksum, &new, free)?;
        sql.push_str(&rename(held, catalogue, id, file));
        new.push(file);
    }
    if new.is_empty() {
        let reason = "every applied migration has its file, under its name".to_owned();
        return Err(Error::NothingToAdopt { reason });
    }
    commit(&held.session, &sql).await?;
    Ok(adopted(
        &new,
        format!("{} files have the content that was applied", new.len()),
    ))
}

async fn other_source(held: &Held, catalogue: &Catalogue, other: &str) -> Result<Adopted, Error> {
    let Some(rows) = held.ledger.others.get(other) else {
        let known: Vec<&str> = held.ledger.others.keys().map(String::as_str).collect();
        let reason = format!(
            "the ledger has no source `{other}`; it has {}",
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        );
        return Err(Error::NothingToAdopt { reason });
    };
    if !held.ledger.entries.is_empty() {
        let reason = format!(
            "source `{}` has rows of its own: two sources cannot become one",
            catalogue.source()
        );
        return Err(Error::CannotAdopt { reason });
    }
    let names = held.session.names();
    let mut sql = format!(
        "UPDATE {} SET source = {} WHERE source = {};\n",
        names.ledger(),
        literal(catalogue.source()),
        literal(other)
    );
    let mut new = Vec::new();
    for (id, checksum) in rows {
        let file = the_file(catalogue, id, checksum, &new, |file| {
            !rows.contains_key(&file.id)
        })?;
        if file.id != *id {
            sql.push_str(&rename(held, catalogue, id, file));
        }
        new.push(file);
    }
    commit(&held.session, &sql).await?;
    Ok(adopted(
        &new,
        format!(
            "{} files have the content that was applied as `{other}`",
            new.len()
        ),
    ))
}

async fn goose(held: &Held, catalogue: &Catalogue, table: &str) -> Result<Adopted, Error> {
    let versions = foreign::versions(&held.session, table).await?;
    let applied: Vec<_> = versions
        .iter()
        .filter(|(_, version)| version.applied)
        .collect();
    if applied.is_empty() {
        let reason =
            format!("there is no table `{table}` as goose makes it, or it has no applied version");
        return Err(Error::NothingToAdopt { reason });
    }
    let (mut new, mut since) = (Vec::new(), Vec::new());
    for (number, version) in applied {
        let of_number = catalogue
            .migrations()
            .iter()
            .filter(|file| foreign::number(file) == Some(*number));
        let [file] = of_number.collect::<Vec<_>>()[..] else {
            let reason = format!(
                "goose applied version {number}, and not exactly one of these files has that number"
            );
            return Err(Error::CannotAdopt { reason });
        };
        if !held.ledger.is_applied(&file.id) {
            new.push(file);
            since.push(version.since.clone());
        }
    }
    let there = tables_are_there(held, &new).await?;
    record(held, catalogue, &new, &since).await?;
    let compared = format!(
        "each version of `{table}` has its file, and {there} of their tables are there; goose keeps no content to compare"
    );
    Ok(adopted(&new, compared))
}

/// How many tables the files create, each of which is there.
async fn tables_are_there(held: &Held, files: &[&Migration]) -> Result<usize, Error> {
    let tables = made::tables(files.iter().copied());
    match made::missing(&held.session, &tables).await? {
        None => Ok(tables.len()),
        Some(missing) => Err(Error::CannotAdopt {
            reason: format!(
                "{} creates table {}, which is not there",
                missing.by.first().copied().unwrap_or_default(),
                missing.name
            ),
        }),
    }
}

/// The file that a row belongs to: of the same name and content, else of the same content.
fn the_file<'a>(
    catalogue: &'a Catalogue,
    id: &str,
    checksum: &str,
    taken: &[&Migration],
    free: impl Fn(&Migration) -> bool,
) -> Result<&'a Migration, Error> {
    let same = |file: &&Migration| file.checksum == checksum;
    // Several files may have one content: each row gets a file of its own, in the order of both.
    let left = |file: &&Migration| {
        same(file) && free(file) && taken.iter().all(|taken| taken.id != file.id)
    };
    let by_name = catalogue.get(id).filter(same);
    let found = by_name.or_else(|| catalogue.migrations().iter().find(left));
    found.ok_or_else(|| Error::CannotAdopt {
        reason: format!(
            "'{id}' is applied, and none of these files has the content that was applied"
        ),
    })
}

/// Statements that give an applied migration its file's new name, and those that require it the new name to require.
fn rename(held: &Held, catalogue: &Catalogue, old: &str, file: &Migration) -> String {
    let ledger = held.session.names().ledger();
    let (source, old, new) = (literal(catalogue.source()), literal(old), literal(&file.id));
    format!(
        "UPDATE {ledger} SET id = {new} WHERE source = {source} AND id = {old};\n\
         UPDATE {ledger} SET requires = array_replace(requires, {old}, {new}) WHERE source = {source};\n"
    )
}

/// Records migrations as applied, at the times of `since` where it has them.
async fn record(
    held: &Held,
    catalogue: &Catalogue,
    new: &[&Migration],
    since: &[String],
) -> Result<(), Error> {
    let names = held.session.names();
    let scope = Scope {
        catalogue,
        ledger: &held.ledger,
        names,
        has_role: held.view.has_role,
    };
    let mut sql =
        "SELECT set_config('migrator.started', clock_timestamp()::text, false);\n".to_owned();
    for (index, migration) in new.iter().enumerate() {
        sql.push_str(&scope.row(migration).record());
        sql.push_str(";\n");
        if let Some(since) = since.get(index) {
            let (source, id) = (literal(catalogue.source()), literal(&migration.id));
            let dated = format!(
                "UPDATE {} SET applied_at = {}::timestamp AT TIME ZONE 'UTC' WHERE source = {source} AND id = {id};\n",
                names.ledger(),
                literal(since)
            );
            sql.push_str(&dated);
        }
    }
    commit(&held.session, &sql).await
}

async fn commit(session: &Session, sql: &str) -> Result<(), Error> {
    session
        .query("changing the ledger", &format!("BEGIN;\n{sql}COMMIT"))
        .await
        .map(drop)
}

fn adopted(new: &[&Migration], compared: String) -> Adopted {
    Adopted {
        recorded: new.iter().map(|migration| migration.id.clone()).collect(),
        compared,
    }
}
