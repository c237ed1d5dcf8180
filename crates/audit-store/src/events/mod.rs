//! Builders for the events that each service emits, their payloads typed.
//!
//! Each function fills in category, type, action, actor and resource as the service has emitted them so far, and returns an
//! [`Event`] that takes further fields, such as a namespace. Times and ids are given at acceptance.

use datastorage_api::{EventCategory, EventOutcome};
use serde::Serialize;

use crate::Event;

pub mod aianalysis;
pub mod datastorage;
pub mod gateway;
pub mod holmesgpt;
pub mod notification;
pub mod remediationorchestrator;
pub mod signalprocessing;
pub mod workflowexecution;

/// An event of a controller that acts by itself.
fn by_service(
    category: EventCategory,
    actor: &str,
    event_type: &str,
    outcome: EventOutcome,
    correlation_id: &str,
    data: &impl Serialize,
) -> Event {
    Event::new(category, event_type, outcome, correlation_id)
        .actor("service", actor)
        .data(data)
}

/// Outcome of something that either worked or did not.
fn outcome(succeeded: bool) -> EventOutcome {
    if succeeded {
        EventOutcome::Success
    } else {
        EventOutcome::Failure
    }
}

#[cfg(test)]
mod tests;
