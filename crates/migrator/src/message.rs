//! Consecutive migrations as one message, and what its failure means.
//!
//! The server reads a message as a whole before it runs the first statement of it. A file with rows for a COPY, or one that changes how
//! the server reads what follows, is sent statement by statement instead, in the same transaction.

use std::ops::Range;
use std::time::Duration;

use tokio_postgres::error::{DbError, ErrorPosition};

use crate::catalogue::Catalogue;
use crate::error::{self, Error, MigrationFailure};
use crate::ledger::{self, Ledger};
use crate::migration::Migration;
use crate::names::Names;
use crate::report::{Applied, Event, Report};
use crate::rows::Rows;
use crate::session::{Run, Session};
use crate::{settings, sql};

/// What decides which shapes a migration must leave.
pub(crate) struct Scope<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) ledger: &'a Ledger,
    pub(crate) names: &'a Names,
    pub(crate) has_role: bool,
}

impl Scope<'_> {
    /// The check that belongs before the ledger's row of `migration`, if any of its objects has a recorded shape.
    pub(crate) fn check(&self, migration: &Migration) -> Option<String> {
        let expected = self.expected(migration);
        (!expected.is_empty()).then(|| crate::shape::check(&expected))
    }

    /// The row of `migration`: behind all others, and among those of one run as the catalogue has them.
    pub(crate) fn row<'a>(&'a self, migration: &'a Migration) -> ledger::Row<'a> {
        let all = self.catalogue.migrations().iter();
        let before = all.take_while(|other| other.id != migration.id);
        ledger::Row {
            names: self.names,
            source: self.catalogue.source(),
            migration,
            sequence: self.ledger.next() + before.count() as u64,
        }
    }

    fn expected(&self, migration: &Migration) -> crate::history::Shapes {
        // In catalogue order, everything pending before this one has run by now.
        let order: Vec<&str> = self
            .catalogue
            .migrations()
            .iter()
            .map(|migration| migration.id.as_str())
            .collect();
        let own = order.iter().position(|id| *id == migration.id);
        let ran = |id: &str| {
            self.ledger.is_applied(id) || order.iter().position(|other| *other == id) <= own
        };
        self.catalogue.expected(
            &migration.provides,
            ran,
            self.names.absent_role(self.has_role),
        )
    }

    /// The drift behind a server's refusal, if that is what it is.
    pub(crate) fn drift(
        &self,
        migration: &Migration,
        server: &tokio_postgres::error::DbError,
    ) -> Option<Error> {
        let found = crate::shape::found(server.message())?;
        let differences = crate::history::compare(&self.expected(migration), &found);
        Some(Error::Drift {
            migration: Some(migration.id.clone()),
            differences,
        })
    }
}

/// Consecutive transactions in one message: each is still committed by itself, and all cost one round trip.
pub(crate) struct Message<'a> {
    text: String,
    /// Statements before the first part.
    prologue: usize,
    parts: Vec<Part<'a>>,
    /// Statements after the last part that are not the caller's.
    restoring: usize,
    /// What is sent at a time.
    pieces: Vec<Piece>,
}

/// A range of a message that is sent alone.
struct Piece {
    range: Range<usize>,
    /// What the one COPY that it is gets.
    rows: Option<Range<usize>>,
}

/// Why one attempt ended.
pub(crate) enum Attempt {
    /// Another session held what a statement needs; the same may pass a moment later.
    Contention(Error),
    Failed(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// How a message ended.
pub(crate) enum Sent {
    /// Everything ran; the rows of each statement before the first part, and after the last one.
    Whole {
        prologue: Vec<Rows>,
        epilogue: Vec<Rows>,
    },
    /// A statement before the first part failed, or the server could not read the message: no migration ran.
    PrologueFailed,
    /// Every migration is committed and a statement after them failed.
    EpilogueFailed,
}

/// Where one migration's own SQL is in a message.
#[derive(Clone, Copy)]
struct Part<'a> {
    migration: &'a Migration,
    /// Its transaction, from here to the next part.
    begin: usize,
    /// Its file's text.
    start: usize,
    end: usize,
}

/// How far a message came, as the server answers.
#[derive(Default)]
struct Progress {
    /// Statements that ended.
    done: usize,
    committed: usize,
    recorded: Option<Applied>,
    prologue: Vec<Rows>,
    epilogue: Vec<Rows>,
    /// Statements after the last part that are still to be passed over.
    restoring: usize,
}

impl<'a> Message<'a> {
    pub(crate) fn of(scope: &Scope<'_>, migrations: &[&'a Migration]) -> Self {
        Self::between("", scope, migrations, "")
    }

    /// Statements before and after the migrations, in the same message.
    pub(crate) fn between(
        prologue: &str,
        scope: &Scope<'_>,
        migrations: &[&'a Migration],
        epilogue: &str,
    ) -> Self {
        let mut message = Self {
            text: prologue.to_owned(),
            prologue: sql::statements(prologue).len(),
            parts: Vec::new(),
            restoring: 0,
            pieces: Vec::new(),
        };
        for migration in migrations {
            message.push(migration, scope);
        }
        message.text.push_str(epilogue);
        message.cut();
        message
    }

    /// Whether a migration of it must leave a recorded shape.
    pub(crate) fn checks_shapes(scope: &Scope<'_>, migrations: &[&Migration]) -> bool {
        migrations
            .iter()
            .any(|migration| !scope.expected(migration).is_empty())
    }

    fn push(&mut self, migration: &'a Migration, scope: &Scope<'_>) {
        let begin = self.text.len();
        if self.parts.is_empty() {
            self.text.push_str(&settings::of_migrations(scope.names));
        }
        self.text.push_str("BEGIN;\n");
        let start = self.text.len();
        if migration.effects.apart {
            self.push_apart(migration);
        } else {
            self.text.push_str(&migration.up);
        }
        self.parts.push(Part {
            migration,
            begin,
            start,
            end: self.text.len(),
        });
        self.text.push_str("\n;\n");
        self.text
            .push_str(settings::before_record(migration.effects));
        if let Some(check) = scope.check(migration) {
            // The server prints names as the search path has them, whatever the migration set; and planning that query again for
            // each migration would cost more than running it.
            let names = scope.names.search_path();
            let settings =
                format!("SET LOCAL {names}; SET LOCAL plan_cache_mode = force_generic_plan; ");
            self.text.push_str(&settings);
            self.text.push_str(&check);
            self.text.push_str(";\n");
        }
        self.text.push_str(&scope.row(migration).record());
        self.text.push_str(";\nCOMMIT;\n");
        let restore = settings::restore(scope.names, migration.effects);
        self.restoring = sql::statements(&restore).len();
        self.text.push_str(&restore);
        if migration.effects.apart {
            self.cut();
        }
    }

    /// The file's text, and a piece for each of its statements.
    fn push_apart(&mut self, migration: &Migration) {
        self.cut();
        let start = self.text.len();
        self.text.push_str(&migration.up);
        for statement in sql::statements(&migration.up) {
            let range = start + statement.start..start + statement.start + statement.text.len();
            let rows = statement.rows.map(|rows| {
                let line_end = self.text[range.end..].find('\n').unwrap_or_default();
                let first = range.end + line_end + 1;
                first..first + rows.len()
            });
            self.pieces.push(Piece { range, rows });
        }
    }

    /// Ends a piece here. What lies between pieces of [`Message::push_apart`] is no statement.
    fn cut(&mut self) {
        let last = self.pieces.last();
        let from = last.map_or(0, |piece| {
            piece.rows.as_ref().map_or(piece.range.end, |rows| {
                // Behind the line that ends the rows.
                let end = self.text[rows.end..].find('\n');
                end.map_or(self.text.len(), |end| rows.end + end)
            })
        });
        if from < self.text.len() {
            self.pieces.push(Piece {
                range: from..self.text.len(),
                rows: None,
            });
        }
    }

    pub(crate) async fn send(
        &self,
        run: &Run,
        session: &Session,
        scope: &Scope<'_>,
        report: &mut Report,
    ) -> Result<Sent, Attempt> {
        run.enter(format!("applying {}", self.names()));
        let mut progress = Progress {
            restoring: self.restoring,
            ..Progress::default()
        };
        for piece in &self.pieces {
            let before = progress.done;
            let text = &self.text[piece.range.clone()];
            let outcome = match &piece.rows {
                None => {
                    session
                        .stream(text, |rows| self.follow(&mut progress, rows, run, report))
                        .await
                }
                Some(rows) => {
                    let copied = session.copy_in(text, &self.text[rows.clone()]).await;
                    progress.done += usize::from(copied.is_ok());
                    copied
                }
            };
            let Err(error) = outcome else {
                continue;
            };
            let Some(server) = error
                .as_db_error()
                .filter(|server| !error::is_disconnect(server.code()))
            else {
                return Err(session.explain(&error, &run.stage()).into());
            };
            session.query("rolling back", "ROLLBACK").await?;
            if progress.done < self.prologue {
                return Ok(Sent::PrologueFailed);
            }
            if progress.committed == self.parts.len() {
                return Ok(Sent::EpilogueFailed);
            }
            let (failing, failure) = self.locate(server, progress.done, piece);
            if progress.done == before
                && let Some(earlier) = self.earlier(piece, failing)
            {
                // A syntax error in a later migration kept the earlier ones of its piece from running.
                Box::pin(earlier.send(run, session, scope, report)).await?;
            }
            if let Some(drift) = scope.drift(self.parts[failing].migration, server) {
                return Err(drift.into());
            }
            let contention = error::is_contention(server.code());
            let failed = Error::MigrationFailed(Box::new(failure));
            return Err(if contention {
                Attempt::Contention(failed)
            } else {
                Attempt::Failed(failed)
            });
        }
        Ok(Sent::Whole {
            prologue: progress.prologue,
            epilogue: progress.epilogue,
        })
    }

    /// Takes the answer to one statement.
    fn follow(&self, progress: &mut Progress, rows: Rows, run: &Run, report: &mut Report) {
        progress.done += 1;
        if let Some(applied) = progress.recorded.take() {
            // The statement after the ledger's row is COMMIT.
            progress.committed += 1;
            run.config.emit(&Event::Applied(applied.clone()));
            report.applied.push(applied);
        } else if progress.done <= self.prologue {
            progress.prologue.push(rows);
        } else if progress.committed < self.parts.len() {
            progress.recorded = self.recorded(&rows);
        } else if progress.restoring > 0 {
            progress.restoring -= 1;
        } else {
            progress.epilogue.push(rows);
        }
    }

    /// The migrations before the `failing` one that begin in `piece`, as a message of their own.
    fn earlier(&self, piece: &Piece, failing: usize) -> Option<Self> {
        let from = piece.range.start;
        let first = self.parts.iter().position(|part| part.begin >= from)?;
        let parts: Vec<Part<'a>> = self
            .parts
            .get(first..failing)?
            .iter()
            .map(|part| Part {
                migration: part.migration,
                begin: part.begin - from,
                start: part.start - from,
                end: part.end - from,
            })
            .collect();
        parts.last()?;
        let text = self.text[from..self.parts[failing].begin].to_owned();
        Some(Self {
            prologue: 0,
            restoring: 0,
            pieces: vec![Piece {
                range: 0..text.len(),
                rows: None,
            }],
            parts,
            text,
        })
    }

    fn names(&self) -> String {
        let ids: Vec<&str> = self
            .parts
            .iter()
            .map(|part| part.migration.id.as_str())
            .collect();
        match ids.as_slice() {
            [first, .., last] if ids.len() > 3 => {
                format!("{} migrations, {first} to {last}", ids.len())
            }
            _ => ids.join(", "),
        }
    }

    fn recorded(&self, rows: &Rows) -> Option<Applied> {
        let row = rows.first().filter(|row| {
            row.columns()
                .first()
                .is_some_and(|column| column.name() == ledger::RECORDED)
        })?;
        let part = self
            .parts
            .iter()
            .find(|part| Some(part.migration.id.as_str()) == row.get(0))?;
        Some(applied(part.migration, row.get(1)))
    }

    /// The migration and the line at which the server stopped: by the row or the place it names, else by the statements it finished.
    fn locate(&self, server: &DbError, done: usize, piece: &Piece) -> (usize, MigrationFailure) {
        let sent = &self.text[piece.range.clone()];
        let row = piece
            .rows
            .as_ref()
            .zip(server.where_().and_then(copied_line));
        let offset = match (row, server.position()) {
            (Some((rows, line)), _) => {
                let copied = &self.text[rows.clone()];
                let before = copied.split_inclusive('\n').take(line - 1).map(str::len);
                rows.start + before.sum::<usize>()
            }
            (None, Some(ErrorPosition::Original(position))) => {
                let mut characters = sent.char_indices();
                let at = characters.nth(*position as usize - 1);
                piece.range.start + at.map_or(sent.len(), |(at, _)| at)
            }
            _ => sql::statements(&self.text)
                .get(done)
                .map_or(self.text.len(), |statement| statement.start),
        };
        let index = self
            .parts
            .iter()
            .rposition(|part| part.begin <= offset)
            .unwrap_or(0);
        let part = &self.parts[index];
        let offset = offset.clamp(part.start, part.end);
        let line =
            part.migration.first_line + self.text[part.start..offset].matches('\n').count() + 1;
        (index, failure(part.migration, line, server))
    }
}

/// The row at which a COPY stopped, counted from 1, as the server's context names it: `COPY t, line 2, column a`.
fn copied_line(context: &str) -> Option<usize> {
    let line = context.lines().find(|line| line.starts_with("COPY "))?;
    let (_, rest) = line.split_once(", line ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|line| *line > 0)
}

pub(crate) fn failure(migration: &Migration, line: usize, server: &DbError) -> MigrationFailure {
    MigrationFailure {
        migration: migration.id.clone(),
        file: migration.file.clone(),
        line,
        sqlstate: server.code().code().to_owned(),
        cause: error::cause_of(server),
        next_move: error::next_move_in(&migration.file, server.code().code()).to_owned(),
    }
}

pub(crate) fn applied(migration: &Migration, milliseconds: Option<&str>) -> Applied {
    let milliseconds: f64 = milliseconds
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0);
    Applied {
        id: migration.id.clone(),
        provides: migration.provides.clone(),
        duration: Duration::from_secs_f64(milliseconds.max(0.0) / 1e3),
    }
}
