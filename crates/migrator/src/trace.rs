//! Which locks a plan takes, on which tables that are there, and for how long: seen by running it in a transaction that is rolled
//! back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use crate::config::Config;
use crate::error::Error;
use crate::lock;
use crate::migration::{Migration, Mode};
use crate::plan::Plan;
use crate::report::milliseconds;
use crate::rows::text;
use crate::session::{Run, Session};
use crate::sql::{self, Statement};
use crate::view::{View, refuse_shared_process};

/// How long a statement of a trace waits for a lock: a trace gives way to everybody else.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1s'";

/// PostgreSQL's lock modes, each stronger than those before it (PostgreSQL manual, "Table-Level Locks").
const MODES: [&str; 8] = [
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

/// Tables of people.
const TABLES: &str = "relkind IN ('r', 'p', 'm', 'f') AND relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'";

/// What a plan does to the tables that are there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Trace {
    /// Hash of the plan, as [`crate::plan`] has it.
    pub hash: String,
    /// Its migrations, in order.
    pub migrations: Vec<TracedMigration>,
    /// How long the transaction was open.
    #[serde(rename = "took_ms", serialize_with = "milliseconds")]
    pub took: std::time::Duration,
}

/// One migration of a trace.
#[derive(Clone, Debug, Serialize)]
pub struct TracedMigration {
    /// Identity.
    pub id: String,
    /// File that holds its SQL.
    pub file: String,
    /// Its statements, in order.
    pub statements: Vec<TracedStatement>,
}

/// One statement of a trace.
#[derive(Clone, Debug, Serialize)]
pub struct TracedStatement {
    /// Line of the file.
    pub line: usize,
    /// Its first words.
    pub words: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it ran.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: std::time::Duration,
    /// Locks that it was the first to take, or to take so strongly, on tables that were there before.
    pub locks: Vec<TableLock>,
}

/// How a statement of a trace ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "snake_case")]
pub enum Outcome {
    /// It ran, and was undone with all others.
    Ran,
    /// It cannot run in a transaction with others, or comes after one that failed; why.
    NotRun(String),
    /// It failed, as it would in a run; the server's message.
    Failed(String),
}

/// A lock on a table.
#[derive(Clone, Debug, Serialize)]
pub struct TableLock {
    /// The table, with its schema where the search path does not have it.
    pub table: String,
    /// PostgreSQL's name of the mode.
    pub mode: String,
    /// From the statement's begin to the end of its migration: that long others would wait.
    #[serde(rename = "held_ms", serialize_with = "milliseconds")]
    pub held: std::time::Duration,
}

/// Runs what [`crate::apply`] would run now in one transaction, statement by statement, and rolls it back.
///
/// The locks that it shows are taken, and others wait for them while it runs. Each statement waits for a second at most, under the
/// migration lock. What sequences gave out and what functions did elsewhere is not undone.
///
/// # Errors
/// As [`crate::plan`], and [`Error::LockTimeout`]. A statement that fails ends the trace and is no error.
pub async fn trace(config: &Config) -> Result<Trace, Error> {
    Run::bounded(config, |run| async move {
        let catalogue = Arc::clone(&run.config.catalogue);
        let session = Session::open(&run).await?;
        let view = View::first(&session, &catalogue, &[]).await?;
        let plan = Plan::make(
            &catalogue,
            &run.config.selection,
            &run.config.again,
            &view.ledger,
        )?;
        let mut trace = Trace {
            hash: plan.hash,
            ..Trace::default()
        };
        if !plan.steps.is_empty() {
            refuse_shared_process(&run, &view).await?;
            let ours = view.in_our_process();
            lock::acquire(&run, &session, view.deadlock_timeout, &ours, "SELECT 1").await?;
            let pending = plan.steps.iter();
            let pending = pending.filter_map(|step| catalogue.get(&step.id));
            let began = Instant::now();
            let mut running = Tracer::begin(&run, &session).await?;
            for migration in pending {
                let traced = running.migration(migration).await?;
                trace.migrations.push(traced);
            }
            session.query("undoing the trace", "ROLLBACK").await?;
            trace.took = began.elapsed();
            let release = lock::release(session.names());
            session
                .query("releasing the migration lock", &release)
                .await?;
        }
        session.close().await;
        Ok(trace)
    })
    .await
}

/// A trace that goes on.
struct Tracer<'a> {
    run: &'a Run,
    session: &'a Session,
    /// Tables that were there, by their OIDs.
    there: BTreeSet<String>,
    /// Whether the transaction can go on.
    failed: bool,
}

/// The strongest lock on each table, by its OID: name, and mode by its position in [`MODES`].
type Held = BTreeMap<String, (String, usize)>;

impl<'a> Tracer<'a> {
    async fn begin(run: &'a Run, session: &'a Session) -> Result<Self, Error> {
        let message = format!("{}; BEGIN", session.settings());
        session.query("beginning the trace", &message).await?;
        let tables = format!("SELECT oid FROM pg_class WHERE {TABLES}");
        let sets = session.query("listing the tables", &tables).await?;
        Ok(Self {
            run,
            session,
            there: sets.iter().flatten().map(|row| text(row, 0)).collect(),
            failed: false,
        })
    }

    /// Its locks are counted anew for each migration: in a run each ends with its own transaction.
    async fn migration(&mut self, migration: &Migration) -> Result<TracedMigration, Error> {
        if !self.failed {
            let settings = self.session.names().search_path();
            let message = format!("SET LOCAL {settings}; {LOCK_TIMEOUT}");
            self.session
                .query("beginning a migration", &message)
                .await?;
        }
        let (mut held, mut statements, mut began) = (Held::new(), Vec::new(), Vec::new());
        for statement in sql::statements(&migration.up) {
            began.push(Instant::now());
            statements.push(self.statement(migration, &statement, &mut held).await?);
        }
        let end = Instant::now();
        for (statement, began) in statements.iter_mut().zip(began) {
            for lock in &mut statement.locks {
                lock.held = end.duration_since(began);
            }
        }
        Ok(TracedMigration {
            id: migration.id.clone(),
            file: migration.file.clone(),
            statements,
        })
    }

    async fn statement(
        &mut self,
        migration: &Migration,
        statement: &Statement<'_>,
        held: &mut Held,
    ) -> Result<TracedStatement, Error> {
        let before = &migration.up[..statement.start];
        let line = migration.first_line + before.matches('\n').count() + 1;
        let mut traced = TracedStatement {
            line,
            words: first_words(statement.text),
            outcome: Outcome::Ran,
            duration: std::time::Duration::ZERO,
            locks: Vec::new(),
        };
        let refused = if self.failed {
            Some("a statement before it failed")
        } else if statement.controls_transaction() {
            Some("it begins or ends a transaction")
        } else if statement.refuses_transaction() {
            Some("it cannot run in a transaction")
        } else if migration.mode == Mode::Steps {
            Some("its file runs outside a transaction")
        } else if statement.rows.is_some() {
            Some("it copies rows that stand in the file")
        } else {
            None
        };
        if let Some(reason) = refused {
            traced.outcome = Outcome::NotRun(reason.to_owned());
            return Ok(traced);
        }
        let stage = format!("tracing {}:{line}", migration.file);
        self.run.enter(&stage);
        let began = Instant::now();
        // A statement that ends transactions itself is refused within this one, which then goes on.
        let marked = format!("SAVEPOINT traced; {}\n; RELEASE traced", statement.text);
        let outcome = self.session.try_query(&marked).await;
        traced.duration = began.elapsed();
        let Err(error) = outcome else {
            traced.locks = self.new_locks(held).await?;
            return Ok(traced);
        };
        let Some(server) = error.as_db_error() else {
            return Err(self.session.explain(&error, &stage));
        };
        let (code, message) = (server.code(), server.message());
        let ends_transactions = [
            SqlState::INVALID_TRANSACTION_TERMINATION,
            SqlState::ACTIVE_SQL_TRANSACTION,
        ];
        if ends_transactions.contains(code) {
            let back = "ROLLBACK TO traced; RELEASE traced";
            self.session.query("undoing a statement", back).await?;
            traced.outcome = Outcome::NotRun(message.to_owned());
        } else {
            self.failed = true;
            let text = format!("{message} (SQLSTATE {})", code.code());
            traced.outcome = Outcome::Failed(text);
        }
        Ok(traced)
    }

    /// What is locked more strongly than it was.
    async fn new_locks(&self, held: &mut Held) -> Result<Vec<TableLock>, Error> {
        let sql = format!(
            "SELECT l.relation, l.relation::regclass, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
             WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND {TABLES} ORDER BY 2"
        );
        let sets = self.session.query("reading the locks", &sql).await?;
        let mut stronger = BTreeSet::new();
        for row in sets.iter().flatten() {
            let (oid, table, mode) = (text(row, 0), text(row, 1), text(row, 2));
            let strength = MODES.iter().position(|known| *known == mode);
            let Some(strength) = strength.filter(|_| self.there.contains(&oid)) else {
                continue;
            };
            let known = held.get(&oid).map(|(_, strength)| *strength);
            if known.is_none_or(|known| known < strength) {
                held.insert(oid.clone(), (table, strength));
                stronger.insert(oid);
            }
        }
        let locks = stronger.iter().filter_map(|oid| held.get(oid));
        Ok(locks
            .map(|(table, strength)| TableLock {
                table: table.clone(),
                mode: MODES[*strength].to_owned(),
                held: std::time::Duration::ZERO,
            })
            .collect())
    }
}

impl Trace {
    /// Whether a statement failed: a run would fail there, too.
    pub fn has_failed(&self) -> bool {
        let mut statements = self.migrations.iter().flat_map(|of| &of.statements);
        statements.any(|statement| matches!(statement.outcome, Outcome::Failed(_)))
    }
}

/// What fits on a line and shows what a statement is.
fn first_words(text: &str) -> String {
    const WIDTH: usize = 60;
    let words: Vec<&str> = text.split_whitespace().take(12).collect();
    let line = words.join(" ");
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: &std::time::Duration| duration.as_secs_f64() * 1e3;
        if self.migrations.is_empty() {
            return f.write_str("nothing to trace: there is nothing to do");
        }
        write!(
            f,
            "plan {}, run and rolled back; the locks below were held, and others waited for them, within {:.1} ms",
            &self.hash[..12],
            ms(&self.took)
        )?;
        for TracedMigration {
            id,
            file,
            statements,
        } in &self.migrations
        {
            write!(f, "\n  {id}")?;
            for statement in statements {
                let TracedStatement {
                    line,
                    words,
                    outcome,
                    duration,
                    locks,
                } = statement;
                write!(f, "\n    {file}:{line} {words}")?;
                match outcome {
                    Outcome::Ran => write!(f, " ({:.1} ms)", ms(duration))?,
                    Outcome::NotRun(reason) => write!(f, "\n      not run: {reason}")?,
                    Outcome::Failed(message) => write!(f, "\n      failed: {message}")?,
                }
                for TableLock { table, mode, held } in locks {
                    write!(f, "\n      {mode} on {table} for {:.1} ms", ms(held))?;
                }
            }
        }
        Ok(())
    }
}
