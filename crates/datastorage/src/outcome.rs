//! What became of a request that writes events.

use uuid::Uuid;

use crate::store::StoreError;

/// What became of one request.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// Committed.
    Stored,
    /// In the synced queue; the database is away.
    Queued,
    /// Nothing stored: these ids are taken by other events of the same UTC date (D29).
    Conflict(Vec<Uuid>),
    /// Nothing stored: the database refuses it.
    Refused(StoreError),
    /// It was neither stored nor queued; why, and whether it may be committed all the same.
    Full(String, Doubt),
}

/// Whether a write that failed may be committed all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It is not stored.
    None,
    /// Its commit was sent and not answered.
    Committed,
}

impl Doubt {
    /// What the store says of it.
    pub(crate) fn of(error: &StoreError) -> Self {
        if error.is_in_doubt() {
            Self::Committed
        } else {
            Self::None
        }
    }
}
