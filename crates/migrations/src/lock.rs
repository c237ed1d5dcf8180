//! The migration lock: a session advisory lock, waited for in short bounded pieces (D20).
//!
//! A waiter that blocks longer than `deadlock_timeout` would make a CREATE INDEX CONCURRENTLY of the holder look like a
//! deadlock; one that polls gets its turn late and out of order. Blocking for less than that, again and again, does neither.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use crate::error::Error;
use crate::ledger::{Holder, text};
use crate::report::Event;
use crate::session::{Run, Session};

/// Both halves of the key, readable in `pg_locks` as classid and objid: "KUBE" and "MIGR".
const KEY: (u32, u32) = (0x4b55_4245, 0x4d49_4752);
/// The longest single wait, where `deadlock_timeout` allows it.
const LONGEST_WAIT: Duration = Duration::from_millis(300);

/// The lock's rows in `pg_locks`, of this database only.
pub(crate) fn held_by() -> String {
    format!(
        "FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = {} AND l.objid = {} AND l.objsubid = 2 AND l.granted \
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        KEY.0, KEY.1
    )
}

/// Takes the lock; returns how long others were waited for. `deadlock_timeout` is the server's.
pub(crate) async fn acquire(
    run: &Run,
    session: &Session,
    deadlock_timeout: Duration,
) -> Result<Duration, Error> {
    let started = Instant::now();
    let wait = LONGEST_WAIT
        .min(deadlock_timeout / 3)
        .max(Duration::from_millis(1));
    let mut told: Option<Instant> = None;
    let mut holder = None;
    loop {
        run.enter("waiting for the migration lock");
        let wait = wait.min(run.left());
        if wait.is_zero() {
            return Err(Error::LockTimeout {
                waited: started.elapsed(),
                holder,
            });
        }
        let sql = format!(
            "SET lock_timeout = {}; SELECT pg_advisory_lock({}, {})",
            wait.as_millis().max(1),
            KEY.0,
            KEY.1
        );
        match session.try_query(&sql).await {
            Ok(_) => return Ok(started.elapsed()),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {}
            Err(error) => return Err(session.explain(&error, "taking the migration lock")),
        }
        if told.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) || run.left() <= wait {
            holder = look_at_holder(session).await?.or(holder);
            if told.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
                run.config.emit(&Event::WaitingForLock {
                    holder: holder.clone(),
                });
                told = Some(Instant::now());
            }
        }
    }
}

async fn look_at_holder(session: &Session) -> Result<Option<Holder>, Error> {
    let sql = format!(
        "SELECT a.pid, a.application_name, coalesce(a.client_addr::text, 'local'), \
         greatest(0, extract(epoch FROM clock_timestamp() - a.query_start))::bigint \
         FROM pg_stat_activity a WHERE a.pid IN (SELECT l.pid {})",
        held_by()
    );
    let rows = session
        .query("looking for the holder of the migration lock", &sql)
        .await?;
    Ok(rows
        .first()
        .and_then(|rows| rows.first())
        .map(|row| Holder {
            pid: text(row, 0).parse().unwrap_or(0),
            application: text(row, 1),
            client: text(row, 2),
            seconds: text(row, 3).parse().unwrap_or(0),
        }))
}

/// Whether this session is seen to hold the lock, one row with its process id beside it.
pub(crate) fn own() -> String {
    format!(
        "SELECT pg_backend_pid(), EXISTS (SELECT {} AND l.pid = pg_backend_pid())",
        held_by()
    )
}

/// The statement that gives the lock back; true if it was held.
pub(crate) fn release() -> String {
    format!("SELECT pg_advisory_unlock({}, {})", KEY.0, KEY.1)
}
