//! Events of the notification controller.

use std::collections::BTreeMap;

use datastorage_api::{EventCategory, EventOutcome};
use serde::{Deserialize, Serialize};

use super::by_service;
use crate::Event;

const ACTOR: &str = "notification-controller";

/// The notification.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Name of the notification request.
    pub notification_id: String,
    /// Channel, such as `slack`.
    pub channel: String,
    /// Subject.
    pub subject: String,
    /// Text.
    pub body: String,
    /// Priority, such as `high`.
    pub priority: String,
    /// Type, such as `escalation`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The request's own metadata.
    pub metadata: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Failed<'a> {
    #[serde(flatten)]
    message: &'a Message,
    error_type: &'a str,
    error: &'a str,
}

#[derive(Serialize)]
struct Escalated<'a> {
    #[serde(flatten)]
    message: &'a Message,
    reason: &'a str,
}

/// The message was delivered. `remediation` is the request's `remediationRequestName`, else its UID.
pub fn sent(remediation: &str, message: &Message) -> Event {
    event(
        "notification.message.sent",
        EventOutcome::Success,
        remediation,
        message,
        message,
    )
}

/// The message could not be delivered; its action is `sent` as well.
pub fn failed(remediation: &str, message: &Message, error_type: &str, error: &str) -> Event {
    let data = Failed {
        message,
        error_type,
        error,
    };
    event(
        "notification.message.failed",
        EventOutcome::Failure,
        remediation,
        message,
        &data,
    )
    .action("sent")
}

/// Someone acknowledged the message.
pub fn acknowledged(remediation: &str, message: &Message) -> Event {
    event(
        "notification.message.acknowledged",
        EventOutcome::Success,
        remediation,
        message,
        message,
    )
}

/// The message was escalated.
pub fn escalated(remediation: &str, message: &Message, reason: &str) -> Event {
    let data = Escalated { message, reason };
    event(
        "notification.message.escalated",
        EventOutcome::Success,
        remediation,
        message,
        &data,
    )
}

fn event(
    event_type: &str,
    outcome: EventOutcome,
    remediation: &str,
    message: &Message,
    data: &impl Serialize,
) -> Event {
    by_service(
        EventCategory::Notification,
        ACTOR,
        event_type,
        outcome,
        remediation,
        data,
    )
    .resource("NotificationRequest", &message.notification_id)
}
