//! Writes audit events: one transaction for a group, a repeat stored once (D29).
//!
//! COPY costs PostgreSQL a third less than INSERT, but has no ON CONFLICT. So a group is copied, and only when that fails on a
//! key, because an event is there already, inserted by the statement that can tell a repeat from a conflict.
//!
//! Both run inside BEGIN and COMMIT. Outside of a transaction COPY commits at the Sync that follows it, after the
//! `CommandComplete` that the driver takes for its end: a commit that fails then would go unseen.

use std::pin::pin;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use datastorage_api::NewEvent;
use deadpool_postgres::Object;
use futures_util::SinkExt;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio_postgres::CopyInSink;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::access::Store;
use super::copy::Rows;
use super::error::StoreError;
use super::pools::{Lane, Use};
use super::transaction::{BEGIN, Failure, commit, roll_back};

const RELATION: &str = "audit_events";

const COPY: &str = "
    COPY audit_events
        (event_id, event_version, event_timestamp, event_date, event_type, event_category, event_action, event_outcome,
         actor_type, actor_id, resource_type, resource_id, correlation_id, parent_event_id, namespace, cluster_name,
         event_data, severity, duration_ms)
    FROM STDIN BINARY";

/// One row of arrays becomes many rows, and what is there already is left as it is.
const INSERT: &str = "
    INSERT INTO audit_events
        (event_id, event_version, event_timestamp, event_date, event_type, event_category, event_action, event_outcome,
         actor_type, actor_id, resource_type, resource_id, correlation_id, parent_event_id, namespace, cluster_name,
         event_data, severity, duration_ms)
    SELECT event_id, event_version, event_timestamp, (event_timestamp AT TIME ZONE 'UTC')::date, event_type, event_category,
           event_action, event_outcome, actor_type, actor_id, resource_type, resource_id, correlation_id, parent_event_id,
           namespace, cluster_name, event_data, severity, duration_ms
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::text[], $11::text[], $12::text[], $13::uuid[], $14::text[], $15::text[], $16::jsonb[],
                $17::text[], $18::integer[])
        AS event (event_id, event_version, event_timestamp, event_type, event_category, event_action, event_outcome,
                  actor_type, actor_id, resource_type, resource_id, correlation_id, parent_event_id, namespace,
                  cluster_name, event_data, severity, duration_ms)
    ON CONFLICT (event_id, event_date) DO NOTHING";

/// Ids of the group that the table holds with another time on the same UTC date.
const CLASHES: &str = "
    SELECT DISTINCT event.event_id
    FROM unnest($1::uuid[], $2::timestamptz[]) AS event (event_id, event_timestamp)
    JOIN audit_events AS stored
      ON stored.event_id = event.event_id AND stored.event_date = (event.event_timestamp AT TIME ZONE 'UTC')::date
    WHERE stored.event_timestamp <> event.event_timestamp";

/// How often a group is tried again after a deadlock or a serialisation failure.
const MOMENTARY_TRIES: usize = 4;

/// Groups that are inserted without trying COPY after one that held a repeat: a sender that repeats one event repeats many, and
/// what COPY wrote before it failed is dead weight in the table.
const GROUPS_AFTER_A_REPEAT: u32 = 50;

/// Bytes after which a message of COPY goes out, so that a large group is in memory once and not twice.
const MESSAGE_BYTES: usize = 64 << 10;

/// Events that are stored in one transaction, or not at all.
pub(crate) trait Group {
    /// The events. Asked for only when PostgreSQL waits for them, so that whatever arrives until then can still join: larger
    /// groups for no waiting. Once asked for they stay the same.
    fn close(&mut self) -> Vec<&NewEvent>;
}

impl Group for &[&NewEvent] {
    fn close(&mut self) -> Vec<&NewEvent> {
        self.to_vec()
    }
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// Every event is in the table, committed, once.
    All,
    /// Nothing was stored: these ids are taken by events of another time on the same UTC date.
    Clash(Vec<Uuid>),
}

impl Store {
    /// Stores all events in one transaction, or none. An event that is there already counts as stored.
    pub(crate) async fn insert_events(
        &self,
        lane: Lane,
        group: &mut impl Group,
    ) -> Result<Inserted, StoreError> {
        for _ in 1..MOMENTARY_TRIES {
            match self.try_insert(lane, group).await {
                Err(error) if error.is_momentary() => {
                    tracing::debug!(%error, "group of events is tried again");
                }
                result => return result,
            }
        }
        self.try_insert(lane, group).await
    }

    async fn try_insert(&self, lane: Lane, group: &mut impl Group) -> Result<Inserted, StoreError> {
        self.transact(Use::Group(lane), RELATION, async |client| {
            let expected = self.repeats_expected.load(Ordering::Relaxed);
            if expected > 0 {
                self.repeats_expected.store(expected - 1, Ordering::Relaxed);
                return insert(client, &group.close()).await;
            }
            let statement = client.prepare_cached(COPY).await?;
            // Polled together, both messages go out in one write.
            let ((), sink) =
                tokio::try_join!(client.batch_execute(BEGIN), client.copy_in(&statement))?;
            let events = group.close();
            // The commit is sent behind the rows, not after their answer: it costs no round trip of its own. Where the rows are
            // refused it ends the transaction without them.
            let (copied, committed) = tokio::join!(copy(sink, &events), commit(client));
            match copied {
                Ok(()) => committed.map(|()| Inserted::All),
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    self.repeats_expected
                        .store(GROUPS_AFTER_A_REPEAT, Ordering::Relaxed);
                    insert(client, &events).await
                }
                // The error may be the connection's, between CopyDone and the answer to COMMIT.
                Err(error) => Err(Failure::at_commit(error)),
            }
        })
        .await
    }

    /// Whether an event with that id is stored, on any date.
    pub(crate) async fn event_exists(&self, id: Uuid) -> Result<bool, StoreError> {
        self.run(Use::Brief, RELATION, async |client| {
            let statement = client
                .prepare_cached("SELECT EXISTS (SELECT FROM audit_events WHERE event_id = $1)")
                .await?;
            client.query_one(&statement, &[&id]).await?.try_get(0)
        })
        .await
    }
}

/// Stores an event of the server's own within the transaction that `client` is in.
pub(super) async fn insert_within(
    client: &Object,
    event: &NewEvent,
) -> Result<(), tokio_postgres::Error> {
    let insert = client.prepare_cached(INSERT).await?;
    client
        .execute(&insert, &Columns::of(&[event]).parameters())
        .await?;
    Ok(())
}

/// Copies the events.
async fn copy(sink: CopyInSink<Bytes>, events: &[&NewEvent]) -> Result<(), tokio_postgres::Error> {
    let mut sink = pin!(sink);
    let mut rows = Rows::default();
    for event in events {
        rows.push(event);
        if rows.len() > MESSAGE_BYTES {
            sink.send(rows.take()).await?;
        }
    }
    sink.feed(rows.finish()).await?;
    sink.as_mut().finish().await?;
    Ok(())
}

/// Inserts what is not there yet, in a transaction that ends when every row is accounted for.
async fn insert(client: &Object, events: &[&NewEvent]) -> Result<Inserted, Failure> {
    let statement = client.prepare_cached(INSERT).await?;
    let columns = Columns::of(events);
    let parameters = columns.parameters();
    // Polled together, both messages go out in one write.
    let ((), stored) = tokio::try_join!(
        client.batch_execute(BEGIN),
        client.execute(&statement, &parameters)
    )?;
    if stored == events.len() as u64 {
        commit(client).await?;
        return Ok(Inserted::All);
    }
    settle_repeats(client, &columns).await
}

/// Some rows were there before. Repeats are fine; an id with another time undoes the group.
async fn settle_repeats(client: &Object, columns: &Columns<'_>) -> Result<Inserted, Failure> {
    let statement = client.prepare_cached(CLASHES).await?;
    let rows = client
        .query(&statement, &[&columns.event_id, &columns.event_timestamp])
        .await?;
    if rows.is_empty() {
        commit(client).await?;
        return Ok(Inserted::All);
    }
    roll_back(client).await?;
    Ok(Inserted::Clash(
        rows.iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?,
    ))
}

/// The events of a group, turned by ninety degrees.
#[derive(Default)]
struct Columns<'a> {
    event_id: Vec<Uuid>,
    event_version: Vec<&'a str>,
    event_timestamp: Vec<Timestamp>,
    event_type: Vec<&'a str>,
    event_category: Vec<&'a str>,
    event_action: Vec<&'a str>,
    event_outcome: Vec<&'a str>,
    actor_type: Vec<&'a str>,
    actor_id: Vec<&'a str>,
    resource_type: Vec<&'a str>,
    resource_id: Vec<&'a str>,
    correlation_id: Vec<&'a str>,
    parent_event_id: Vec<Option<Uuid>>,
    namespace: Vec<Option<&'a str>>,
    cluster_name: Vec<Option<&'a str>>,
    event_data: Vec<Json<&'a RawValue>>,
    severity: Vec<&'a str>,
    duration_ms: Vec<Option<i32>>,
}

impl<'a> Columns<'a> {
    fn of(events: &[&'a NewEvent]) -> Self {
        let mut columns = Self::default();
        for event in events {
            columns.event_id.push(event.event_id);
            columns.event_version.push(&event.event_version);
            columns.event_timestamp.push(event.event_timestamp);
            columns.event_type.push(&event.event_type);
            columns.event_category.push(event.event_category.as_str());
            columns.event_action.push(&event.event_action);
            columns.event_outcome.push(event.event_outcome.as_str());
            columns.actor_type.push(&event.actor_type);
            columns.actor_id.push(&event.actor_id);
            columns.resource_type.push(&event.resource_type);
            columns.resource_id.push(&event.resource_id);
            columns.correlation_id.push(&event.correlation_id);
            columns.parent_event_id.push(event.parent_event_id);
            columns.namespace.push(event.namespace.as_deref());
            columns.cluster_name.push(event.cluster_name.as_deref());
            columns.event_data.push(Json(event.event_data.as_raw()));
            columns.severity.push(&event.severity);
            columns.duration_ms.push(event.duration_ms);
        }
        columns
    }

    /// In the order of [`INSERT`]'s placeholders.
    fn parameters(&self) -> [&(dyn ToSql + Sync); 18] {
        [
            &self.event_id,
            &self.event_version,
            &self.event_timestamp,
            &self.event_type,
            &self.event_category,
            &self.event_action,
            &self.event_outcome,
            &self.actor_type,
            &self.actor_id,
            &self.resource_type,
            &self.resource_id,
            &self.correlation_id,
            &self.parent_event_id,
            &self.namespace,
            &self.cluster_name,
            &self.event_data,
            &self.severity,
            &self.duration_ms,
        ]
    }
}
