//! Writes audit events: one transaction for a group, a repeat stored once (D29).
//!
//! COPY costs PostgreSQL a third less than INSERT, but has no ON CONFLICT. So a group is copied, and only when that fails on a
//! key, because an event is there already, inserted by the statement that distinguishes a repeat from a conflict.
//!
//! Both run inside BEGIN and COMMIT. Outside of a transaction COPY commits at the Sync that follows it, after the
//! `CommandComplete` that the driver takes for its end: a commit that fails then would go unseen.

use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use datastorage_api::NewEvent;
use datastorage_api::time::utc_date;
use deadpool_postgres::Object;
use futures_util::SinkExt;
use jiff::Timestamp;
use tokio_postgres::CopyInSink;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::access::Store;
use super::copy::Rows;
use super::error::StoreError;
use super::pools::{Lane, Use};
use super::transaction::{BEGIN, Failure, commit, roll_back};
use crate::tables::{EVENT_COLUMNS, Value};

const RELATION: &str = "audit_events";

/// COPY of whole rows.
static COPY: LazyLock<String> =
    LazyLock::new(|| format!("COPY audit_events ({}) FROM STDIN BINARY", names()));

/// One row of arrays becomes many rows, and what is there already is left as it is.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let names = names();
    format!(
        "INSERT INTO audit_events ({names}) SELECT {names} FROM unnest({}) AS event ({names})
         ON CONFLICT (event_id, event_date) DO NOTHING",
        parameters()
    )
});

/// Ids of the group under whose keys the table holds another event, after what is missing was inserted: one with another time
/// on the same UTC date, or with other content, compared as PostgreSQL stores it.
static CONFLICTS: LazyLock<String> = LazyLock::new(|| {
    let names = names();
    let of = |row: &str| {
        EVENT_COLUMNS
            .map(|column| format!("{row}.{}", column.name))
            .join(", ")
    };
    format!(
        "SELECT DISTINCT event.event_id FROM unnest({}) AS event ({names})
         JOIN audit_events AS stored ON stored.event_id = event.event_id AND stored.event_date = event.event_date
         WHERE ({}) IS DISTINCT FROM ({})",
        parameters(),
        of("stored"),
        of("event")
    )
});

const EXISTS: &str = "SELECT EXISTS (SELECT FROM audit_events WHERE event_id = $1)";

/// As [`EXISTS`], in one or two partitions: new events are at most seven days old (D29).
const EXISTS_RECENTLY: &str = "
    SELECT EXISTS (
        SELECT FROM audit_events
        WHERE event_id = $1
          AND event_date BETWEEN ($2::timestamptz AT TIME ZONE 'UTC')::date - 8 AND ($2::timestamptz AT TIME ZONE 'UTC')::date + 1)";

/// How often a group is tried again after a deadlock or a serialisation failure.
const SERIALIZATION_TRIES: usize = 4;

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
    /// Nothing was stored: these ids are taken by other events of the same UTC date.
    Conflict(Vec<Uuid>),
}

impl Store {
    /// Stores all events in one transaction, or none. An event that is there already counts as stored.
    pub(crate) async fn insert_events(
        &self,
        lane: Lane,
        group: &mut impl Group,
    ) -> Result<Inserted, StoreError> {
        for _ in 1..SERIALIZATION_TRIES {
            match self.try_insert(lane, group).await {
                Err(error) if error.is_serialization_failure() => {
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
            let statement = client.prepare_cached(&COPY).await?;
            // Polled together, both messages go out in one write.
            let ((), sink) =
                tokio::try_join!(client.batch_execute(BEGIN), client.copy_in(&statement))?;
            let mut events = group.close();
            sort(&mut events);
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

    /// Whether an event with that id is stored, on any date. It is looked for in the days before `now` first: only an event that
    /// is older, or not there, costs a look into every partition.
    pub(crate) async fn event_exists(&self, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
        self.run(Use::Brief, RELATION, async |client| {
            let recent = client.prepare_cached(EXISTS_RECENTLY).await?;
            if client.query_one(&recent, &[&id, &now]).await?.try_get(0)? {
                return Ok(true);
            }
            let ever = client.prepare_cached(EXISTS).await?;
            client.query_one(&ever, &[&id]).await?.try_get(0)
        })
        .await
    }
}

/// Stores an event of the server's own within the transaction that `client` is in.
pub(super) async fn insert_within(
    client: &Object,
    event: &NewEvent,
) -> Result<(), tokio_postgres::Error> {
    insert_new(client, &[event]).await.map(drop)
}

/// Copies the events.
async fn copy(sink: CopyInSink<Bytes>, events: &[&NewEvent]) -> Result<(), tokio_postgres::Error> {
    let mut sink = pin!(sink);
    let mut rows = Rows::default();
    for event in events {
        rows.begin();
        for column in &EVENT_COLUMNS {
            match (column.value)(event) {
                // In parts, so that it is in memory once and neither as a row nor on its way to the system as a whole.
                Value::Json(json) if json.get().len() > MESSAGE_BYTES => {
                    rows.begin_json(json.get().len());
                    for part in json.get().as_bytes().chunks(MESSAGE_BYTES) {
                        rows.push_part(part);
                        sink.send(rows.take()).await?;
                    }
                }
                value => rows.push(&value),
            }
        }
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
    client.prepare_cached(&INSERT).await?;
    // Polled together, both messages go out in one write.
    let ((), stored) = tokio::try_join!(client.batch_execute(BEGIN), insert_new(client, events))?;
    if stored == events.len() as u64 {
        commit(client).await?;
        return Ok(Inserted::All);
    }
    settle_repeats(client, events).await
}

/// Some rows were there before. Repeats are fine; an id that another event has rolls the group back.
async fn settle_repeats(client: &Object, events: &[&NewEvent]) -> Result<Inserted, Failure> {
    let statement = client.prepare_cached(&CONFLICTS).await?;
    let arrays = arrays(events);
    let parameters = arrays.each_ref().map(|array| array as &(dyn ToSql + Sync));
    let rows = client.query(&statement, &parameters).await?;
    if rows.is_empty() {
        commit(client).await?;
        return Ok(Inserted::All);
    }
    roll_back(client).await?;
    Ok(Inserted::Conflict(
        rows.iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?,
    ))
}

/// The names of all columns, in the order of [`EVENT_COLUMNS`].
pub(super) fn names() -> String {
    EVENT_COLUMNS.map(|column| column.name).join(", ")
}

/// The parameters of a statement that takes an array for each column.
fn parameters() -> String {
    let arrays = EVENT_COLUMNS.iter().enumerate();
    let arrays = arrays.map(|(at, column)| format!("${}::{}[]", at + 1, column.sql_type));
    arrays.collect::<Vec<_>>().join(", ")
}

/// An array for each column.
fn arrays<'a>(events: &[&'a NewEvent]) -> [Vec<Value<'a>>; EVENT_COLUMNS.len()] {
    EVENT_COLUMNS.map(|column| events.iter().map(|event| (column.value)(event)).collect())
}

/// Inserts the events that are not there yet, in the order of their keys.
async fn insert_new(client: &Object, events: &[&NewEvent]) -> Result<u64, tokio_postgres::Error> {
    let statement = client.prepare_cached(&INSERT).await?;
    let mut sorted = events.to_vec();
    sort(&mut sorted);
    let arrays = arrays(&sorted);
    let parameters = arrays.each_ref().map(|array| array as &(dyn ToSql + Sync));
    client.execute(&statement, &parameters).await
}

/// Puts events into the order of their keys: transactions that write some of the same then wait for each other in one
/// direction, and do not deadlock, whichever process they are of. By date first, since COPY writes partition after partition.
/// Equal keys stay in place, so that the first wins.
fn sort(events: &mut [&NewEvent]) {
    events.sort_by_key(|event| (utc_date(event.event_timestamp), event.event_id));
}
