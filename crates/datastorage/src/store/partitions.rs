//! Keeps the months around today covered (D25).

use jiff::Timestamp;

use super::access::Store;
use super::error::StoreError;
use super::pools::Use;

impl Store {
    /// Creates the partitions of the previous month, this one and those ahead where they are missing; returns the new ones.
    pub(crate) async fn ensure_partitions(
        &self,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        self.run(Use::Brief, "audit_events", async |client| {
            let rows = client
                .query("SELECT ensure_audit_events_partitions($1)", &[&now])
                .await?;
            rows.iter().map(|row| row.try_get(0)).collect()
        })
        .await
    }
}
