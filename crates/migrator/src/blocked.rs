//! Who holds what a server process waits for.

use std::time::Duration;

use tokio_postgres::SimpleQueryRow;

use crate::report::{Blocker, Holder};
use crate::rows::text;

/// How long a message may run before anybody asks what it waits for.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);

/// How long after an answer the question is asked again.
pub(crate) const PAUSE: Duration = Duration::from_secs(3);

/// The query, for another session, for the one who has blocked process `pid` the longest; no row where it waits for nobody.
pub(crate) fn who(pid: i32) -> String {
    format!(
        "SELECT a.pid, a.application_name, coalesce(a.client_addr::text, 'local'), \
         greatest(0, extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start)))::bigint, \
         (SELECT l.relation::regclass::text FROM pg_locks l WHERE l.pid = {pid} AND NOT l.granted AND l.relation IS NOT NULL LIMIT 1) \
         FROM pg_stat_activity a WHERE a.pid = ANY (pg_blocking_pids({pid})) ORDER BY a.xact_start LIMIT 1"
    )
}

/// The row of [`who`].
pub(crate) fn read(row: &SimpleQueryRow) -> Blocker {
    Blocker {
        table: row.get(4).map(str::to_owned),
        holder: Holder {
            pid: text(row, 0).parse().unwrap_or(0),
            application: text(row, 1),
            client: text(row, 2),
            seconds: text(row, 3).parse().unwrap_or(0),
        },
    }
}
