//! What became of the accepted events.

use std::sync::Arc;

/// What became of the events of a store, since it was opened; recovered events count as accepted.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Committed by Data Storage.
    pub stored: u64,
    /// Accepted and safe in the journal, to be sent again; in a memory-only store waiting in memory.
    pub journalled: u64,
    /// Of the journalled ones, those that Data Storage holds in its own queue by a 202.
    pub queued: u64,
    /// Refused by Data Storage for good and put aside with the reason; see [`crate::Store::parked`].
    pub parked: u64,
    /// Of the parked ones, those that grew too old for Data Storage while they waited.
    pub too_old: u64,
    /// Lost: by a memory-only store that ended or whose event was refused, by damage to a journal in use, or, at least as many, by what a start
    /// found damaged or missing.
    pub lost: u64,
    /// What the last attempt failed with, while events wait.
    pub blocked_by: Option<Arc<datastorage_client::Error>>,
}

impl Report {
    /// Whether every accepted event is stored.
    pub fn is_complete(&self) -> bool {
        self.journalled == 0 && self.parked == 0 && self.lost == 0
    }

    /// Whether events wait because Data Storage does not let this client in: a matter of [`crate::Config::access`], which waiting alone
    /// does not mend, and never of the events.
    pub fn is_refused_access(&self) -> bool {
        let status = self.blocked_by.as_ref().and_then(|error| error.status());
        matches!(status, Some(401 | 403))
    }

    /// The failure as the end of a sentence.
    pub(crate) fn blocked(&self) -> String {
        self.blocked_by
            .as_ref()
            .map(|error| format!(": {error}"))
            .unwrap_or_default()
    }
}
