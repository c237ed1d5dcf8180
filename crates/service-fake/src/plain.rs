//! Emitting without the audit store, as a service in another language does: each scenario is one POST, and an answer of 201 or 202 is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use audit_store::{Event, Report};
use datastorage_api::FieldErrors;
use datastorage_client::{Client, Error, QueryAuditEvents};
use uuid::Uuid;

/// Between two looks at what is stored.
const PAUSE: Duration = Duration::from_millis(50);
/// Most events of one page.
const PAGE: i32 = 1000;

/// A client of Data Storage, or of a relay that stands for it.
pub(crate) struct Plain {
    datastorage: Client,
    looked_for: Mutex<LookedFor>,
}

/// What was answered 201 or 202 and has not been read back yet, by correlation id; and how much has.
#[derive(Default)]
struct LookedFor {
    ids: BTreeMap<String, BTreeSet<Uuid>>,
    found: u64,
}

impl LookedFor {
    /// How many have been read back, and how many have not.
    fn counts(&self) -> (u64, u64) {
        let outstanding: usize = self.ids.values().map(BTreeSet::len).sum();
        (self.found, outstanding as u64)
    }

    /// These events of a correlation id were found.
    fn forget(&mut self, correlation_id: &str, found: impl Iterator<Item = Uuid>) {
        let Some(ids) = self.ids.get_mut(correlation_id) else {
            return;
        };
        for id in found {
            self.found += u64::from(ids.remove(&id));
        }
        if ids.is_empty() {
            self.ids.remove(correlation_id);
        }
    }
}

/// Why the events of a scenario are not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The contract does not have such an event.
    #[error("an event of the scenario is not valid: {0}")]
    Event(FieldErrors),
    /// They were refused, or there was no answer.
    #[error(transparent)]
    Refused(#[from] Box<Error>),
}

impl Plain {
    pub(crate) fn new(url: &str) -> Result<Self, Error> {
        Ok(Self {
            datastorage: Client::new(url)?,
            looked_for: Mutex::default(),
        })
    }

    /// Sends events in one batch, and returns their ids when they are accepted.
    pub(crate) async fn send(&self, events: Vec<Event>) -> Result<Vec<Uuid>, SendError> {
        let requests: Vec<_> = events
            .into_iter()
            .map(Event::into_request)
            .collect::<Result<_, _>>()
            .map_err(SendError::Event)?;
        let sent = self.datastorage.create_audit_events_batch(&requests).await;
        sent.map_err(Box::new)?;
        let mut looked_for = self.looked_for();
        let mut ids = Vec::with_capacity(requests.len());
        for request in requests {
            let id = request.event_id.unwrap_or_default();
            let of_correlation = looked_for.ids.entry(request.correlation_id).or_default();
            of_correlation.insert(id);
            ids.push(id);
        }
        Ok(ids)
    }

    /// Reads back what was accepted until all of it is there or `deadline` has passed.
    pub(crate) async fn flush(&self, deadline: Duration) -> Report {
        let began = Instant::now();
        loop {
            let blocked_by = self.look().await.err().map(Into::into);
            let (stored, outstanding) = self.looked_for().counts();
            if outstanding == 0 || began.elapsed() >= deadline {
                return Report {
                    stored,
                    queued: outstanding,
                    journalled: outstanding,
                    blocked_by,
                    ..Report::default()
                };
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn look(&self) -> Result<(), Error> {
        let ids: Vec<String> = self.looked_for().ids.keys().cloned().collect();
        for correlation_id in ids {
            let query = QueryAuditEvents {
                correlation_id: Some(correlation_id.clone()),
                limit: Some(PAGE),
                ..QueryAuditEvents::default()
            };
            let page = self.datastorage.query_audit_events(&query).await?;
            let found = page.data.iter().map(|event| event.event_id);
            self.looked_for().forget(&correlation_id, found);
        }
        Ok(())
    }

    fn looked_for(&self) -> std::sync::MutexGuard<'_, LookedFor> {
        self.looked_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
