//! Consecutive migrations as one message, and what its failure means.

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
use crate::sql;

/// What every migration of a message counts on, sent once. Statements wait a bounded time for table locks; then the migration
/// starts over. Each record sets the start of what follows it.
fn settings(names: &Names) -> String {
    format!(
        "SET {}; SET lock_timeout = '3s'; SELECT set_config('migrator.started', clock_timestamp()::text, false);\n",
        names.search_path()
    )
}

/// Words without which no statement changes those settings.
const CHANGES: [&str; 4] = ["search_path", "lock_timeout", "discard", "reset"];

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
        };
        for migration in migrations {
            message.push(migration, scope);
        }
        message.text.push_str(epilogue);
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
        let known = self.parts.last().is_some_and(|previous| {
            let text = previous.migration.up.to_ascii_lowercase();
            !CHANGES.iter().any(|word| text.contains(word))
        });
        if !known {
            self.text.push_str(&settings(scope.names));
        }
        self.text.push_str("BEGIN;\n");
        let start = self.text.len();
        self.text.push_str(&migration.up);
        self.parts.push(Part {
            migration,
            begin,
            start,
            end: self.text.len(),
        });
        self.text.push_str("\n;\n");
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
    }

    pub(crate) async fn send(
        &self,
        run: &Run,
        session: &Session,
        scope: &Scope<'_>,
        report: &mut Report,
    ) -> Result<Sent, Attempt> {
        run.enter(format!("applying {}", self.names()));
        let (mut done, mut committed) = (0, 0);
        let mut recorded: Option<Applied> = None;
        let (mut prologue, mut epilogue) = (Vec::new(), Vec::new());
        let outcome = session
            .stream(&self.text, |rows| {
                done += 1;
                if let Some(applied) = recorded.take() {
                    // The statement after the ledger's row is COMMIT.
                    committed += 1;
                    run.config.emit(&Event::Applied(applied.clone()));
                    report.applied.push(applied);
                } else if done <= self.prologue {
                    prologue.push(rows);
                } else if committed == self.parts.len() {
                    epilogue.push(rows);
                } else {
                    recorded = self.recorded(&rows);
                }
            })
            .await;
        let Err(error) = outcome else {
            return Ok(Sent::Whole { prologue, epilogue });
        };
        let Some(server) = error.as_db_error() else {
            return Err(session.explain(&error, &run.stage()).into());
        };
        let (failing, failure) = self.locate(server, done);
        if error::is_disconnect(server.code()) {
            return Err(session.explain(&error, &run.stage()).into());
        }
        session.query("rolling back", "ROLLBACK").await?;
        if done < self.prologue {
            return Ok(Sent::PrologueFailed);
        }
        if committed == self.parts.len() {
            return Ok(Sent::EpilogueFailed);
        }
        if done == 0 && failing > 0 {
            // The server parses a message as a whole: a syntax error in a later migration kept the earlier ones from running.
            let earlier = Self {
                text: self.text[..self.parts[failing].begin].to_owned(),
                prologue: 0,
                parts: self.parts[..failing].to_vec(),
            };
            Box::pin(earlier.send(run, session, scope, report)).await?;
        }
        if let Some(drift) = scope.drift(self.parts[failing].migration, server) {
            return Err(drift.into());
        }
        let contention = error::is_contention(server.code());
        let failed = Error::MigrationFailed(Box::new(failure));
        Err(if contention {
            Attempt::Contention(failed)
        } else {
            Attempt::Failed(failed)
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

    /// The migration and the line at which the server stopped: by the place it names, else by the statements it finished.
    fn locate(&self, server: &DbError, done: usize) -> (usize, MigrationFailure) {
        let offset = match server.position() {
            Some(ErrorPosition::Original(position)) => self
                .text
                .char_indices()
                .nth(*position as usize - 1)
                .map_or(self.text.len(), |(at, _)| at),
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

pub(crate) fn failure(migration: &Migration, line: usize, server: &DbError) -> MigrationFailure {
    let detail = server
        .detail()
        .map(|detail| format!(" ({detail})"))
        .unwrap_or_default();
    MigrationFailure {
        migration: migration.id.clone(),
        file: migration.file.clone(),
        line,
        sqlstate: server.code().code().to_owned(),
        cause: format!("{}{detail}", server.message()),
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
