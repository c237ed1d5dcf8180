//! What of the schema is missing (D10).

use std::collections::BTreeMap;

use datastorage_api::DatabaseErrorKind;
use jiff::civil::Date;

use super::access::Store;
use super::error::StoreError;
use super::pools::Use;
use crate::profile::Requirements;
use crate::tables::{EVENT_COLUMNS, ONLY_READ, TABLES};

/// What the schema lacks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gaps {
    /// What writes and reads need now.
    pub(crate) missing: Vec<String>,
    /// What they will need.
    pub(crate) ahead: Vec<String>,
    /// Somebody holds a lock on the audit trail, so that its partitions cannot be looked at.
    pub(crate) locked: bool,
}

impl Store {
    /// What stands in the way of writing and reading what `requirements` name: missing tables, columns, privileges and partitions for
    /// the given days, columns of another type, and such as must have a value and get none; each as one phrase. The last of the days
    /// is one ahead.
    pub(crate) async fn gaps(
        &self,
        requirements: &Requirements,
        days: &[Date],
    ) -> Result<Gaps, StoreError> {
        let found = self.columns_of(requirements.tables()).await?;
        let mut gaps = Gaps::default();
        let missing = &mut gaps.missing;
        for (table, columns) in TABLES.iter().filter(|(table, _)| requirements.holds(table)) {
            match found.get(*table) {
                None => missing.push(format!("table {table}")),
                Some(found) => missing.extend(differences(table, columns, found)),
            }
        }
        missing.extend(self.privileges_missing(requirements.tables()).await?);
        if found.contains_key("audit_events") && requirements.holds("audit_events") {
            let uncovered = match self.uncovered_days(days).await {
                Err(error) if error.kind == DatabaseErrorKind::Timeout => {
                    gaps.locked = true;
                    return Ok(gaps);
                }
                uncovered => uncovered?,
            };
            for day in uncovered {
                let partition = format!("partition of audit_events for {day}");
                if days.last() == Some(&day) {
                    gaps.ahead.push(partition);
                } else {
                    gaps.missing.push(partition);
                }
            }
        }
        Ok(gaps)
    }

    async fn columns_of(
        &self,
        tables: &[&str],
    ) -> Result<BTreeMap<String, BTreeMap<String, Column>>, StoreError> {
        let rows = self
            .run(Use::Probe, "pg_class", async |client| {
                let sql = "
                    SELECT wanted.name, attname::text, format_type(atttypid, NULL),
                           attnotnull AND NOT atthasdef AND attidentity = ''
                    FROM unnest($1::text[]) AS wanted (name)
                    JOIN pg_attribute ON attrelid = to_regclass(wanted.name) AND attnum > 0 AND NOT attisdropped";
                let statement = client.prepare_cached(sql).await?;
                let rows = client.query(&statement, &[&tables]).await?;
                rows.iter()
                    .map(|row| {
                        let column = Column {
                            data_type: row.try_get(2)?,
                            needs_value: row.try_get(3)?,
                        };
                        Ok((row.try_get(0)?, row.try_get(1)?, column))
                    })
                    .collect::<Result<Vec<(String, String, Column)>, _>>()
            })
            .await?;
        let mut found = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (table, name, column) in rows {
            found.entry(table).or_default().insert(name, column);
        }
        Ok(found)
    }

    /// What the role of this connection may not do, of what the server does.
    async fn privileges_missing(&self, tables: &[&str]) -> Result<Vec<String>, StoreError> {
        self.run(Use::Probe, "pg_class", async |client| {
            let sql = "
                SELECT format('privilege %s on %s', privilege, name)
                FROM (VALUES ('audit_events', 'INSERT'), ('audit_events', 'SELECT'),
                             ('remediation_workflow_catalog', 'INSERT'), ('remediation_workflow_catalog', 'SELECT'),
                             ('remediation_workflow_catalog', 'UPDATE'),
                             ('notification_audit', 'INSERT'), ('notification_audit', 'SELECT'),
                             ('resource_action_traces', 'SELECT')) AS needed (name, privilege)
                WHERE name = ANY ($1) AND NOT has_table_privilege(to_regclass(name), privilege)
                ORDER BY name, privilege";
            let statement = client.prepare_cached(sql).await?;
            let rows = client.query(&statement, &[&tables]).await?;
            rows.iter().map(|row| row.try_get(0)).collect()
        })
        .await
    }

    /// Whether connections have the application's role, which may not change or delete what is written (D31).
    pub(crate) async fn is_append_only(&self) -> Result<bool, StoreError> {
        self.run(Use::Brief, "audit_events", async |client| {
            let sql = "SELECT NOT has_table_privilege('audit_events', 'UPDATE') AND NOT has_table_privilege('audit_events', 'DELETE')";
            client.query_one(sql, &[]).await?.try_get(0)
        })
        .await
    }

    async fn uncovered_days(&self, days: &[Date]) -> Result<Vec<Date>, StoreError> {
        self.run(Use::Probe, "audit_events", async |client| {
            // To look at a bound takes a lock on the partition.
            client.batch_execute("SET lock_timeout = '200ms'").await?;
            // pg_get_expr gives FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'), or DEFAULT.
            let sql = "
                SELECT day
                FROM unnest($1::date[]) AS day
                WHERE NOT EXISTS (
                    SELECT
                    FROM pg_inherits
                    JOIN pg_class ON pg_class.oid = inhrelid
                    CROSS JOIN LATERAL (SELECT pg_get_expr(relpartbound, pg_class.oid) AS text) AS bound
                    WHERE inhparent = to_regclass('audit_events')
                      AND (bound.text = 'DEFAULT'
                           OR coalesce(substring(bound.text FROM $re$FROM \\('([^']+)'\\)$re$)::date, '-infinity') <= day
                          AND coalesce(substring(bound.text FROM $re$TO \\('([^']+)'\\)$re$)::date, 'infinity') > day))
                ORDER BY day";
            let statement = client.prepare_cached(sql).await?;
            let rows = client.query(&statement, &[&days]).await?;
            rows.iter().map(|row| row.try_get(0)).collect()
        })
        .await
    }
}

/// A column as the database has it.
struct Column {
    data_type: String,
    /// It takes no row that has nothing for it.
    needs_value: bool,
}

/// What of a table's columns would fail a write or a read.
fn differences(table: &str, names: &[&str], found: &BTreeMap<String, Column>) -> Vec<String> {
    let names: Vec<_> = names
        .iter()
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .collect();
    let missing = names.iter().filter(|name| !found.contains_key(**name));
    let missing = missing.map(|name| format!("column {table}.{name}"));
    let written = found.iter().filter(|_| !ONLY_READ.contains(&table));
    let unwritten =
        written.filter(|(name, column)| column.needs_value && !names.contains(&name.as_str()));
    let unwritten = unwritten.map(|(name, _)| {
        format!("a default for column {table}.{name}, which this server does not write")
    });
    let typed = EVENT_COLUMNS.iter().filter(|_| table == "audit_events");
    let other_type = typed.filter_map(|column| {
        let data_type = &found.get(column.name)?.data_type;
        (!is_type(data_type, column.sql_type)).then(|| {
            format!(
                "type {} of column {table}.{}, which is {data_type}",
                column.sql_type, column.name
            )
        })
    });
    missing.chain(unwritten).chain(other_type).collect()
}

/// Whether values that are written as one type fit a column of the other without a cast.
fn is_type(found: &str, written: &str) -> bool {
    match written {
        "text" => matches!(found, "text" | "character varying"),
        "timestamptz" => found == "timestamp with time zone",
        written => found == written,
    }
}
