//! The notification controller: messages are sent, acknowledged, escalated, or cannot be delivered.

use audit_store::Event;
use audit_store::events::notification::{Message, acknowledged, escalated, failed, sent};
use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, unique};

#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Cast {
    /// Name of the `NotificationRequest`.
    notification: String,
    /// Its `spec.metadata.remediationRequestName`, which correlates.
    remediation: Option<String>,
    /// UID of the request, which correlates where there is no remediation.
    uid: String,
    channel: String,
    subject: String,
    error_type: String,
    error: String,
}

impl Default for Cast {
    fn default() -> Self {
        Self {
            notification: unique("notification"),
            remediation: None,
            uid: uuid::Uuid::new_v4().to_string(),
            channel: "slack".to_owned(),
            subject: "checkout runs out of memory".to_owned(),
            error_type: "connection".to_owned(),
            error: "dial tcp: connection refused".to_owned(),
        }
    }
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "acknowledged",
            "a message is sent, and someone acknowledges it",
            |cast: &Cast| vec![cast.sent(), cast.acknowledged()],
        ),
        Scenario::new(
            "three-escalations",
            "three notifications of one remediation, each sent, acknowledged and escalated",
            |cast: &Cast| {
                let three = (1..=3).map(|number| cast.numbered(number));
                three
                    .flat_map(|cast| [cast.sent(), cast.acknowledged(), cast.escalated()])
                    .collect()
            },
        ),
        Scenario::new(
            "mixed-channels",
            "a message is delivered to the console and not to the other channel",
            |cast: &Cast| {
                let console = cast.through("console");
                vec![sent(cast.correlation_id(), &console), cast.failed()]
            },
        ),
    ]
}

impl Cast {
    fn sent(&self) -> Event {
        sent(self.correlation_id(), &self.message())
    }

    fn acknowledged(&self) -> Event {
        acknowledged(self.correlation_id(), &self.message())
    }

    fn escalated(&self) -> Event {
        escalated(
            self.correlation_id(),
            &self.message(),
            "nobody acknowledged within 5m",
        )
        .severity("warning")
    }

    fn failed(&self) -> Event {
        let message = self.message();
        failed(
            self.correlation_id(),
            &message,
            &self.error_type,
            &self.error,
        )
        .severity("error")
    }

    fn correlation_id(&self) -> &str {
        self.remediation.as_deref().unwrap_or(&self.uid)
    }

    fn message(&self) -> Message {
        self.through(&self.channel)
    }

    fn through(&self, channel: &str) -> Message {
        let remediation = self
            .remediation
            .iter()
            .map(|name| ("remediationRequestName".to_owned(), name.clone()));
        Message {
            notification_id: self.notification.clone(),
            channel: channel.to_owned(),
            subject: self.subject.clone(),
            body: "Pod payments/checkout-7d9c was restarted three times within 10m.".to_owned(),
            priority: "high".to_owned(),
            kind: "escalation".to_owned(),
            metadata: remediation.collect(),
        }
    }

    fn numbered(&self, number: u32) -> Self {
        Self {
            notification: format!("{}-{number}", self.notification),
            ..self.clone()
        }
    }
}
