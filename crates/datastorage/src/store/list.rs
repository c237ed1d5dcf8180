//! Lists whose rows are written out as they are read, one at a time, up to a bound in bytes.

use std::pin::pin;

use datastorage_api::limits;
use futures_util::TryStreamExt as _;
use serde_json::value::RawValue;
use tokio_postgres::types::{Json, ToSql};

use super::access::{Rest, Store};
use super::error::StoreError;
use super::pools::Use;

/// What was written of a list.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Listed {
    /// How many rows.
    pub(crate) count: i64,
    /// Count of all matches.
    pub(crate) total: i64,
    /// Whether it ended before rows that were read for it, because they are large.
    pub(crate) ended_early: bool,
}

impl Listed {
    /// Whether matches follow, of a list that began after `offset` of them.
    pub(crate) fn has_more(self, offset: i64) -> bool {
        self.ended_early || offset.saturating_add(self.count) < self.total
    }
}

impl Store {
    /// Appends the rows of a statement to `text` as JSON separated by commas; it ends at [`limits::PAGE_BYTES`], and a row that is
    /// larger comes alone. The statement gives the count of all matches and a row as JSON, or null where the list is empty.
    pub(super) async fn list(
        &self,
        relation: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
        text: &mut Vec<u8>,
    ) -> Result<Listed, StoreError> {
        let begin = text.len();
        self.read(Use::Long, relation, async |client| {
            let statement = client.prepare_cached(sql).await?;
            let rows = client.query_raw(&statement, values.iter().copied());
            let mut rows = pin!(rows.await?);
            let (mut listed, mut largest) = (Listed::default(), 0);
            while let Some(row) = rows.try_next().await? {
                listed.total = row.try_get(0)?;
                let Some(Json(item)) = row.try_get::<_, Option<Json<&RawValue>>>(1)? else {
                    continue;
                };
                let item = item.get().as_bytes();
                largest = largest.max(item.len());
                if listed.count > 0 {
                    if text.len() - begin + item.len() >= limits::PAGE_BYTES {
                        listed.ended_early = true;
                        return Ok((listed, Rest::Unread));
                    }
                    text.push(b',');
                }
                text.extend_from_slice(item);
                listed.count += 1;
            }
            Ok((listed, Rest::after(largest)))
        })
        .await
    }
}
