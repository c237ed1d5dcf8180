//! Whether the answer to a write speaks of what was sent.

use uuid::Uuid;

use crate::types::{
    AuditEventBatchResponse, AuditEventRequest, AuditEventResponse, NotificationAudit,
    NotificationAuditResponse,
};

/// The answer to a committed write of an `S`.
pub(crate) trait Receipt<S: ?Sized> {
    /// Why it cannot be the answer to `sent`; none when it acknowledges just that.
    fn mismatch(&self, sent: &S) -> Option<String>;
}

impl Receipt<[Option<Uuid>]> for AuditEventBatchResponse {
    fn mismatch(&self, sent: &[Option<Uuid>]) -> Option<String> {
        differ(&self.event_ids, sent.iter().copied())
    }
}

impl Receipt<[AuditEventRequest]> for AuditEventBatchResponse {
    fn mismatch(&self, sent: &[AuditEventRequest]) -> Option<String> {
        differ(&self.event_ids, sent.iter().map(|event| event.event_id))
    }
}

impl Receipt<AuditEventRequest> for AuditEventResponse {
    fn mismatch(&self, sent: &AuditEventRequest) -> Option<String> {
        differ(&[self.event_id], [sent.event_id].into_iter())
    }
}

impl Receipt<NotificationAudit> for NotificationAuditResponse {
    fn mismatch(&self, sent: &NotificationAudit) -> Option<String> {
        (self.notification_id != sent.notification_id)
            .then(|| format!("it names the notification {:?}", self.notification_id))
    }
}

/// Compares ids in order; an event that was sent without one may have got any.
fn differ(
    acknowledged: &[Uuid],
    sent: impl ExactSizeIterator<Item = Option<Uuid>>,
) -> Option<String> {
    let (named, wanted) = (acknowledged.len(), sent.len());
    if named != wanted {
        return Some(format!("it names {named} events, not {wanted}"));
    }
    let mut pairs = acknowledged.iter().zip(sent);
    let (named, wanted) = pairs.find(|(named, sent)| sent.is_some_and(|sent| sent != **named))?;
    let wanted = wanted.unwrap_or_default();
    Some(format!("it names the event {named} in place of {wanted}"))
}
