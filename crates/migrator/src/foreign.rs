//! Signs that a team's files are in the database already, under another name or by another tool.

use std::collections::BTreeMap;

use tokio_postgres::SimpleQueryRow;

use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::ledger::GOOSE_TABLES;
use crate::migration::Migration;
use crate::rows::text;
use crate::session::Session;
use crate::sql::literal;
use crate::view::View;

/// goose's own table, unless it was told another.
pub(crate) const GOOSE_TABLE: &str = "goose_db_version";

/// What goose says of one version: whether it is applied, and since when.
pub(crate) struct Version {
    pub(crate) applied: bool,
    pub(crate) since: String,
}

/// Refuses files without a row of their source in the ledger where another source or goose's own table holds what they are.
///
/// # Errors
/// [`Error::OtherSource`] and [`Error::GooseDatabase`].
pub(crate) async fn refuse(
    session: &Session,
    catalogue: &Catalogue,
    view: &View,
) -> Result<(), Error> {
    if !catalogue.goose || !view.ledger.entries.is_empty() {
        return Ok(());
    }
    for (other, rows) in &view.ledger.others {
        let is_ours = |checksum: &&String| {
            let mut files = catalogue.migrations().iter();
            files.any(|file| file.checksum == **checksum)
        };
        let same = rows.values().filter(is_ours).count();
        if same > 0 {
            return Err(Error::OtherSource {
                source_name: catalogue.source().to_owned(),
                other: other.clone(),
                rows: rows.len(),
                same,
            });
        }
    }
    if !view.has_ledger && !view.has_goose {
        return Ok(());
    }
    for table in tables(session).await? {
        let versions = versions(session, &table).await?;
        let applied = |migration: &&Migration| {
            let version = number(migration).and_then(|number| versions.get(&number));
            version.is_some_and(|version| version.applied)
        };
        let count = catalogue.migrations().iter().filter(applied).count();
        if count > 0 {
            return Err(Error::GooseDatabase { table, count });
        }
    }
    Ok(())
}

/// Tables as goose makes them.
async fn tables(session: &Session) -> Result<Vec<String>, Error> {
    let found = session
        .query("looking for goose's table", GOOSE_TABLES)
        .await?;
    Ok(found.iter().flatten().map(|row| text(row, 0)).collect())
}

/// The version that goose gives the file.
pub(crate) fn number(migration: &Migration) -> Option<i64> {
    let digits = migration.file.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Versions by the latest row that goose's table has of each; empty where there is no such table.
pub(crate) async fn versions(
    session: &Session,
    table: &str,
) -> Result<BTreeMap<i64, Version>, Error> {
    const STAGE: &str = "reading goose's table";
    let shape = format!(
        "SELECT a.attrelid::regclass, count(*) FROM pg_attribute a WHERE a.attrelid = to_regclass({}) \
         AND a.attname IN ('id', 'version_id', 'is_applied', 'tstamp') GROUP BY 1",
        literal(table)
    );
    let found = session.query(STAGE, &shape).await?;
    let Some(table) = found
        .iter()
        .flatten()
        .find(|row| row.get(1) == Some("4"))
        .map(|row| text(row, 0))
    else {
        return Ok(BTreeMap::new());
    };
    let latest = format!(
        "SELECT DISTINCT ON (version_id) version_id, is_applied, tstamp FROM {table} WHERE version_id > 0 ORDER BY version_id, id DESC"
    );
    let rows = session.query(STAGE, &latest).await?;
    let version = |row: &SimpleQueryRow| {
        let number = row.get(0)?.parse().ok()?;
        Some((
            number,
            Version {
                applied: row.get(1) == Some("t"),
                since: text(row, 2),
            },
        ))
    };
    Ok(rows.iter().flatten().filter_map(version).collect())
}
