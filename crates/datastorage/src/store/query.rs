//! Reads audit events: equalities, a range of time, newest first, by offset or by cursor.

use datastorage_api::AuditEvent;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::access::Store;
use super::error::StoreError;
use super::events::names;
use super::pools::Use;

/// Which events; all given filters must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EventFilter {
    pub(crate) correlation_id: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) event_category: Option<String>,
    pub(crate) event_outcome: Option<String>,
    pub(crate) severity: Option<String>,
    /// Inclusive.
    pub(crate) since: Option<Timestamp>,
    /// Inclusive.
    pub(crate) until: Option<Timestamp>,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// After this many matches.
    Offset(i64),
    /// After the event with this time and id, the last of the page before.
    After(Timestamp, Uuid),
}

/// One page, read from one snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// Newest first, at most the limit.
    pub(crate) events: Vec<AuditEvent>,
    /// Count of all matches; only with [`Position::Offset`].
    pub(crate) total: Option<i64>,
    /// Whether matches follow.
    pub(crate) has_more: bool,
}

impl Store {
    /// One page of the events that match.
    pub(crate) async fn query_events(
        &self,
        filter: &EventFilter,
        position: Position,
        limit: i32,
    ) -> Result<Page, StoreError> {
        let mut conditions = Conditions::of(filter);
        let (offset, total) = match position {
            Position::Offset(offset) => (
                offset,
                format!("(SELECT count(*) FROM audit_events {})", conditions.sql()),
            ),
            Position::After(time, id) => {
                conditions.after(time, id);
                (0, "NULL::bigint".to_owned())
            }
        };
        // One more than asked for shows whether there is more.
        let wanted = i64::from(limit) + 1;
        let sql = format!(
            "WITH page AS (SELECT {} FROM audit_events {} ORDER BY event_timestamp DESC, event_id DESC LIMIT {} OFFSET {})
             SELECT {total}, page.* FROM (VALUES (1)) AS one LEFT JOIN page ON true ORDER BY page.event_timestamp DESC, page.event_id DESC",
            names(),
            conditions.sql(),
            conditions.parameter(Box::new(wanted)),
            conditions.parameter(Box::new(offset)),
        );
        self.run(Use::Long, "audit_events", async |client| {
            let statement = client.prepare_cached(&sql).await?;
            let parameters: Vec<_> = conditions
                .values
                .iter()
                .map(|value| &**value as &(dyn ToSql + Sync))
                .collect();
            let rows = client.query(&statement, &parameters).await?;
            let total = rows
                .first()
                .map(|row| row.try_get(0))
                .transpose()?
                .flatten();
            let mut events = Vec::with_capacity(rows.len());
            for row in &rows {
                // Without a match the outer join leaves one row of nulls beside the total.
                if row.try_get::<_, Option<Uuid>>("event_id")?.is_some() {
                    events.push(event(row)?);
                }
            }
            let has_more = events.len() as u64 >= wanted.unsigned_abs();
            events.truncate(usize::try_from(limit).unwrap_or_default());
            Ok(Page {
                events,
                total,
                has_more,
            })
        })
        .await
    }
}

/// A WHERE clause that grows, with its parameters.
#[derive(Default)]
struct Conditions {
    clauses: Vec<String>,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Conditions {
    fn of(filter: &EventFilter) -> Self {
        let mut conditions = Self::default();
        for (column, value) in [
            ("correlation_id", &filter.correlation_id),
            ("event_type", &filter.event_type),
            ("event_category", &filter.event_category),
            ("event_outcome", &filter.event_outcome),
            ("severity", &filter.severity),
        ] {
            if let Some(value) = value {
                conditions.add(&format!("{column} ="), Box::new(value.clone()));
            }
        }
        if let Some(since) = filter.since {
            conditions.add("event_timestamp >=", Box::new(since));
        }
        if let Some(until) = filter.until {
            conditions.add("event_timestamp <=", Box::new(until));
        }
        conditions
    }

    fn after(&mut self, time: Timestamp, id: Uuid) {
        let (time, id) = (self.parameter(Box::new(time)), self.parameter(Box::new(id)));
        self.clauses
            .push(format!("(event_timestamp, event_id) < ({time}, {id})"));
    }

    fn add(&mut self, comparison: &str, value: Box<dyn ToSql + Sync + Send>) {
        let parameter = self.parameter(value);
        self.clauses.push(format!("{comparison} {parameter}"));
    }

    fn parameter(&mut self, value: Box<dyn ToSql + Sync + Send>) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn sql(&self) -> String {
        if self.clauses.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.clauses.join(" AND "))
        }
    }
}

/// The event in a row.
fn event(row: &Row) -> Result<AuditEvent, tokio_postgres::Error> {
    Ok(AuditEvent {
        event_id: row.try_get("event_id")?,
        version: row.try_get("event_version")?,
        event_type: row.try_get("event_type")?,
        event_timestamp: row.try_get("event_timestamp")?,
        event_date: row.try_get("event_date")?,
        event_category: row.try_get("event_category")?,
        event_action: row.try_get("event_action")?,
        event_outcome: row.try_get("event_outcome")?,
        actor_type: row.try_get("actor_type")?,
        actor_id: row.try_get("actor_id")?,
        resource_type: row.try_get("resource_type")?,
        resource_id: row.try_get("resource_id")?,
        correlation_id: row.try_get("correlation_id")?,
        parent_event_id: row.try_get("parent_event_id")?,
        namespace: row.try_get("namespace")?,
        cluster_name: row.try_get("cluster_name")?,
        severity: row.try_get("severity")?,
        duration_ms: row.try_get("duration_ms")?,
        event_data: row.try_get::<_, Json<Box<RawValue>>>("event_data")?.0,
    })
}
