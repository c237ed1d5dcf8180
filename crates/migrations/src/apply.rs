//! Applying a selection: look without a lock, lock, look again, run what is missing, keep partitions ahead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::catalogue::{Catalogue, Migration, Mode};
use crate::config::Config;
use crate::error::Error;
use crate::ledger::{self, Ledger, text};
use crate::lock;
use crate::message::{Message, Scope};
use crate::plan::Plan;
use crate::report::{Event, Report};
use crate::session::{Run, Session};
use crate::view::{View, under_lock};

/// How often a run that lost its connection half-way begins again; the ledger says where to go on.
const RECONNECTS: u32 = 3;
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

async fn attempt(
    run: &Arc<Run>,
    catalogue: &Catalogue,
    report: &mut Report,
) -> Result<(), Attempt> {
    let session = Session::open(run).await?;
    let partitioned = catalogue.partitioned_tables(&run.config.selection)?;
    let view = View::first(&session, catalogue, &partitioned).await?;
    let plan = approved_plan(run, catalogue, &view.ledger)?;
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
        let own = ledger::is_own(catalogue.source());
        let has_role = view.has_role || own && crate::roles::ensure(run, report).await;
        let (waited, ledger) = under_lock(run, &session, &view, catalogue).await?;
        report.waited += waited;
        let plan = Plan::make(catalogue, &run.config.selection, &ledger)?;
        report.up_to_date = plan.up_to_date.saturating_sub(report.applied.len());
        let pending: Vec<&Migration> = plan
            .steps
            .iter()
            .filter_map(|step| catalogue.get(&step.id))
            .collect();
        let scope = Scope {
            catalogue,
            ledger: &ledger,
            has_role,
        };
        run_all(run, &session, &scope, &pending, report).await?;
    }
    if !plan.steps.is_empty() || view.partitions_missing {
        finish(run, &session, &partitioned, !plan.steps.is_empty(), report).await?;
    }
    session.close().await;
    Ok(())
}

fn approved_plan(run: &Run, catalogue: &Catalogue, ledger: &Ledger) -> Result<Plan, Error> {
    let plan = Plan::make(catalogue, &run.config.selection, ledger)?;
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

async fn run_all(
    run: &Arc<Run>,
    session: &Session,
    scope: &Scope<'_>,
    pending: &[&Migration],
    report: &mut Report,
) -> Result<(), Attempt> {
    for group in pending.chunk_by(|a, b| a.mode == Mode::Transaction && b.mode == Mode::Transaction)
    {
        match group {
            [step] if step.mode == Mode::Steps => {
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

/// Gives the lock back and brings the partitions up to date, in one message.
async fn finish(
    run: &Run,
    session: &Session,
    partitioned: &[&str],
    locked: bool,
    report: &mut Report,
) -> Result<(), Attempt> {
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
    Ok(())
}
