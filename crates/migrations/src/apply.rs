//! Applying a selection: look without a lock, lock, look again, run what is missing, keep partitions ahead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::error::{ErrorPosition, SqlState};

use crate::catalogue::{Catalogue, LEDGER, Migration, Mode};
use crate::config::Config;
use crate::error::{self, Error, MigrationFailure};
use crate::ledger::{self, Ledger, text};
use crate::lock;
use crate::plan::Plan;
use crate::report::{Applied, Event, Report};
use crate::session::{Rows, Run, Session};
use crate::sql;

/// How often a run that lost its connection half-way begins again; the ledger says where to go on.
const RECONNECTS: u32 = 3;
/// How long a migration's statement waits for a table lock before the migration starts over.
const TABLE_LOCK_TIMEOUT: &str = "3s";

/// Applies what the selection lacks and makes the partitions around today.
///
/// Safe to call at any time, any number of times, from any number of processes: runs on one database follow each other, each
/// migration is applied once, and a run with nothing to do takes no lock. Whatever ends it, what it committed stays and what it
/// did not is undone.
///
/// # Errors
/// Every case of [`Error`] but those of `down` and `verify`.
pub async fn apply(config: &Config) -> Result<Report, Error> {
    Run::bounded(config, |run| async move {
        let catalogue = run.config.resolve_catalogue()?;
        catalogue.resolve(&run.config.selection)?;
        let mut report = Report {
            warnings: catalogue.warnings.clone(),
            ..Report::default()
        };
        let mut cuts = 0;
        let mut pause = Duration::from_millis(50);
        loop {
            match attempt(&run, &catalogue, &mut report).await {
                Err(Attempt::Contention(_)) if run.left() > pause => {}
                Err(Attempt::Failed(Error::ConnectionLost { .. }))
                    if cuts < RECONNECTS && run.left() > pause =>
                {
                    cuts += 1;
                }
                Ok(()) => return Ok(report),
                Err(Attempt::Contention(error) | Attempt::Failed(error)) => return Err(error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    })
    .await
}

/// Why one attempt ended.
enum Attempt {
    /// Another session held what a statement needs; the same may pass a moment later.
    Contention(Error),
    Failed(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

async fn attempt(
    run: &Arc<Run>,
    catalogue: &Catalogue,
    report: &mut Report,
) -> Result<(), Attempt> {
    let session = Session::open(run).await?;
    let partitioned = catalogue.partitioned_tables(&run.config.selection)?;
    let view = View::first(&session, catalogue, &partitioned).await?;
    let plan = view.plan(run, catalogue)?;
    report.up_to_date = plan.up_to_date.saturating_sub(report.applied.len());
    if !plan.steps.is_empty() {
        // A table outside the ledger that another tool made is not adopted silently (D19).
        if let Some(evidence) = view
            .foreign
            .clone()
            .filter(|_| view.ledger.entries.is_empty())
        {
            return Err(Error::ForeignSchema {
                evidence,
                database: run.config.target.database(),
            }
            .into());
        }
        crate::roles::ensure(run, &session, report).await?;
        report.waited += lock::acquire(run, &session, view.deadlock_timeout).await?;
        let ledger = under_lock(run, &session, &view, catalogue).await?;
        let plan = Plan::make(catalogue, &run.config.selection, &ledger)?;
        report.up_to_date = plan.up_to_date.saturating_sub(report.applied.len());
        let pending: Vec<&Migration> = plan
            .steps
            .iter()
            .filter_map(|step| catalogue.get(&step.id))
            .collect();
        run_all(run, &session, catalogue, &pending, &ledger, report).await?;
    }
    if !plan.steps.is_empty() || view.partitions_missing {
        finish(run, &session, &partitioned, !plan.steps.is_empty(), report).await?;
    }
    session.close().await;
    Ok(())
}

/// What one query shows of a database.
pub(crate) struct View {
    pub(crate) ledger: Ledger,
    /// An object that only a tool without a ledger makes.
    pub(crate) foreign: Option<String>,
    partitions_missing: bool,
    pid: String,
    relayed: bool,
    has_ledger: bool,
    deadlock_timeout: Duration,
}

impl View {
    /// One message on a database that has a ledger, two on one that has none.
    pub(crate) async fn first(
        session: &Session,
        catalogue: &Catalogue,
        tables: &[&str],
    ) -> Result<Self, Error> {
        let stage = "reading the ledger";
        let months = crate::partitions::missing_by_name(tables);
        let whole = format!("{}; {months}; {}", ledger::SESSION, ledger::READ);
        let (sets, has_ledger) = match session.try_query(&whole).await {
            Ok(sets) => (sets, true),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                (session.query(stage, ledger::SESSION).await?, false)
            }
            Err(error) => return Err(session.explain(&error, stage)),
        };
        let ledger_rows = if has_ledger {
            sets.last().map(Vec::as_slice).unwrap_or_default()
        } else {
            &[]
        };
        let partitions_missing = has_ledger
            && sets
                .iter()
                .rev()
                .nth(1)
                .is_some_and(|rows| !rows.is_empty());
        let server = sets
            .iter()
            .rev()
            .nth(if has_ledger { 2 } else { 0 })
            .and_then(|rows| rows.first());
        let Some(server) = server else {
            return Err(Error::Database {
                stage: stage.to_owned(),
                sqlstate: "XX000".to_owned(),
                message: "no answer to a question about the server".to_owned(),
            });
        };
        Ok(Self {
            ledger: Ledger::read(ledger_rows, catalogue.source()),
            foreign: server
                .get(3)
                .map(str::to_owned)
                .filter(|_| ledger::is_own(catalogue.source())),
            partitions_missing,
            pid: text(server, 0),
            relayed: session.local_port.map(|port| port.to_string()).as_deref() != server.get(1),
            has_ledger,
            deadlock_timeout: parse_interval(&text(server, 4)),
        })
    }

    fn plan(&self, run: &Run, catalogue: &Catalogue) -> Result<Plan, Error> {
        let plan = Plan::make(catalogue, &run.config.selection, &self.ledger)?;
        match &run.config.plan_hash {
            Some(expected) if !plan.hash.starts_with(expected.as_str()) || expected.is_empty() => {
                Err(Error::PlanChanged {
                    expected: expected.clone(),
                    found: plan.hash,
                })
            }
            _ => Ok(plan),
        }
    }
}

/// `deadlock_timeout` as the server prints it: `1s`, `500ms`, `2min`.
fn parse_interval(setting: &str) -> Duration {
    let digits = setting.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().unwrap_or(1000);
    match &setting[digits.len()..] {
        "s" => Duration::from_secs(number),
        "min" => Duration::from_secs(number * 60),
        _ => Duration::from_millis(number),
    }
}

/// Makes the ledger if it is missing, checks that the lock is truly this session's, and reads the ledger again.
async fn under_lock(
    run: &Arc<Run>,
    session: &Session,
    view: &View,
    catalogue: &Catalogue,
) -> Result<Ledger, Error> {
    let refused = |evidence: &str| Error::PoolerRefused {
        address: run.config.target.address(),
        evidence: evidence.to_owned(),
    };
    let stage = "reading the ledger under the lock";
    let bootstrap = if view.has_ledger { "" } else { LEDGER };
    let sets = session
        .query(
            stage,
            &format!("{}; {bootstrap}\n; {}", lock::own(), ledger::READ),
        )
        .await?;
    let own = sets.first().and_then(|rows| rows.first());
    if own.is_none_or(|row| row.get(0) != Some(&view.pid) || row.get(1) != Some("t")) {
        return Err(refused(
            "two statements of one session ran in different server processes",
        ));
    }
    if view.relayed {
        // A relay may be a pooler that has had no reason to switch yet: a second connection shows whether it shares ours.
        let second = Session::open(run).await?;
        let pid = second
            .query("looking for a pooler", "SELECT pg_backend_pid()")
            .await?;
        second.close().await;
        if pid
            .first()
            .and_then(|rows| rows.first())
            .and_then(|row| row.get(0))
            == Some(&view.pid)
        {
            return Err(refused("two connections share one server process"));
        }
    }
    Ok(Ledger::read(
        sets.last().map(Vec::as_slice).unwrap_or_default(),
        catalogue.source(),
    ))
}

async fn run_all(
    run: &Arc<Run>,
    session: &Session,
    catalogue: &Catalogue,
    pending: &[&Migration],
    ledger: &Ledger,
    report: &mut Report,
) -> Result<(), Attempt> {
    for group in pending.chunk_by(|a, b| a.mode == Mode::Transaction && b.mode == Mode::Transaction)
    {
        match group {
            [step] if step.mode == Mode::Steps => {
                crate::steps::run(run, session, catalogue, step, ledger, report).await?;
            }
            _ => {
                Message::of(catalogue, group)
                    .send(run, session, report)
                    .await?;
            }
        }
    }
    Ok(())
}

/// Consecutive transactions in one message: each is still committed by itself, and all cost one round trip (D21).
struct Message<'a> {
    text: String,
    parts: Vec<Part<'a>>,
}

/// Where one migration's own SQL stands in a message.
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
    fn of(catalogue: &Catalogue, migrations: &[&'a Migration]) -> Self {
        let mut message = Self {
            text: String::new(),
            parts: Vec::new(),
        };
        for migration in migrations {
            message.push(migration, catalogue.source());
        }
        message
    }

    fn push(&mut self, migration: &'a Migration, source: &str) {
        let begin = self.text.len();
        self.text
            .push_str("BEGIN; SET LOCAL search_path = public; SET LOCAL lock_timeout = '");
        self.text.push_str(TABLE_LOCK_TIMEOUT);
        self.text.push_str(
            "'; SELECT set_config('migrations.started', clock_timestamp()::text, true);\n",
        );
        let start = self.text.len();
        self.text.push_str(&migration.up);
        self.parts.push(Part {
            migration,
            begin,
            start,
            end: self.text.len(),
        });
        self.text.push_str("\n;\n");
        self.text.push_str(&ledger::record(migration, source));
        self.text.push_str(";\nCOMMIT;\n");
    }

    async fn send(&self, run: &Run, session: &Session, report: &mut Report) -> Result<(), Attempt> {
        run.enter(format!("applying {}", self.names()));
        let mut done = 0;
        let mut recorded: Option<Applied> = None;
        let outcome = session
            .stream(&self.text, |rows| {
                done += 1;
                if let Some(applied) = recorded.take() {
                    // The statement after the ledger's row is COMMIT.
                    run.config.emit(&Event::Applied(applied.clone()));
                    report.applied.push(applied);
                }
                recorded = self.recorded(&rows);
            })
            .await;
        let Err(error) = outcome else { return Ok(()) };
        let Some(server) = error.as_db_error() else {
            return Err(session.explain(&error, &run.stage()).into());
        };
        let (failing, failure) = self.locate(server, done);
        if error::is_disconnect(server.code()) {
            return Err(session.explain(&error, &run.stage()).into());
        }
        session.query("rolling back", "ROLLBACK").await?;
        if done == 0 && failing > 0 {
            // The server parses a message as a whole: a syntax error in a later migration kept the earlier ones from running.
            let earlier = Self {
                text: self.text[..self.parts[failing].begin].to_owned(),
                parts: self.parts[..failing].to_vec(),
            };
            Box::pin(earlier.send(run, session, report)).await?;
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
    fn locate(
        &self,
        server: &tokio_postgres::error::DbError,
        done: usize,
    ) -> (usize, MigrationFailure) {
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

pub(crate) fn failure(
    migration: &Migration,
    line: usize,
    server: &tokio_postgres::error::DbError,
) -> MigrationFailure {
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
        next_move: error::next_move(server.code().code()).to_owned(),
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

/// Gives the lock back and brings the partitions up to date, in one message.
async fn finish(
    run: &Run,
    session: &Session,
    partitioned: &[&str],
    locked: bool,
    report: &mut Report,
) -> Result<(), Attempt> {
    let started = Instant::now();
    let release = if locked {
        lock::release()
    } else {
        "SELECT true".to_owned()
    };
    let sql = format!(
        "SET search_path = public; {release}; {}",
        crate::partitions::ensure(partitioned)
    );
    let sets = session.query("making partitions", &sql).await?;
    if sets
        .get(1)
        .and_then(|rows| rows.first())
        .is_none_or(|row| row.get(0) != Some("t"))
    {
        let evidence = "the lock was gone at the end of the run".to_owned();
        return Err(Error::PoolerRefused {
            address: run.config.target.address(),
            evidence,
        }
        .into());
    }
    for row in sets.iter().skip(2).flatten() {
        let name = text(row, 0);
        run.config.emit(&Event::Partition { name: name.clone() });
        report.partitions.push(name);
    }
    tracing::debug!(target: "migrations", "partitions and unlock took {:?}", started.elapsed());
    Ok(())
}
