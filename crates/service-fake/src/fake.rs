//! The fake: a service's scenarios, and the way that their events take: the audit store, or plain requests.

use std::path::Path;
use std::time::Duration;

use audit_store::{Access, CloseError, Config, Report, Store, StoreError};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::plain::{Plain, SendError};
use crate::{SERVICES, Scenario, Steps, of_service};

/// A fake of one service, with its audit store open if it has one.
pub struct Fake {
    service: String,
    scenarios: Vec<Scenario>,
    way: Way,
}

/// The way of its events.
enum Way {
    Store(Store),
    Plain(Plain),
}

/// Why a fake cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such service.
    #[error("no scenario is written for a service `{0}`; name one of: {known}", known = SERVICES.join(", "))]
    Service(String),
    /// Its audit store cannot be opened.
    #[error(transparent)]
    Store(#[from] audit_store::OpenError),
    /// Data Storage, or what stands for it, cannot be asked.
    #[error(transparent)]
    Url(#[from] datastorage_client::Error),
}

/// Why a scenario is not played, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The service has no such scenario.
    #[error("{service} has no scenario `{name}`; it plays: {known}")]
    Scenario {
        /// The service.
        service: String,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The scenario does not have such a name, or the name is of another type.
    #[error("scenario `{scenario}`: {reason}; GET /scenarios shows the names that it takes")]
    Names {
        /// The scenario.
        scenario: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// No step of the scenario is among those asked for.
    #[error("scenario `{scenario}` has {steps} steps, none of which was asked for")]
    Steps {
        /// The scenario.
        scenario: &'static str,
        /// How many it has.
        steps: usize,
    },
    /// The events were not accepted.
    #[error("no event is known to be accepted: {0}")]
    Sent(#[from] SendError),
    /// The store did not accept an event; those before it are accepted.
    #[error("{} events were emitted, then: {cause}", emitted.len())]
    Store {
        /// What was accepted.
        emitted: Vec<Emitted>,
        /// Why the next one was not.
        cause: StoreError,
    },
}

/// A scenario that was played.
#[derive(Debug, Serialize)]
pub struct Played {
    /// The service.
    pub service: String,
    /// The scenario.
    pub scenario: &'static str,
    /// What ties its events together.
    pub correlation_id: String,
    /// The events that were accepted, in order.
    pub emitted: Vec<Emitted>,
}

/// An event that was accepted.
#[derive(Debug, Serialize)]
pub struct Emitted {
    /// Its key (D29).
    pub event_id: Uuid,
    /// Its type.
    pub event_type: String,
}

impl Fake {
    /// Creates a fake of `service`, which emits to the Data Storage at `datastorage_url` and keeps its journal in `journal`; without one
    /// by plain requests.
    ///
    /// Data Storage need not be there yet. What an earlier fake left in the journal is sent first.
    pub fn open(
        service: &str,
        datastorage_url: &str,
        journal: Option<&Path>,
    ) -> Result<Self, OpenError> {
        Self::open_with(service, datastorage_url, Access::default(), journal)
    }

    /// The same for a Data Storage that asks who calls; plain requests go to a relay, which proves who it is itself.
    pub fn open_with(
        service: &str,
        datastorage_url: &str,
        access: Access,
        journal: Option<&Path>,
    ) -> Result<Self, OpenError> {
        let scenarios =
            of_service(service).ok_or_else(|| OpenError::Service(service.to_owned()))?;
        let way = match journal {
            Some(journal) => {
                let config = Config {
                    access,
                    ..Config::for_service(service, journal)
                };
                Way::Store(Store::open(datastorage_url, config)?)
            }
            None => Way::Plain(Plain::new(datastorage_url)?),
        };
        Ok(Self {
            service: service.to_owned(),
            scenarios,
            way,
        })
    }

    /// The service that it plays.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The way of its events, in words.
    pub fn emits(&self) -> &'static str {
        match self.way {
            Way::Store(_) => "through the audit store",
            Way::Plain(_) => "by plain requests",
        }
    }

    /// What it can play.
    pub fn scenarios(&self) -> &[Scenario] {
        &self.scenarios
    }

    /// Emits the events of a scenario, or those of its `steps`, with `names` in them, and returns when they are accepted.
    pub async fn play(
        &self,
        scenario: &str,
        names: Map<String, Value>,
        steps: Steps,
    ) -> Result<Played, PlayError> {
        let scenario = self.find(scenario)?;
        let events = scenario.events(names).map_err(|error| PlayError::Names {
            scenario: scenario.name,
            reason: error.to_string(),
        })?;
        let total = events.len();
        let events = steps.of(events);
        let correlation_id = events
            .first()
            .map(|event| event.correlation_id().to_owned());
        let correlation_id = correlation_id.ok_or(PlayError::Steps {
            scenario: scenario.name,
            steps: total,
        })?;
        let types: Vec<_> = events
            .iter()
            .map(|event| event.event_type().to_owned())
            .collect();
        let emitted = |ids: Vec<Uuid>| {
            let emitted = ids.into_iter().zip(types.iter().cloned());
            emitted
                .map(|(event_id, event_type)| Emitted {
                    event_id,
                    event_type,
                })
                .collect::<Vec<_>>()
        };
        let ids = match &self.way {
            Way::Plain(plain) => plain.send(events).await?,
            Way::Store(store) => {
                let mut ids = Vec::with_capacity(events.len());
                for event in events {
                    match store.store(event) {
                        Ok(id) => ids.push(id),
                        Err(cause) => {
                            let emitted = emitted(ids);
                            return Err(PlayError::Store { emitted, cause });
                        }
                    }
                }
                ids
            }
        };
        Ok(Played {
            service: self.service.clone(),
            scenario: scenario.name,
            correlation_id,
            emitted: emitted(ids),
        })
    }

    /// Returns when what was accepted is stored or parked, or `deadline` has passed.
    pub async fn flush(&self, deadline: Duration) -> Report {
        match &self.way {
            Way::Store(store) => store.flush(deadline).await,
            Way::Plain(plain) => plain.flush(deadline).await,
        }
    }

    /// Ends acceptance and sends what it can within `deadline`; the next fake on the journal sends the rest.
    pub async fn close(&self, deadline: Duration) -> Result<Report, CloseError> {
        match &self.way {
            Way::Store(store) => store.close(deadline).await,
            // What is accepted is not this process's any more.
            Way::Plain(_) => Ok(Report::default()),
        }
    }

    fn find(&self, name: &str) -> Result<&Scenario, PlayError> {
        let found = self.scenarios.iter().find(|scenario| scenario.name == name);
        found.ok_or_else(|| {
            let known: Vec<_> = self.scenarios.iter().map(|known| known.name).collect();
            PlayError::Scenario {
                service: self.service.clone(),
                name: name.to_owned(),
                known: known.join(", "),
            }
        })
    }
}
