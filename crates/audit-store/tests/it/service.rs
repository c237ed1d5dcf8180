//! Reading from the real Data Storage as a suite does.

use datastorage_client::{Client, QueryAuditEvents, types::AuditEvent};
pub(crate) use testkit::datastorage::Service;

/// What the tests ask of a service.
pub(crate) trait Ask {
    /// A client of it.
    fn client(&self) -> Client;

    /// All events of a correlation id in the order of emission.
    async fn events(&self, correlation_id: &str) -> Vec<AuditEvent>;
}

impl Ask for Service {
    fn client(&self) -> Client {
        Client::new(&self.url()).expect("a client")
    }

    async fn events(&self, correlation_id: &str) -> Vec<AuditEvent> {
        let mut query = QueryAuditEvents {
            correlation_id: Some(correlation_id.to_owned()),
            limit: Some(1000),
            ..Default::default()
        };
        let mut events = Vec::new();
        loop {
            let page = self
                .client()
                .query_audit_events(&query)
                .await
                .expect("a page");
            events.extend(page.data);
            query.cursor = page.pagination.next_cursor;
            if query.cursor.is_none() {
                events.reverse();
                return events;
            }
        }
    }
}
