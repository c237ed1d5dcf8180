//! What one query shows of a database, before and under the lock.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::SimpleQueryRow;
use tokio_postgres::error::SqlState;

use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::ledger::{self, Ledger};
use crate::lock;
use crate::names::Names;
use crate::rows::{Rows, named, text};
use crate::session::{Run, Session};
use crate::sql::literal;

/// What one query shows of a database.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read once"
)]
pub struct View {
    /// What was applied, by the catalogue's source.
    pub ledger: Ledger,
    /// Whether partitions are missing, or privileges of the application's role.
    pub(crate) upkeep_missing: bool,
    /// The server process that answers.
    pid: String,
    /// Whether the login named another process: what answers there is not the server but a proxy before it.
    behind_pooler: bool,
    /// Whether another run was in this server process before.
    backend_reused: bool,
    /// This run's mark in its server process.
    run_id: String,
    pub(crate) has_ledger: bool,
    /// Whether goose's table is there.
    pub(crate) has_goose: bool,
    /// Whether the application's role exists.
    pub has_role: bool,
    pub(crate) deadlock_timeout: Duration,
}

/// The error of a run that a session lock would not protect.
pub(crate) fn refused(run: &Run, evidence: &str) -> Error {
    Error::PoolerRefused {
        address: run.config.target.address(),
        evidence: evidence.to_owned(),
    }
}

impl View {
    /// One message. Where the ledger is missing the message ends with that; the settings and the facts, a transaction of their own,
    /// stay, and nobody asks for partitions and privileges.
    pub async fn first(
        session: &Session,
        catalogue: &Catalogue,
        tables: &[&str],
    ) -> Result<Self, Error> {
        let stage = "reading the ledger";
        let months = crate::partitions::missing_by_name(tables);
        let message = format!(
            "BEGIN; {}; {}; COMMIT; {}; {months} OR {}",
            ledger::settings(session.names()),
            ledger::facts(session.names()),
            ledger::read(session.names()),
            crate::grants::missing(session.names(), catalogue)
        );
        let mut sets = Vec::new();
        let has_ledger = match session.stream(&message, |rows| sets.push(rows)).await {
            Ok(()) => true,
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => false,
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {
                let cause = crate::error::chain(&error);
                let ledger = session.names().ledger();
                let message = if cause.contains("step_") {
                    format!(
                        "{ledger} is of an older build: {cause}; complete it with `ALTER TABLE {ledger} {}`",
                        ledger::NEWER_COLUMNS
                    )
                } else {
                    format!("{ledger} was made by another tool: {cause}")
                };
                return Err(Error::Database {
                    stage: stage.to_owned(),
                    sqlstate: SqlState::UNDEFINED_COLUMN.code().to_owned(),
                    message,
                });
            }
            Err(error) => return Err(session.explain(&error, stage)),
        };
        let facts = named(&sets, "facts")
            .and_then(<[_]>::first)
            .ok_or_else(|| Error::Database {
                stage: stage.to_owned(),
                sqlstate: "XX000".to_owned(),
                message: "no answer to a question about the server".to_owned(),
            })?;
        let (rows, unmade) = match sets.as_slice() {
            [.., rows, unmade] if has_ledger => (rows.as_slice(), unmade.first()),
            _ => (<&[SimpleQueryRow]>::default(), None),
        };
        Ok(Self {
            ledger: Ledger::read(rows, catalogue.source()),
            upkeep_missing: unmade.is_some_and(|row| row.get(0) == Some("t")),
            pid: text(facts, 0),
            behind_pooler: facts.get(0) != Some(&session.backend_pid.to_string()),
            backend_reused: facts.get(3).is_some_and(|mark| !mark.is_empty()),
            run_id: text(facts, 4),
            has_ledger,
            has_goose: facts.get(5) == Some("t"),
            has_role: facts.get(2) == Some("t"),
            deadlock_timeout: parse_interval(&text(facts, 1)),
        })
    }

    /// The statements that fail unless this is the server process of the first read, and nobody else's run was in it since. They
    /// run before the lock is taken: in another process nobody would release the lock. From there on the server checks that
    /// the client is still there, where it can, so that a killed one frees the lock in the middle of a statement.
    pub(crate) fn in_our_process(&self) -> String {
        format!(
            "SELECT 1 / (current_setting('migrator.run', true) IS NOT DISTINCT FROM {})::integer; {}",
            literal(&self.run_id),
            ledger::NOTICE_GONE_CLIENT
        )
    }

    /// The statement, to be run under the lock, that fails unless the ledger is as it was seen and there is no table that another
    /// tool may have made. Its answer is for [`View::waited`].
    pub(crate) fn unchanged(&self, names: &Names, catalogue: &Catalogue) -> String {
        let mut conditions = vec![if self.has_ledger {
            self.ledger.unchanged(names, catalogue.source())
        } else {
            is_missing(&names.ledger())
        }];
        if let Some(unmanaged) = &catalogue.unmanaged
            && self.ledger.entries.is_empty()
        {
            conditions.push(is_missing(&names.in_schema(&unmanaged.table)));
        }
        // A cast that cannot succeed is the one way to fail inside a plain SELECT.
        format!(
            "SELECT (CASE WHEN {} THEN extract(epoch FROM clock_timestamp() - statement_timestamp())::text \
             ELSE 'no longer as it was seen' END)::float8 AS waited",
            conditions.join(" AND ")
        )
    }

    /// An object that only another tool makes, if there is one and the ledger knows of nothing.
    pub async fn unmanaged(
        &self,
        session: &Session,
        catalogue: &Catalogue,
    ) -> Result<Option<String>, Error> {
        let Some(unmanaged) = &catalogue.unmanaged else {
            return Ok(None);
        };
        if !self.ledger.entries.is_empty() {
            return Ok(None);
        }
        let stage = "looking for tables of another tool";
        let sets = session.query(stage, &unmanaged.evidence).await?;
        let row = sets.first().and_then(|rows| rows.first());
        Ok(row.and_then(|row| row.get(0)).map(str::to_owned))
    }

    /// How long the message had run when it got the lock.
    pub(crate) fn waited(sets: &[Rows]) -> Duration {
        let row = named(sets, "waited").and_then(<[_]>::first);
        let seconds: f64 = row.and_then(|row| row.get(0)?.parse().ok()).unwrap_or(0.0);
        Duration::from_secs_f64(seconds.max(0.0))
    }
}

fn is_missing(object: &str) -> String {
    format!("to_regclass({}) IS NULL", literal(object))
}

/// `deadlock_timeout` as the server prints it: a number and its unit, the largest that leaves a whole number (PostgreSQL manual,
/// "Parameter Names and Values"); its default where that cannot be read.
fn parse_interval(setting: &str) -> Duration {
    let digits = setting.trim_end_matches(|c: char| !c.is_ascii_digit());
    let milliseconds = match &setting[digits.len()..] {
        "ms" => Some(1),
        "s" => Some(1000),
        "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let read = digits.parse().ok().zip(milliseconds);
    read.map_or(Duration::from_secs(1), |(number, unit): (u64, u64)| {
        Duration::from_millis(number.saturating_mul(unit))
    })
}

/// Takes the lock, makes the ledger if it is missing, checks that the lock is truly this session's, and reads the ledger again,
/// all in the message that waits; returns how long others were waited for, too.
pub(crate) async fn under_lock(
    run: &Arc<Run>,
    session: &Session,
    view: &View,
    has_role: bool,
    catalogue: &Catalogue,
) -> Result<(Duration, Ledger), Error> {
    let bootstrap = if view.has_ledger {
        String::new()
    } else {
        ledger::make(session.names(), has_role)
    };
    let ours = view.in_our_process();
    let elsewhere = |error: Error| match error.sqlstate() {
        Some("22012") => moved(run),
        _ => error,
    };
    if catalogue.has_shapes() {
        // Before its turn, not in it: reading that query takes the server longer than all the rest here.
        let ahead = format!(
            "{ours}; {}",
            crate::shape::prepare(session.names(), catalogue)
        );
        let prepared = session.query("preparing to check shapes", &ahead).await;
        prepared.map_err(elsewhere)?;
    }
    let then = format!(
        "{}; {bootstrap}\n; {}; {}",
        lock::own(session.names()),
        ledger::prepare(session.names(), false),
        ledger::read(session.names())
    );
    let acquired = lock::acquire(run, session, view.deadlock_timeout, &ours, &then).await;
    let (waited, sets) = acquired.map_err(elsewhere)?;
    let own = named(&sets, "own").and_then(<[_]>::first);
    if own.is_none_or(|row| row.get(0) != Some("t")) {
        return Err(moved(run));
    }
    let rows = sets.last().map(Vec::as_slice).unwrap_or_default();
    Ok((waited, Ledger::read(rows, catalogue.source())))
}

/// A session that holds the migration lock, and the ledger as it was read under it.
pub(crate) struct Held {
    pub(crate) session: Session,
    pub(crate) view: View,
    pub(crate) ledger: Ledger,
}

impl Held {
    /// Connects, takes the lock and reads the ledger, which is made if it is missing.
    pub(crate) async fn open(run: &Arc<Run>, catalogue: &Catalogue) -> Result<Self, Error> {
        let session = Session::open(run).await?;
        let view = View::first(&session, catalogue, &[]).await?;
        refuse_shared_process(run, &view).await?;
        Self::take(run, catalogue, session, view).await
    }

    /// As [`Held::open`], in a session that was read from before and is nobody else's ([`refuse_shared_process`]).
    pub(crate) async fn take(
        run: &Arc<Run>,
        catalogue: &Catalogue,
        session: Session,
        view: View,
    ) -> Result<Self, Error> {
        let (_, ledger) = under_lock(run, &session, &view, view.has_role, catalogue).await?;
        Ok(Self {
            session,
            view,
            ledger,
        })
    }

    /// Gives the lock back and ends the session.
    pub(crate) async fn release(self) -> Result<(), Error> {
        let release = lock::release(self.session.names());
        self.session.query("giving the lock back", &release).await?;
        self.session.close().await;
        Ok(())
    }
}

/// Runs one message under the lock of the database's migrations, which is given back after it, or with the session after a failure.
///
/// # Errors
/// [`Error::LockTimeout`], and what the statements of the message fail with.
pub async fn locked(
    run: &Run,
    session: &Session,
    stage: &str,
    message: &str,
) -> Result<Vec<Rows>, Error> {
    let asked = "SELECT current_setting('deadlock_timeout', true) AS deadlock_timeout";
    let sets = session.query("looking at the server", asked).await?;
    let row = named(&sets, "deadlock_timeout").and_then(<[_]>::first);
    let deadlock_timeout = parse_interval(&row.map(|row| text(row, 0)).unwrap_or_default());
    lock::acquire(run, session, deadlock_timeout, "", "RESET lock_timeout").await?;
    let sets = session.query(stage, message).await?;
    let release = lock::release(session.names());
    session
        .query("releasing the migration lock", &release)
        .await?;
    Ok(sets)
}

fn moved(run: &Run) -> Error {
    refused(
        run,
        "statements of one session ran in different server processes, or others ran between them",
    )
}

/// How long a second session is waited for: a pooler that has none left while ours is idle keeps ours for us.
const SECOND: Duration = Duration::from_secs(2);

/// Refuses a pooler that gives the server process of our idle session to others: one in session mode does not, and resets a process
/// before the next session has it. A relay such as a port-forward passes on the process that the server named, so it is not asked.
pub(crate) async fn refuse_shared_process(run: &Arc<Run>, view: &View) -> Result<(), Error> {
    let shared = || refused(run, "two connections share one server process");
    if view.backend_reused {
        return Err(shared());
    }
    if !view.behind_pooler {
        return Ok(());
    }
    let reading = async {
        let second = Session::open(run).await?;
        // It leaves a mark as well, for the run whose process this may be.
        let query = "SELECT pg_backend_pid(), current_setting('migrator.run', true), \
                    set_config('migrator.run', 'a second connection', false)";
        let seen = second.query("looking for a pooler", query).await?;
        second.close().await;
        Ok::<_, Error>(seen)
    };
    let Ok(seen) = tokio::time::timeout(SECOND, reading).await else {
        return Ok(());
    };
    let seen = seen?;
    let row = seen.first().and_then(|rows| rows.first());
    let marked = row.is_none_or(|row| row.get(1).is_some_and(|mark| !mark.is_empty()));
    if marked || row.is_some_and(|row| row.get(0) == Some(&view.pid)) {
        return Err(shared());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_the_server_is_read() {
        for (setting, milliseconds) in [
            ("1s", 1000),
            ("500ms", 500),
            ("2min", 120_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("", 1000),
            ("soon", 1000),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(parse_interval(setting), expected, "{setting}");
        }
    }
}
