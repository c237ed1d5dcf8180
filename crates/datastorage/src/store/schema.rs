//! What of the schema is missing (D10).

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use super::access::Store;
use super::error::StoreError;
use super::pools::Use;
use crate::profile::Requirements;
use crate::tables::TABLES;

impl Store {
    /// What the schema lacks of `requirements`: tables, columns, and partitions for the given days, each as one phrase.
    pub(crate) async fn missing(
        &self,
        requirements: &Requirements,
        days: &[Date],
    ) -> Result<Vec<String>, StoreError> {
        let found = self.columns_of(requirements.tables()).await?;
        let mut missing = Vec::new();
        for (table, columns) in TABLES.iter().filter(|(table, _)| requirements.holds(table)) {
            match found.get(*table) {
                None => missing.push(format!("table {table}")),
                Some(found) => missing.extend(
                    columns
                        .iter()
                        .flat_map(|names| names.split(','))
                        .map(str::trim)
                        .filter(|column| !found.contains(*column))
                        .map(|column| format!("column {table}.{column}")),
                ),
            }
        }
        if found.contains_key("audit_events") && requirements.holds("audit_events") {
            let uncovered = self.uncovered_days(days).await?;
            missing.extend(
                uncovered
                    .into_iter()
                    .map(|day| format!("partition of audit_events for {day}")),
            );
        }
        Ok(missing)
    }

    async fn columns_of(
        &self,
        tables: &[&str],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
        let rows = self
            .run(Use::Brief, "pg_class", async |client| {
                let sql = "
                    SELECT wanted.name, attname::text
                    FROM unnest($1::text[]) AS wanted (name)
                    JOIN pg_attribute ON attrelid = to_regclass(wanted.name) AND attnum > 0 AND NOT attisdropped";
                let statement = client.prepare_cached(sql).await?;
                let rows = client.query(&statement, &[&tables]).await?;
                rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<Vec<(String, String)>, _>>()
            })
            .await?;
        let mut found = BTreeMap::<_, BTreeSet<_>>::new();
        for (table, column) in rows {
            found.entry(table).or_default().insert(column);
        }
        Ok(found)
    }

    async fn uncovered_days(&self, days: &[Date]) -> Result<Vec<Date>, StoreError> {
        self.run(Use::Brief, "audit_events", async |client| {
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
