//! What the server needs of the schema, by profile, and what of it is missing (D10).

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::Deserialize;

use super::{Store, StoreError, Use, notifications, workflows};

/// The declared profiles: the same file that the migrations go by.
const PROFILES: &str = include_str!("../../../../migrations/profiles.toml");

/// The tables that the server reads or writes and the columns it names, each text one or more of them.
const TABLES: [(&str, &[&str]); 3] = [
    (
        "audit_events",
        &[
            "event_id",
            "event_version",
            "event_timestamp",
            "event_date",
            "event_type",
            "event_category",
            "event_action",
            "event_outcome",
            "actor_type",
            "actor_id",
            "resource_type",
            "resource_id",
            "correlation_id",
            "parent_event_id",
            "namespace",
            "cluster_name",
            "event_data",
            "severity",
            "duration_ms",
        ],
    ),
    (
        "remediation_workflow_catalog",
        &[workflows::OWN_COLUMNS, workflows::COLUMNS],
    ),
    (
        "notification_audit",
        &[notifications::OWN_COLUMNS, notifications::COLUMNS],
    ),
];

#[derive(Deserialize)]
struct Declared {
    groups: BTreeMap<String, Vec<String>>,
    profiles: BTreeMap<String, Vec<String>>,
}

/// The tables of a profile that this server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    tables: Vec<&'static str>,
}

/// A profile or group that is not declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must name profiles or groups of migrations/profiles.toml ({known}), {name:?} is neither")]
pub struct UnknownProfile {
    name: String,
    known: String,
}

impl Requirements {
    /// What the profiles or groups in `names`, separated by commas, need.
    pub fn of_profile(names: &str) -> Result<Self, UnknownProfile> {
        let unknown = |name: &str, known: String| UnknownProfile {
            name: name.to_owned(),
            known,
        };
        let declared: Declared =
            toml::from_str(PROFILES).map_err(|error| unknown(names, error.to_string()))?;
        let mut wanted = BTreeSet::new();
        for name in names.split(',').map(str::trim) {
            let own = [name.to_owned()];
            let groups = declared.profiles.get(name).map_or(&own[..], Vec::as_slice);
            for group in groups {
                let Some(tables) = declared.groups.get(group) else {
                    let known: Vec<_> = declared
                        .profiles
                        .keys()
                        .chain(declared.groups.keys())
                        .map(String::as_str)
                        .collect();
                    return Err(unknown(name, known.join(", ")));
                };
                wanted.extend(tables.iter().cloned());
            }
        }
        Ok(Self {
            tables: TABLES
                .iter()
                .map(|(table, _)| *table)
                .filter(|table| wanted.contains(*table))
                .collect(),
        })
    }

    /// Whether the profile holds this table.
    pub fn holds(&self, table: &str) -> bool {
        self.tables.contains(&table)
    }
}

impl Store {
    /// What the schema lacks of `requirements`: tables, columns, and partitions for the given days, each as one phrase.
    pub async fn missing(
        &self,
        requirements: &Requirements,
        days: &[Date],
    ) -> Result<Vec<String>, StoreError> {
        let found = self.columns_of(&requirements.tables).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_a_group_or_several_are_resolved_to_tables() {
        let tables =
            |names: &str| Requirements::of_profile(names).map(|requirements| requirements.tables);
        assert_eq!(tables("audit"), Ok(vec!["audit_events"]));
        assert_eq!(tables("gateway"), Ok(vec!["audit_events"]));
        assert_eq!(
            tables("aianalysis"),
            Ok(vec!["audit_events", "remediation_workflow_catalog"])
        );
        assert_eq!(
            tables("audit, notification-audit"),
            Ok(vec!["audit_events", "notification_audit"])
        );
        let message = tables("nosuch").expect_err("unknown").to_string();
        assert!(
            message.contains("nosuch") && message.contains("aianalysis"),
            "{message}"
        );
    }
}
