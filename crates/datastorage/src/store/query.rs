//! Reads audit events: equalities, a range of time, newest first, by offset or by cursor.

use std::pin::pin;

use datastorage_api::time::utc_date;
use datastorage_api::{AuditEvent, limits};
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::access::{Rest, Store};
use super::error::StoreError;
use super::events::names;
use super::pools::Use;
use crate::tables::EVENT_COLUMNS;

/// Which events; all given filters must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EventFilter {
    pub(crate) correlation_id: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) event_category: Option<String>,
    pub(crate) event_outcome: Option<String>,
    pub(crate) severity: Option<String>,
    pub(crate) resource_type: Option<String>,
    pub(crate) resource_id: Option<String>,
    pub(crate) actor_type: Option<String>,
    pub(crate) actor_id: Option<String>,
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

/// What a page holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Page {
    /// How many events; fewer than the limit where they are large.
    pub(crate) count: usize,
    /// Time and id of the last.
    pub(crate) last: Option<(Timestamp, Uuid)>,
    /// Count of all matches; only with [`Position::Offset`].
    pub(crate) total: Option<i64>,
    /// Whether matches follow.
    pub(crate) has_more: bool,
    /// The only event of the page, which is not in it yet.
    pub(crate) large: Option<Large>,
}

/// An event that is larger than a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Large {
    time: Timestamp,
    id: Uuid,
    /// Of its `event_data`.
    pub(crate) bytes: usize,
}

/// Bytes of an event beside its `event_data`, and of what follows the list; more only cost time.
const BESIDE_DATA: usize = 8 << 10;

/// Bytes of a stored value up to which it cannot be larger than a page: PostgreSQL compresses to a hundredth at best, with lz4 to a
/// 250th. Larger ones are measured before they are read.
const COMPRESSED: usize = limits::PAGE_BYTES / 256;

/// Rows that are asked for before it is known how large they are.
const FIRST_ROWS: usize = 50;

impl Store {
    /// Appends one page of the events that match to `text`, newest first, as JSON separated by commas. It ends at `limit` events or
    /// [`limits::PAGE_BYTES`]; an event that is larger is alone on its page, and read by [`Store::append_large`]. The rows are read as they are written out, one at a time, and a
    /// long page in several statements, none of which asks for much more than there is room for.
    pub(crate) async fn query_events(
        &self,
        filter: &EventFilter,
        position: Position,
        limit: i32,
        text: &mut Vec<u8>,
    ) -> Result<Page, StoreError> {
        let limit = usize::try_from(limit).unwrap_or_default();
        let begin = text.len();
        let mut page = Page::default();
        let mut from = position;
        let mut rows = limit.min(FIRST_ROWS);
        loop {
            let full = self
                .read_events(filter, from, rows, text, begin, &mut page)
                .await?;
            let left = limit - page.count;
            let (Some((time, id)), true) = (page.last, page.has_more && !full && left > 0) else {
                return Ok(page);
            };
            let average = ((text.len() - begin) / page.count).max(1);
            let room = limits::PAGE_BYTES.saturating_sub(text.len() - begin);
            rows = left.min(room / average + 1);
            from = Position::After(time, id);
        }
    }

    /// Reads at most so many rows into the page; whether it is full before them.
    async fn read_events(
        &self,
        filter: &EventFilter,
        from: Position,
        most: usize,
        text: &mut Vec<u8>,
        begin: usize,
        page: &mut Page,
    ) -> Result<bool, StoreError> {
        let (sql, values) = statement(filter, from, most);
        self.read(Use::Long, "audit_events", async |client| {
            let statement = client.prepare_cached(&sql).await?;
            let mut rows = pin!(client.query_raw(&statement, borrowed(&values)).await?);
            let (mut read, mut largest) = (0, 0);
            page.has_more = false;
            while let Some(row) = rows.try_next().await? {
                page.total = page.total.or(row.try_get(0)?);
                // Without a match the outer join leaves one row of nulls beside the total.
                if row.try_get::<_, Option<Uuid>>("event_id")?.is_none() {
                    continue;
                }
                if read == most {
                    page.has_more = true;
                    continue;
                }
                if page.large.is_some() {
                    page.has_more = true;
                    return Ok((true, Rest::Unread));
                }
                let bytes: i32 = row.try_get("bytes")?;
                let bytes = usize::try_from(bytes).unwrap_or_default();
                if bytes > limits::PAGE_BYTES {
                    if page.count > 0 {
                        page.has_more = true;
                        return Ok((true, Rest::Unread));
                    }
                    let (time, id) = (row.try_get("event_timestamp")?, row.try_get("event_id")?);
                    page.large = Some(Large { time, id, bytes });
                    page.last = Some((time, id));
                    page.count = 1;
                    read += 1;
                    continue;
                }
                let event = event(&row)?;
                largest = largest.max(event.event_data.get().len());
                let before = text.len();
                if page.count > 0 {
                    text.push(b',');
                }
                // Writing to memory does not fail, and an event is JSON.
                serde_json::to_writer(&mut *text, &event).unwrap_or_default();
                if page.count > 0 && text.len() - begin > limits::PAGE_BYTES {
                    text.truncate(before);
                    page.has_more = true;
                    return Ok((true, Rest::Unread));
                }
                read += 1;
                page.count += 1;
                page.last = Some((event.event_timestamp, event.event_id));
            }
            Ok((false, Rest::after(largest)))
        })
        .await
    }
}

impl Store {
    /// Appends an event that is larger than a page to `text`; nothing if it is gone since.
    pub(crate) async fn append_large(
        &self,
        large: Large,
        text: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {} FROM audit_events WHERE event_id = $1 AND event_date = $2",
            names()
        );
        self.read(Use::Long, "audit_events", async |client| {
            let statement = client.prepare_cached(&sql).await?;
            let day = utc_date(large.time);
            let row = client.query_opt(&statement, &[&large.id, &day]).await?;
            if let Some(row) = row {
                // Without this it would be there twice, grown and not yet grown.
                text.reserve_exact(large.bytes + BESIDE_DATA);
                // Writing to memory does not fail, and an event is JSON.
                serde_json::to_writer(&mut *text, &event(&row)?).unwrap_or_default();
            }
            Ok(((), Rest::after(large.bytes)))
        })
        .await
    }
}

type Values = Vec<Box<dyn ToSql + Sync + Send>>;

fn borrowed(values: &Values) -> Vec<&(dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| &**value as &(dyn ToSql + Sync))
        .collect()
}

/// The statement that reads a page, with its parameters. The count of all matches comes first in each row, and one row more than
/// the limit shows whether more follow.
fn statement(filter: &EventFilter, position: Position, limit: usize) -> (String, Values) {
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
    let sql = format!(
        "WITH page AS (SELECT {} FROM audit_events {} ORDER BY event_timestamp DESC, event_id DESC LIMIT {} OFFSET {})
         SELECT {total}, {}, bytes, CASE WHEN bytes <= {} THEN event_data END AS event_data
         FROM (VALUES (1)) AS one LEFT JOIN page ON true
         LEFT JOIN LATERAL (
             SELECT CASE WHEN pg_column_size(event_data) > {COMPRESSED} THEN octet_length(event_data::text) ELSE 0 END AS bytes OFFSET 0
         ) AS size ON true
         ORDER BY event_timestamp DESC, event_id DESC",
        names(),
        conditions.sql(),
        conditions.parameter(Box::new(i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1)),
        conditions.parameter(Box::new(offset)),
        all_but_data(),
        limits::PAGE_BYTES,
    );
    (sql, conditions.values)
}

/// The columns that are never large.
fn all_but_data() -> String {
    let names = EVENT_COLUMNS.map(|column| column.name);
    let names = names.into_iter().filter(|name| *name != "event_data");
    names.collect::<Vec<_>>().join(", ")
}

/// A WHERE clause that grows, with its parameters.
#[derive(Default)]
struct Conditions {
    clauses: Vec<String>,
    values: Values,
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
            ("resource_type", &filter.resource_type),
            ("resource_id", &filter.resource_id),
            ("actor_type", &filter.actor_type),
            ("actor_id", &filter.actor_id),
        ] {
            if let Some(value) = value {
                conditions.add(&format!("{column} ="), Box::new(value.clone()));
            }
        }
        // The dates say nothing more, but they are what partitions are found by.
        if let Some(since) = filter.since {
            conditions.add("event_timestamp >=", Box::new(since));
            conditions.add("event_date >=", Box::new(utc_date(since)));
        }
        if let Some(until) = filter.until {
            conditions.add("event_timestamp <=", Box::new(until));
            conditions.add("event_date <=", Box::new(utc_date(until)));
        }
        conditions
    }

    fn after(&mut self, time: Timestamp, id: Uuid) {
        let time_parameter = self.parameter(Box::new(time));
        let id = self.parameter(Box::new(id));
        self.clauses.push(format!(
            "(event_timestamp, event_id) < ({time_parameter}, {id})"
        ));
        self.add("event_date <=", Box::new(utc_date(time)));
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
fn event(row: &Row) -> Result<AuditEvent<&RawValue>, tokio_postgres::Error> {
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
        event_data: row.try_get::<_, Json<&RawValue>>("event_data")?.0,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use testkit::postgres::Database;

    use super::*;

    /// A database with 200 events a day for 150 days up to tomorrow, and a month's partition for each.
    async fn filled() -> Database {
        let database = testkit::postgres::database("audit").await;
        let sql = "
            SELECT ensure_audit_events_partitions(now() - make_interval(months => back), 0) FROM generate_series(1, 6) AS back;
            INSERT INTO audit_events (event_timestamp, event_date, event_type, event_category, event_action, event_outcome,
                actor_type, actor_id, resource_type, resource_id, correlation_id, event_data)
            SELECT at, (at AT TIME ZONE 'UTC')::date, 'e', 'gateway', 'a', 'success',
                'service', 'actor-' || n % 500, 'Pod', 'pod-' || n % 500, 'c-' || n, '{}'
            FROM generate_series(1, 30000) AS n, LATERAL (SELECT now() - n * interval '432 seconds') AS moment (at);
            ANALYZE audit_events";
        let client = database.connect().await;
        client.batch_execute(sql).await.expect("filled");
        database
    }

    /// The plan of the statement that reads a page, with these very values.
    async fn plan(database: &Database, filter: &EventFilter, position: Position) -> String {
        let (sql, values) = statement(filter, position, 50);
        let explain = format!("EXPLAIN (COSTS OFF) {sql}");
        let client = database.connect().await;
        let rows = client.query(&explain, &borrowed(&values)).await;
        let rows = rows.expect("a plan");
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        lines.join("\n")
    }

    /// The months that a plan reads.
    fn months(plan: &str) -> BTreeSet<&str> {
        let words = plan.split([' ', '\n']);
        words
            .filter(|word| {
                word.starts_with("audit_events_y") && word.len() == "audit_events_y2026m01".len()
            })
            .collect()
    }

    #[tokio::test]
    async fn reads_by_resource_and_by_actor_take_their_indexes() {
        let database = filled().await;
        let client = database.connect().await;
        let full =
            "SELECT tableoid::regclass::text FROM audit_events GROUP BY 1 HAVING count(*) > 1000";
        let rows = client.query(full, &[]).await.expect("months");
        let full: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert!(full.len() >= 4, "{full:?}");
        let resource = EventFilter {
            resource_type: Some("Pod".to_owned()),
            resource_id: Some("pod-7".to_owned()),
            ..EventFilter::default()
        };
        let actor = EventFilter {
            actor_type: Some("service".to_owned()),
            actor_id: Some("actor-7".to_owned()),
            ..EventFilter::default()
        };
        for (filter, index) in [
            (resource, "resource_type_resource_id"),
            (actor, "actor_type_actor_id"),
        ] {
            let found = plan(&database, &filter, Position::Offset(0)).await;
            for month in &full {
                // Once for the page and once for the count.
                let scans = found.matches(&format!("{month}_{index}")).count();
                assert!(
                    scans >= 2 && !found.contains(&format!("Seq Scan on {month}")),
                    "{found}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_range_of_time_and_a_cursor_read_the_months_that_they_reach_and_no_other() {
        let database = filled().await;
        let all = plan(&database, &EventFilter::default(), Position::Offset(0)).await;
        assert!(months(&all).len() >= 9, "{all}");
        let now = Timestamp::now();
        let hours = |count| now - jiff::SignedDuration::from_hours(count);
        let month = |time: Timestamp| utc_date(time).strftime("audit_events_y%Ym%m").to_string();

        let since = EventFilter {
            since: Some(hours(1)),
            ..EventFilter::default()
        };
        let found = plan(&database, &since, Position::Offset(0)).await;
        let earlier: Vec<_> = months(&found)
            .into_iter()
            .filter(|name| *name < month(hours(1)).as_str())
            .collect();
        assert_eq!(earlier, Vec::<&str>::new(), "{found}");

        let span = EventFilter {
            since: Some(hours(24 * 100)),
            until: Some(hours(24 * 99)),
            ..EventFilter::default()
        };
        let found = plan(&database, &span, Position::Offset(0)).await;
        let expected = BTreeSet::from([month(hours(24 * 100)), month(hours(24 * 99))]);
        assert_eq!(
            months(&found),
            expected.iter().map(String::as_str).collect(),
            "{found}"
        );

        let after = Position::After(hours(24 * 60), Uuid::nil());
        let found = plan(&database, &EventFilter::default(), after).await;
        let later: Vec<_> = months(&found)
            .into_iter()
            .filter(|name| *name > month(hours(24 * 60)).as_str())
            .collect();
        assert_eq!(later, Vec::<&str>::new(), "{found}");
    }
}
