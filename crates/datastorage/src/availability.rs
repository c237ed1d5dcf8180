//! Whether the database is there: known by one failed write, so that the next ones need not wait for theirs.

use std::sync::Arc;

use datastorage_api::DatabaseErrorKind;
use tokio::sync::watch;

use crate::store::StoreError;

/// Shared knowledge of whether the database is away; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Availability(Arc<watch::Sender<bool>>);

impl Default for Availability {
    /// There, until a call fails.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Availability {
    /// Whether the last that was seen of the database was a failure to reach it.
    pub(crate) fn is_away(&self) -> bool {
        *self.0.borrow()
    }

    /// A call found the database away.
    pub(crate) fn mark_away(&self, error: &StoreError) {
        if !self.0.send_replace(true) {
            tracing::warn!(%error, sqlstate = error.sqlstate, kind = ?error.kind, "the database is away; writes go into the queue");
        }
    }

    /// A read failed. One that only took too long says nothing about writes.
    pub(crate) fn read_failed(&self, error: &StoreError) {
        if error.kind == DatabaseErrorKind::Connection {
            self.mark_away(error);
        }
    }

    /// The database answers again.
    pub(crate) fn mark_available(&self) {
        if self.0.send_replace(false) {
            tracing::info!("the database is back");
        }
    }

    /// Returns when the database is away.
    pub(crate) async fn changed_to_away(&self) {
        // The sender is in self, so the wait cannot end with its loss.
        let mut seen = self.0.subscribe();
        let _away = seen.wait_for(|away| *away).await;
    }
}
