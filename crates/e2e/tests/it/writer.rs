//! A client of Data Storage that goes on writing whatever happens, and then looks for what it wrote.

use std::time::Duration;

use datastorage_client::types::AuditEventRequest;
use datastorage_client::{Client, Written};
use serde_json::{Value, json};
use testkit::events::{minimal, unique, with};
use testkit::wait;

use crate::audit::{STORED_WITHIN, check_complete, found_all, request};
use crate::environment::datastorage;
use crate::fault;
use crate::service::Emitted;

/// Between two writes of one who waits for an outage: an embedded server is back in less than a tenth of a second.
const PAUSE: Duration = Duration::from_millis(5);

/// A valid event with a key of its own.
pub(crate) fn keyed(correlation_id: &str) -> Value {
    let event = minimal("workflow.started", "workflow", "success", correlation_id);
    with(event, json!({"event_id": uuid::Uuid::now_v7()}))
}

/// How an event was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// 201: it is in the database.
    Committed,
    /// 202: it is in Data Storage's queue.
    Queued,
}

/// What a writer puts up with before an event is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Anything: it tries again for as long as an outage lasts.
    Outage,
    /// As a client that retries: what was not answered is sent again until it is. An answer that refuses fails the test.
    UntilAnswered,
    /// As a client that retries once, on a new connection.
    OneRetry,
}

/// A client that writes one event after another and repeats each until it is taken, on a connection that it keeps while it works.
pub(crate) struct Writer {
    correlation_id: String,
    patience: Patience,
    datastorage: Client,
    taken: Vec<Emitted>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self::of(Patience::Outage)
    }

    pub(crate) fn of(patience: Patience) -> Self {
        Self {
            correlation_id: unique("outage"),
            patience,
            datastorage: datastorage(),
            taken: Vec::new(),
        }
    }

    /// How many events were taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.len()
    }

    /// Writes one event; what is not known to be taken is sent again under the same key (D29).
    pub(crate) async fn write(&mut self) -> Taken {
        let event: AuditEventRequest = request(&keyed(&self.correlation_id));
        let mut unanswered = 0;
        let written = wait::until("Data Storage to take an event", STORED_WITHIN, async || {
            let written = self.datastorage.create_audit_event(&event).await;
            written.inspect_err(|error| {
                self.datastorage = datastorage();
                unanswered += 1;
                match self.patience {
                    Patience::Outage => {}
                    _ if error.status().is_some() => panic!("a request was refused: {error}"),
                    Patience::OneRetry if unanswered > 1 => {
                        panic!("two requests in a row had no answer: {error}")
                    }
                    Patience::OneRetry | Patience::UntilAnswered => {}
                }
            })
        });
        let taken = match written.await {
            Written::Committed(_) => Taken::Committed,
            Written::Queued(_) => Taken::Queued,
        };
        fault::is_over();
        self.taken.push(Emitted {
            event_id: event.event_id.unwrap().to_string(),
            event_type: event.event_type,
        });
        taken
    }

    /// Writes until an event is taken in that way, which may be so for a moment only.
    pub(crate) async fn write_until(&mut self, wanted: Taken) {
        let writing = async {
            while self.write().await != wanted {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(STORED_WITHIN, writing)
            .await
            .unwrap_or_else(|_| panic!("no event was {wanted:?} within {STORED_WITHIN:?}"));
    }

    /// Waits until all that was taken is stored, and checks that it is so once and in order.
    pub(crate) async fn check(self) {
        let events = wait::until("the queue to be drained", STORED_WITHIN, async || {
            let events = found_all(&self.correlation_id).await;
            let (stored, taken) = (events.len(), self.taken.len());
            if stored < taken {
                Err(format!("{stored} of {taken}"))
            } else {
                Ok(events)
            }
        });
        check_complete(&events.await, &self.taken);
    }
}
