//! Applying a selection: read without a lock, lock, read again, run what is missing, keep partitions ahead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::error::Error;
use crate::foreign;
use crate::grants;
use crate::ledger::{self, Ledger, State};
use crate::lock;
use crate::message::{Attempt, Message, Scope, Sent};
use crate::migration::{Migration, Mode};
use crate::names::Names;
use crate::plan::Plan;
use crate::report::{Event, Report};
use crate::roles;
use crate::rows::{Rows, text};
use crate::session::{Run, Session};
use crate::view::{View, refuse_shared_process, under_lock};
use crate::{shape, sql};

/// How often a run that lost its connection begins again; the ledger says where to go on.
const RECONNECTS: u32 = 3;

/// No index of a table that is new is worth a second process, and that the planner need not think of one makes CREATE INDEX, and so
/// a first run, a twentieth quicker.
const ONE_PROCESS: &str = "SET max_parallel_maintenance_workers = 0";

/// The same, in a database without a relation of its own: those have OIDs from 16384 on
/// (<https://www.postgresql.org/docs/current/system-catalog-initial-data.html>). A team's own files may find large tables.
const ONE_PROCESS_IF_EMPTY: &str = "SELECT CASE WHEN (SELECT true FROM pg_class WHERE oid >= '16384'::oid LIMIT 1) THEN NULL \
ELSE set_config('max_parallel_maintenance_workers', '0', false) END";

/// Applies what the selection lacks and makes the partitions around today.
///
/// Safe to call at any time, any number of times, from any number of processes: runs on one database follow each other, each
/// migration is applied once, and a run with nothing to do takes no lock. Whatever ends it, what it committed stays and what it
/// did not is rolled back.
///
/// # Errors
/// Every case of [`Error`] but those of `down` and `verify`.
pub async fn apply(config: &Config) -> Result<Report, Error> {
    Run::bounded(config, |run| async move {
        let catalogue = Arc::clone(&run.config.catalogue);
        catalogue.resolve(&run.config.selection)?;
        let mut report = Report::default();
        let mut approved = None;
        let mut cuts = 0;
        let mut pause = Duration::from_millis(50);
        loop {
            match attempt(&run, &catalogue, &mut approved, &mut report).await {
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

async fn attempt(
    run: &Arc<Run>,
    catalogue: &Catalogue,
    approved: &mut Option<Plan>,
    report: &mut Report,
) -> Result<(), Attempt> {
    let session = Session::open(run).await?;
    let partitioned = catalogue.partitioned_tables(&run.config.selection)?;
    let view = View::first(&session, catalogue, &partitioned).await?;
    if !run.config.new_source {
        foreign::refuse(&session, catalogue, &view).await?;
    }
    let first = approved.is_none();
    let plan = approved_plan(run, catalogue, &view.ledger, approved, report)?;
    if first {
        for text in &plan.warnings {
            run.config.emit(&Event::Warning { text: text.clone() });
        }
        report.warnings.clone_from(&plan.warnings);
    }
    report.up_to_date = plan.up_to_date.saturating_sub(report.applied.len());
    if plan.steps.is_empty() {
        if view.upkeep_missing {
            finish(run, &session, catalogue, &partitioned, false, report).await?;
        }
        session.close().await;
        return Ok(());
    }
    let has_role = match &catalogue.roles {
        Some(sql) if !view.has_role => roles::ensure(run, sql, report).await,
        _ => view.has_role,
    };
    refuse_shared_process(run, &view).await?;
    let work = Work {
        run,
        session: &session,
        catalogue,
        view: &view,
        has_role,
        partitioned: &partitioned,
    };
    if !work.at_once(&plan, report).await? {
        work.in_turn(approved, report).await?;
    }
    session.close().await;
    Ok(())
}

/// One attempt that has something to do.
struct Work<'a> {
    run: &'a Arc<Run>,
    session: &'a Session,
    catalogue: &'a Catalogue,
    view: &'a View,
    has_role: bool,
    partitioned: &'a [&'a str],
}

impl Work<'_> {
    fn scope<'a>(&'a self, ledger: &'a Ledger) -> Scope<'a> {
        Scope {
            catalogue: self.catalogue,
            ledger,
            names: self.session.names(),
            has_role: self.has_role,
        }
    }

    fn pending(&self, plan: &Plan) -> Vec<&Migration> {
        plan.steps
            .iter()
            .filter_map(|step| self.catalogue.get(&step.id))
            .collect()
    }

    /// Lock, second read, every migration, unlock and partitions in one message: what most runs cost beside their SQL is one round
    /// trip. The second read is a statement that fails unless everything is as it was seen first; false then, or when the lock is
    /// not free within one wait: nothing ran, and [`Work::in_turn`] is the way.
    async fn at_once(&self, plan: &Plan, report: &mut Report) -> Result<bool, Attempt> {
        let pending = self.pending(plan);
        if pending.iter().any(|step| in_steps(step, &self.view.ledger)) {
            return Ok(false);
        }
        let scope = self.scope(&self.view.ledger);
        let names = self.session.names();
        let mut prologue = vec![
            self.view.in_our_process(),
            lock::take_if(
                names,
                &self.view.unchanged(names, self.catalogue),
                self.view.deadlock_timeout,
            ),
        ];
        if !self.view.has_ledger {
            let one_process = if self.catalogue.unmanaged.is_some() {
                ONE_PROCESS
            } else {
                ONE_PROCESS_IF_EMPTY
            };
            prologue.push(one_process.to_owned());
            prologue.push(format!(
                "BEGIN; {} COMMIT",
                ledger::make(names, self.has_role)
            ));
        }
        if Message::checks_shapes(&scope, &pending) {
            prologue.push(sql::as_do_block(&shape::prepare(names, self.catalogue)));
        }
        let known = &self.view.ledger.entries;
        let fresh = !pending.iter().any(|step| known.contains_key(&step.id));
        prologue.push(sql::as_do_block(&ledger::prepare(names, fresh)));
        let message = Message::between(
            &format!("{};\n", prologue.join(";\n")),
            &scope,
            &pending,
            &finishing(names, self.catalogue, self.partitioned, true),
        );
        let began = Instant::now();
        match message.send(self.run, self.session, &scope, report).await? {
            Sent::Whole { prologue, epilogue } => {
                report.waited += View::waited(&prologue);
                finished(self.run, &epilogue, report)?;
            }
            Sent::EpilogueFailed => {
                finish(
                    self.run,
                    self.session,
                    self.catalogue,
                    self.partitioned,
                    false,
                    report,
                )
                .await?;
            }
            Sent::PrologueFailed => {
                report.waited += began.elapsed();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lock, read again, then a message for each group of migrations.
    async fn in_turn(
        &self,
        approved: &mut Option<Plan>,
        report: &mut Report,
    ) -> Result<(), Attempt> {
        let Self {
            run,
            session,
            catalogue,
            view,
            ..
        } = *self;
        // A table outside the ledger that another tool created is not adopted silently.
        if let Some(evidence) = view.unmanaged(session, catalogue).await? {
            let database = run.config.target.database();
            return Err(Error::UnmanagedSchema { evidence, database }.into());
        }
        let (waited, ledger) = under_lock(run, session, view, self.has_role, catalogue).await?;
        report.waited += waited;
        let plan = approved_plan(run, catalogue, &ledger, approved, report)?;
        report.up_to_date = plan.up_to_date.saturating_sub(report.applied.len());
        let pending = self.pending(&plan);
        run_all(run, session, &self.scope(&ledger), &pending, report).await?;
        finish(run, session, catalogue, self.partitioned, true, report).await
    }
}

/// The plan by the ledger as it is, if it is the approved one. What this run committed of that is no change.
fn approved_plan(
    run: &Run,
    catalogue: &Catalogue,
    ledger: &Ledger,
    approved: &mut Option<Plan>,
    report: &Report,
) -> Result<Plan, Error> {
    let again: Vec<String> = run
        .config
        .again
        .iter()
        .filter(|id| !report.has_applied(id))
        .cloned()
        .collect();
    let plan = Plan::make(catalogue, &run.config.selection, &again, ledger)?;
    match approved {
        Some(approved) if run.config.plan_hash.is_some() => {
            let left = approved
                .steps
                .iter()
                .map(|step| &step.id)
                .filter(|id| !report.has_applied(id));
            if !left.eq(plan.steps.iter().map(|step| &step.id)) {
                return Err(Error::PlanChanged {
                    expected: approved.hash.clone(),
                    found: plan.hash,
                });
            }
        }
        Some(_) => {}
        None => {
            run.approve(&plan.hash)?;
            *approved = Some(plan.clone());
        }
    }
    Ok(plan)
}

/// Whether the migration runs in steps: by its file, or because some of its steps are done.
fn in_steps(migration: &Migration, ledger: &Ledger) -> bool {
    let state = ledger.entries.get(&migration.id).map(|entry| &entry.state);
    migration.mode == Mode::Steps || matches!(state, Some(State::InProgress(_)))
}

async fn run_all(
    run: &Arc<Run>,
    session: &Session,
    scope: &Scope<'_>,
    pending: &[&Migration],
    report: &mut Report,
) -> Result<(), Attempt> {
    let in_steps = |migration: &Migration| in_steps(migration, scope.ledger);
    for group in pending.chunk_by(|a, b| !in_steps(a) && !in_steps(b)) {
        match group {
            [step] if in_steps(step) => {
                crate::steps::run(run, session, scope, step, report).await?;
            }
            _ => {
                Message::of(scope, group)
                    .send(run, session, scope, report)
                    .await?;
            }
        }
    }
    Ok(())
}

/// Gives the lock back and brings partitions and privileges up to date.
async fn finish(
    run: &Run,
    session: &Session,
    catalogue: &Catalogue,
    partitioned: &[&str],
    locked: bool,
    report: &mut Report,
) -> Result<(), Attempt> {
    let sql = finishing(session.names(), catalogue, partitioned, locked);
    let sets = session.query("creating partitions", &sql).await?;
    Ok(finished(run, &sets, report)?)
}

fn finishing(names: &Names, catalogue: &Catalogue, partitioned: &[&str], locked: bool) -> String {
    let release = if locked {
        lock::release(names)
    } else {
        "SELECT true".to_owned()
    };
    format!(
        "SET {}; {release}; {} {}",
        names.search_path(),
        grants::give(names, catalogue),
        crate::partitions::ensure(partitioned)
    )
}

fn finished(run: &Run, sets: &[Rows], report: &mut Report) -> Result<(), Error> {
    let released = sets.get(1).and_then(|rows| rows.first());
    if released.is_none_or(|row| row.get(0) != Some("t")) {
        return Err(Error::LockLost);
    }
    grants::tell(run, sets, report);
    // Partitions are rows of a name alone.
    for row in sets.iter().skip(2).flatten().filter(|row| row.len() == 1) {
        let name = text(row, 0);
        run.config.emit(&Event::Partition { name: name.clone() });
        report.partitions.push(name);
    }
    Ok(())
}
