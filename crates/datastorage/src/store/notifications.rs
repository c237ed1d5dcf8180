//! Writes notification records, append-only and once per `notification_id`.

use std::sync::LazyLock;

use datastorage_api::{NotificationAudit, NotificationAuditResponse};
use tokio_postgres::types::Json;

use super::access::Store;
use super::error::StoreError;
use super::pools::Use;
use super::transaction::Failure;
use crate::tables::NOTIFICATION_COLUMNS as COLUMNS;

const RELATION: &str = "notification_audit";

static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO notification_audit AS stored ({COLUMNS})
         SELECT {COLUMNS} FROM jsonb_populate_record(NULL::notification_audit, $1)
         ON CONFLICT (notification_id) DO NOTHING
         RETURNING to_json(stored)"
    )
});

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// Committed.
    New(Box<NotificationAuditResponse>),
    /// Nothing stored: the same record is there.
    Repeat,
    /// Nothing stored: another record has its `notification_id`.
    Taken,
}

impl Store {
    /// Stores a record unless its `notification_id` is taken.
    pub(crate) async fn insert_notification(
        &self,
        record: &NotificationAudit,
    ) -> Result<Recorded, StoreError> {
        self.transact(Use::Brief, RELATION, async |client| {
            let insert = client.prepare_cached(&INSERT).await?;
            // A transaction of its own, whose answer is read to ReadyForQuery: it is committed then.
            let inserted = client.query_opt(&insert, &[&Json(record)]).await;
            if let Some(row) = inserted.map_err(Failure::at_commit)? {
                let Json(stored) = row.try_get(0)?;
                return Ok(Recorded::New(Box::new(stored)));
            }
            let find = client
                .prepare_cached("SELECT to_json(stored) FROM notification_audit AS stored WHERE notification_id = $1")
                .await?;
            let row = client.query_one(&find, &[&record.notification_id]).await?;
            let Json(stored): Json<NotificationAuditResponse> = row.try_get(0)?;
            Ok(if stored.record == *record { Recorded::Repeat } else { Recorded::Taken })
        })
        .await
    }
}
