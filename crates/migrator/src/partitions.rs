//! Keeps monthly partitions around today: the previous month, the current one and three ahead.
//!
//! The work is done by functions of the schema, which the application may call as well; here they are only asked for.

use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::error::Error;
use crate::report::Event;
use crate::session::{Run, Session};
use crate::sql::literal;

/// Months ahead of the current one.
pub const MONTHS_AHEAD: u32 = 3;

/// Creates the partitions that the selection's tables lack and returns their names; nothing else is touched.
///
/// # Errors
/// As [`crate::apply`]; [`Error::MissingTable`] for a table that is not there yet.
pub async fn ensure_partitions(config: &Config) -> Result<Vec<String>, Error> {
    Run::bounded(config, |run| async move {
        let catalogue = std::sync::Arc::clone(&run.config.catalogue);
        let tables = tables(&catalogue, &run)?;
        let session = Session::open(&run).await?;
        let created = session
            .query(
                "creating partitions",
                &format!("SET {}; {}", session.names().search_path(), ensure(&tables)),
            )
            .await;
        let sets = created.map_err(|error| match error {
            Error::Database { sqlstate, .. } if sqlstate == "42883" => Error::MissingTable {
                table: tables.join(", "),
                reason: "the function that makes its partitions is not there either".to_owned(),
                again: Vec::new(),
            },
            other => other,
        })?;
        session.close().await;
        let names: Vec<String> = sets
            .iter()
            .flatten()
            .filter_map(|row| row.get(0).map(str::to_owned))
            .collect();
        for name in &names {
            run.config.emit(&Event::Partition { name: name.clone() });
        }
        Ok(names)
    })
    .await
}

fn tables(catalogue: &Catalogue, run: &Run) -> Result<Vec<String>, Error> {
    Ok(catalogue
        .partitioned_tables(&run.config.selection)?
        .into_iter()
        .map(str::to_owned)
        .collect())
}

/// Calls each table's own function; one result set per table.
pub(crate) fn ensure<T: AsRef<str>>(tables: &[T]) -> String {
    let calls = tables.iter().map(|table| {
        format!(
            "SELECT ensure_{}_partitions(now(), {MONTHS_AHEAD})",
            table.as_ref()
        )
    });
    calls.collect::<Vec<_>>().join("; ")
}

/// Whether a table that is there has no partition by the name of this month or of the last one ahead: a cheap first check, the
/// functions know better. Plain expressions, because planning a query costs more than the answer, and few of them, because the
/// first use of a function or an operator in a session costs more than its result.
pub(crate) fn missing_by_name(tables: &[&str]) -> String {
    let tables = tables.iter().map(|table| {
        let months = [0, MONTHS_AHEAD].map(|ahead| {
            let name = literal(&format!("\"{table}_y\"YYYY\"m\"MM"));
            format!("to_regclass(to_char(now() + interval '{ahead} months', {name})) IS NULL")
        });
        format!(
            "to_regclass({}) IS NOT NULL AND ({})",
            literal(table),
            months.join(" OR ")
        )
    });
    let any: Vec<String> = std::iter::once("false".to_owned()).chain(tables).collect();
    format!("SELECT {}", any.join(" OR "))
}
