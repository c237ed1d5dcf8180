//! Work that cannot be one transaction: a step per statement, progress in the ledger, repair instead of a dirty state.
//!
//! A statement that means the same in a transaction shares one with its progress, so it happens once. Any other is recorded as begun,
//! sent alone, and recorded as done: what was begun and not done is looked at before it is done again. Steps are known each by its
//! checksum: done ones are fixed, the rest of a file may be corrected.

use crate::concurrent::Concurrent;
use crate::error::{self, Error, MigrationFailure};
use crate::ledger::{self, Progress, State};
use crate::message::{Scope, applied};
use crate::migration::Migration;
use crate::report::{Event, Report};
use crate::rows::{Rows, named};
use crate::session::{Run, Session};
use crate::settings;
use crate::sql::{self, Effects, Statement};
use crate::units::{Kind, Unit, changed, units};

/// SQLSTATEs of a statement that was not what it looked like: it cannot run in a transaction, or ends the one that it is in.
const REFUSED_IN_TRANSACTION: [&str; 2] = ["25001", "2D000"];

/// Keeps when the work began; a transaction's own clock stands still.
const START: &str = "SELECT set_config('migrator.started', clock_timestamp()::text, false)";

/// What DISCARD ALL is short for, without the advisory locks: the session must keep the lock of the migrations
/// (<https://www.postgresql.org/docs/current/sql-discard.html>).
const DISCARD_ALL: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; UNLISTEN *; DISCARD PLANS; \
DISCARD TEMP; DISCARD SEQUENCES";

/// Runs what is left of `migration`.
pub(crate) async fn run(
    run: &Run,
    session: &Session,
    scope: &Scope<'_>,
    migration: &Migration,
    report: &mut Report,
) -> Result<(), Error> {
    let entry = scope.ledger.entries.get(&migration.id);
    let progress = match entry.map(|entry| &entry.state) {
        Some(State::InProgress(progress)) => progress.clone(),
        _ => Progress::default(),
    };
    let row = scope.row(migration);
    let script = Script {
        stage: format!("applying {} in steps", migration.id),
        id: &migration.id,
        file: &migration.file,
        text: &migration.up,
        first_line: migration.first_line,
        again: run.config.again.contains(&migration.id),
    };
    script
        .run(run, session, progress, |progress| {
            row.record_steps(progress)
        })
        .await?;
    let record = alone(&row.record_unprepared());
    let recorded = session
        .query("recording a migration in steps", &record)
        .await?;
    let recorded = named(&recorded, ledger::RECORDED).and_then(<[_]>::first);
    let recorded = applied(migration, recorded.and_then(|row| row.get(1)));
    script.restore(session).await?;
    let mut prepare = format!(
        "DEALLOCATE ALL; {}",
        ledger::prepare(session.names(), false)
    );
    if scope.catalogue.has_shapes() {
        prepare = format!(
            "{prepare}; {}",
            crate::shape::prepare(session.names(), scope.catalogue)
        );
    }
    session.query("preparing to record", &prepare).await?;
    run.config.emit(&Event::Applied(recorded.clone()));
    report.applied.push(recorded);
    Ok(())
}

/// A text that is run in steps.
pub(crate) struct Script<'a> {
    pub(crate) stage: String,
    /// Migration, for messages.
    pub(crate) id: &'a str,
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    pub(crate) first_line: usize,
    /// Whether a step that may be half done was asked for once more.
    pub(crate) again: bool,
}

impl Script<'_> {
    /// Runs the steps that `progress` lacks; `record` makes the statement that keeps how far it came.
    pub(crate) async fn run(
        &self,
        run: &Run,
        session: &Session,
        mut progress: Progress,
        record: impl Fn(&Progress) -> String,
    ) -> Result<(), Error> {
        run.enter(self.stage.as_str());
        let units = units(self.text).map_err(|begin| {
            self.failure(
                begin,
                "25P02",
                "BEGIN is ended by no COMMIT".to_owned(),
                "end the transaction in the same section",
            )
        })?;
        self.check(&units, &progress)?;
        // CREATE INDEX CONCURRENTLY waits for older transactions under the same limit: it must not be cut by it.
        let begin = format!("SET lock_timeout = 0; {START}");
        session.query("beginning work in steps", &begin).await?;
        if let Some(take_on) = ledger::take_on(&progress) {
            session
                .query("taking on what the steps before set", &take_on)
                .await?;
        }
        let left = &units[progress.done.len()..];
        for unit in left {
            run.enter(self.stage.as_str());
            let was_begun = progress
                .begun
                .take()
                .is_some_and(|begun| begun == unit.checksum());
            self.step(run, session, unit, was_begun, &mut progress, &record)
                .await?;
        }
        Ok(())
    }

    /// The whole text and `mark` in one transaction; the rows of each statement.
    pub(crate) async fn at_once(&self, session: &Session, mark: &str) -> Result<Vec<Rows>, Error> {
        let scan = sql::scan(self.text);
        let effects = Effects::of(&scan);
        let mark = format!("{}{mark}", settings::before_record(effects));
        if effects.apart {
            let begin = format!("SET lock_timeout = '3s'; {START}; BEGIN");
            return self
                .one_by_one(session, [&begin, "COMMIT"], &scan.statements, &mark)
                .await;
        }
        let begin = format!("SET lock_timeout = '3s'; {START}; BEGIN;\n");
        let message = format!("{begin}{}\n;\n{mark}; COMMIT", self.text);
        let mut sets = Vec::new();
        let outcome = session.stream(&message, |rows| sets.push(rows)).await;
        let Err(error) = outcome else {
            return Ok(sets);
        };
        let has_place = error
            .as_db_error()
            .is_some_and(|server| server.position().is_some());
        if has_place {
            return Err(self.explain(session, 0, begin.chars().count(), &error));
        }
        // The server names no place: it is the statement after those that it answered.
        let failing = sets.len().saturating_sub(sql::statements(&begin).len());
        let start = scan
            .statements
            .get(failing)
            .map_or(0, |statement| statement.start);
        Err(self.explain(session, start, 0, &error))
    }

    /// Refuses a text whose done steps were changed.
    fn check(&self, units: &[Unit<'_>], progress: &Progress) -> Result<(), Error> {
        changed(units, &progress.done).map_or(Ok(()), |step| {
            Err(Error::StepChanged {
                migration: self.id.to_owned(),
                file: self.file.to_owned(),
                step: step + 1,
                done: progress.done.len(),
            })
        })
    }

    async fn step(
        &self,
        run: &Run,
        session: &Session,
        unit: &Unit<'_>,
        begun: bool,
        progress: &mut Progress,
        record: &impl Fn(&Progress) -> String,
    ) -> Result<(), Error> {
        let mut next = progress.clone();
        next.done.push(unit.checksum());
        let outcome = match unit.kind {
            Kind::Ordinary => match self
                .with_progress(session, unit, &recording(&record(&next)))
                .await
            {
                Err(Error::MigrationFailed(failure))
                    if REFUSED_IN_TRANSACTION.contains(&failure.sqlstate.as_str()) =>
                {
                    self.alone(run, session, unit, begun, progress, record)
                        .await
                }
                outcome => outcome,
            },
            Kind::Block => {
                self.with_progress(session, unit, &recording(&record(&next)))
                    .await
            }
            Kind::Alone | Kind::Undone => {
                self.alone(run, session, unit, begun, progress, record)
                    .await
            }
        };
        outcome?;
        *progress = next;
        Ok(())
    }

    /// The unit and its progress, committed together.
    async fn with_progress(
        &self,
        session: &Session,
        unit: &Unit<'_>,
        record: &str,
    ) -> Result<(), Error> {
        let (first, last, inner) = match (unit.kind, unit.statements.as_slice()) {
            (Kind::Block, [first, inner @ .., last]) => (first.text, last.text, inner),
            (_, statements) => ("BEGIN", "COMMIT", statements),
        };
        // One statement goes with its progress in one message; several one by one, as each may change how the next is read.
        let sent = match inner {
            [only] if only.rows.is_none() => {
                let begin = format!("{first};\n");
                let message = format!("{begin}{};\n{record};\n{last}", only.text);
                let sent = session.try_query(&message).await.map(drop);
                sent.map_err(|error| {
                    self.explain(session, only.start, begin.chars().count(), &error)
                })
            }
            _ => self
                .one_by_one(session, [first, last], inner, record)
                .await
                .map(drop),
        };
        if matches!(sent, Err(Error::MigrationFailed(_))) {
            session.query("rolling back", "ROLLBACK").await?;
        }
        sent
    }

    /// A transaction of these statements and `record`, whose rows are returned; `ends` are its first and last statement.
    async fn one_by_one(
        &self,
        session: &Session,
        ends: [&str; 2],
        statements: &[Statement<'_>],
        record: &str,
    ) -> Result<Vec<Rows>, Error> {
        let start = statements.first().map_or(0, |statement| statement.start);
        let at = |start: usize| move |error| self.explain(session, start, 0, &error);
        session.try_query(ends[0]).await.map_err(at(start))?;
        for statement in statements {
            send(session, statement)
                .await
                .map_err(at(statement.start))?;
        }
        let recorded = session.try_query(record).await.map_err(at(start))?;
        session.try_query(ends[1]).await.map_err(at(start))?;
        Ok(recorded)
    }

    /// The unit as it is, between a record that it was begun and one that it is done.
    async fn alone(
        &self,
        run: &Run,
        session: &Session,
        unit: &Unit<'_>,
        begun: bool,
        progress: &Progress,
        record: &impl Fn(&Progress) -> String,
    ) -> Result<(), Error> {
        let [first, ..] = unit.statements.as_slice() else {
            return Ok(());
        };
        let refused = |error: &tokio_postgres::Error| self.explain(session, first.start, 0, error);
        let concurrent = Concurrent::of(first);
        if begun && concurrent.is_none() && unit.may_commit() && !self.again {
            return Err(Error::StepInDoubt {
                migration: self.id.to_owned(),
                file: self.file.to_owned(),
                line: self.first_line + first.line + 1,
            });
        }
        let mut after = progress.clone();
        after.begun = Some(unit.checksum());
        session
            .query("recording a step as begun", &alone(&record(&after)))
            .await?;
        let done = match &concurrent {
            Some(concurrent) => concurrent
                .before(run, session, begun)
                .await
                .map_err(|error| refused(&error))?,
            None => false,
        };
        run.enter(self.stage.as_str());
        if !done {
            for statement in &unit.statements {
                let sent = send(session, statement).await;
                if let Err(error) = sent {
                    let explained = self.explain(session, statement.start, 0, &error);
                    if matches!(explained, Error::MigrationFailed(_)) {
                        // The server saw its end: it is not done, and nothing is unclear about it.
                        session
                            .query(
                                "recording a step as failed",
                                &format!("ROLLBACK; {}", alone(&record(progress))),
                            )
                            .await?;
                    }
                    return Err(explained);
                }
            }
        }
        if let Some(concurrent) = &concurrent
            && let Some(reason) = concurrent
                .after(run, session)
                .await
                .map_err(|error| refused(&error))?
        {
            session
                .query("recording a step as failed", &alone(&record(progress)))
                .await?;
            return Err(self.failure(
                first.start,
                "55000",
                reason,
                "drop or rename what is in the way, then run again",
            ));
        }
        after.done.extend(after.begun.take());
        session
            .query("recording a step as done", &alone(&record(&after)))
            .await
            .map(drop)
    }

    /// Gives what comes next the session that this one began with.
    pub(crate) async fn restore(&self, session: &Session) -> Result<(), Error> {
        let everything = Effects {
            session: true,
            apart: false,
        };
        let restore = settings::restore(session.names(), everything);
        session
            .query("restoring the session's settings", &restore)
            .await
            .map(drop)
    }

    /// `start` is where the statement begins in the text, `before` how many characters its message has before it.
    fn explain(
        &self,
        session: &Session,
        start: usize,
        before: usize,
        error: &tokio_postgres::Error,
    ) -> Error {
        let Some(server) = error
            .as_db_error()
            .filter(|server| !error::is_disconnect(server.code()))
        else {
            return session.explain(error, &self.stage);
        };
        let inside = match server.position() {
            Some(tokio_postgres::error::ErrorPosition::Original(position)) => {
                (*position as usize).saturating_sub(before + 1)
            }
            _ => 0,
        };
        let rest = &self.text[start..];
        let offset = start + rest.char_indices().nth(inside).map_or(0, |(at, _)| at);
        let sqlstate = server.code().code();
        let hint = error::next_move_in(self.file, sqlstate);
        self.failure(offset, sqlstate, error::cause_of(server), hint)
    }

    fn failure(&self, offset: usize, sqlstate: &str, cause: String, next_move: &str) -> Error {
        Error::MigrationFailed(Box::new(MigrationFailure {
            migration: self.id.to_owned(),
            file: self.file.to_owned(),
            line: self.first_line + self.text[..offset].matches('\n').count() + 1,
            sqlstate: sqlstate.to_owned(),
            cause,
            next_move: next_move.to_owned(),
        }))
    }
}

/// Sends one statement as it is, with its rows where it has some.
async fn send(session: &Session, statement: &Statement<'_>) -> Result<(), tokio_postgres::Error> {
    match statement.rows {
        Some(rows) => session.copy_in(statement.text, rows).await,
        None if statement.begins(&["DISCARD", "ALL"]) => session
            .try_query(&format!("{DISCARD_ALL}; {START}"))
            .await
            .map(drop),
        None => session.try_query(statement.text).await.map(drop),
    }
}

/// A step's record in the step's own transaction.
fn recording(record: &str) -> String {
    format!("{}; {record}", ledger::KEEP_ROLE)
}

/// A record in a transaction of its own.
pub(crate) fn alone(record: &str) -> String {
    format!("BEGIN; {}; COMMIT", recording(record))
}
