//! The migration lock: a session advisory lock, waited for in short bounded pieces.
//!
//! A waiter that blocks longer than `deadlock_timeout` would make a CREATE INDEX CONCURRENTLY of the holder look like a
//! deadlock; one that polls gets its turn late and out of order. Blocking for less than that, again and again, does neither.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use crate::error::Error;
use crate::names::Names;
use crate::report::{Event, Holder};
use crate::rows::{Rows, text};
use crate::session::{Run, Session};

/// A key of an advisory lock in two halves, readable in `pg_locks` as classid and objid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(i32, i32);

impl Key {
    /// The lock of a database's migrations.
    fn migrations(names: &Names) -> Self {
        Self(names.lock_class, i32::from_be_bytes(*b"MIGR"))
    }

    /// The lock of what belongs to the whole server.
    pub(crate) fn roles(names: &Names) -> Self {
        Self(names.lock_class, i32::from_be_bytes(*b"ROLE"))
    }

    /// The key of something with a name; two names may share one, which costs a wait and nothing else.
    pub(crate) fn of(names: &Names, name: &str) -> Self {
        let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(name).into();
        Self(names.lock_class, i32::from_be_bytes([a, b, c, d]))
    }

    /// The lock's rows in `pg_locks`, of this database only.
    fn held(self) -> String {
        format!(
            "FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid::bigint = {} AND l.objid::bigint = {} AND l.objsubid = 2 \
             AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            u32::from_ne_bytes(self.0.to_ne_bytes()),
            u32::from_ne_bytes(self.1.to_ne_bytes())
        )
    }

    /// Whether this session holds the lock.
    fn owned(self) -> String {
        format!(
            "EXISTS (SELECT {} AND l.pid = pg_backend_pid())",
            self.held()
        )
    }

    /// The statement that waits for the lock, until the session's or the transaction's end.
    pub(crate) fn take(self, until: &str) -> String {
        format!("SELECT pg_advisory{until}_lock({}, {})", self.0, self.1)
    }

    /// The statement that takes the lock if nobody has it; true if it did.
    pub(crate) fn try_take(self) -> String {
        format!("SELECT pg_try_advisory_lock({}, {})", self.0, self.1)
    }

    /// The statement that gives the lock back; true if it was held.
    pub(crate) fn release(self) -> String {
        format!("SELECT pg_advisory_unlock({}, {})", self.0, self.1)
    }
}

/// The longest single wait, where `deadlock_timeout` allows it.
const LONGEST_WAIT: Duration = Duration::from_millis(300);

fn longest_wait(deadlock_timeout: Duration) -> Duration {
    LONGEST_WAIT
        .min(deadlock_timeout / 3)
        .max(Duration::from_millis(1))
}

/// The statements that wait once for the lock of the database's migrations, keep it if `only_if` succeeds, and are without it
/// otherwise: a failing message leaves no lock behind, whoever gets its server process next.
pub(crate) fn take_if(names: &Names, only_if: &str, deadlock_timeout: Duration) -> String {
    let wait = longest_wait(deadlock_timeout).as_millis();
    let (first, then) = {
        let key = Key::migrations(names);
        (key.take("_xact"), key.take(""))
    };
    format!("SET lock_timeout = {wait}; {first}; {only_if}; {then}")
}

/// Takes the lock of the database's migrations unless `only_if` fails, and runs `then` in the same message, the moment it is had;
/// returns how long others were waited for, and the rows. `deadlock_timeout` is the server's.
pub(crate) async fn acquire(
    run: &Run,
    session: &Session,
    deadlock_timeout: Duration,
    only_if: &str,
    then: &str,
) -> Result<(Duration, Vec<Rows>), Error> {
    let key = Key::migrations(session.names());
    acquire_key(run, session, key, deadlock_timeout, only_if, then).await
}

pub(crate) async fn acquire_key(
    run: &Run,
    session: &Session,
    key: Key,
    deadlock_timeout: Duration,
    only_if: &str,
    then: &str,
) -> Result<(Duration, Vec<Rows>), Error> {
    let started = Instant::now();
    let wait = longest_wait(deadlock_timeout);
    let mut reported: Option<Instant> = None;
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
            "{only_if}; SET lock_timeout = {}; {}; {then}",
            wait.as_millis().max(1),
            key.take("")
        );
        match session.try_query(&sql).await {
            Ok(sets) => return Ok((started.elapsed(), sets)),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {}
            Err(error) => {
                let stage = match error.code().map(SqlState::code) {
                    // Not of the lock's own statement: what is made under it.
                    Some(code) if code.starts_with("42") || code == "3F000" => "making the ledger",
                    _ => "taking the migration lock",
                };
                return Err(session.explain(&error, stage));
            }
        }
        if reported.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) || run.left() <= wait {
            holder = look_at_holder(session, key).await?.or(holder);
            if reported.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
                run.config.emit(&Event::WaitingForLock {
                    holder: holder.clone(),
                });
                reported = Some(Instant::now());
            }
        }
    }
}

async fn look_at_holder(session: &Session, key: Key) -> Result<Option<Holder>, Error> {
    let sql = format!(
        "SELECT a.pid, a.application_name, coalesce(a.client_addr::text, 'local'), \
         greatest(0, extract(epoch FROM clock_timestamp() - a.query_start))::bigint \
         FROM pg_stat_activity a WHERE a.pid IN (SELECT l.pid {})",
        key.held()
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

/// Whether this session is seen to hold the lock.
pub(crate) fn own(names: &Names) -> String {
    format!("SELECT {} AS own", Key::migrations(names).owned())
}

/// The statement that gives the lock of the migrations back; true if it was held.
pub(crate) fn release(names: &Names) -> String {
    Key::migrations(names).release()
}
