//! Finds out why audit events do not reach a database: connects, reads what is there, and writes a probe that is rolled back.
//!
//! Every cause has a name, the evidence that shows it, and the steps that repair it; nothing is changed until [`repair`].

mod activity;
mod cause;
mod difference;
mod probe;
mod schema;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_postgres::error::SqlState;

pub use cause::{Cause, Finding, Repair};

use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::error::Error;
use crate::ledger;
use crate::report::milliseconds;
use crate::session::{Run, Session};
use crate::view::View;

/// Bounds on what the examination itself waits for: a lock that somebody holds is a finding, not a reason to hang.
const BOUNDS: &str = "SET lock_timeout = '1s'; SET statement_timeout = '5s'";

/// What was looked at and what was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Diagnosis {
    /// Everything that was looked at, in order.
    pub checks: Vec<Check>,
    /// What is wrong, the root first; none means healthy.
    pub findings: Vec<Finding>,
}

/// One look.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
    /// How long it took.
    #[serde(rename = "took_ms", serialize_with = "milliseconds")]
    pub took: Duration,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// A finding says what is wrong.
    Wrong,
    /// Not looked at; the detail says why.
    Skipped,
}

impl Diagnosis {
    /// Adds a look that began at `began`, with what it found.
    pub fn add(
        &mut self,
        name: &'static str,
        began: std::time::Instant,
        detail: impl Into<String>,
        findings: Vec<Finding>,
    ) {
        let verdict = if findings.is_empty() {
            Verdict::Ok
        } else {
            Verdict::Wrong
        };
        self.checks.push(Check {
            name,
            verdict,
            detail: detail.into(),
            took: began.elapsed(),
        });
        for finding in findings {
            self.find(finding);
        }
    }

    /// Adds a look that was not taken, and why.
    pub fn skip(&mut self, name: &'static str, why: impl Into<String>) {
        self.checks.push(Check {
            name,
            verdict: Verdict::Skipped,
            detail: why.into(),
            took: Duration::ZERO,
        });
    }

    /// Adds a finding. One that a known finding explains gives it its evidence instead.
    pub fn find(&mut self, finding: Finding) {
        let explains = |known: &&mut Finding| {
            if known.cause == finding.cause {
                known.object == finding.object || finding.object.is_empty()
            } else {
                known.cause.explains(finding.cause)
            }
        };
        let Some(known) = self.findings.iter_mut().find(explains) else {
            self.findings.push(finding);
            return;
        };
        for evidence in finding.evidence {
            if !known.evidence.contains(&evidence) {
                known.evidence.push(evidence);
            }
        }
    }

    /// Whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.findings.is_empty()
    }

    /// Puts the root first: a lock or a missing migration explains what else fails.
    pub fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.cause);
    }
}

/// Examines the database of `config` for its selection. `written` are correlation ids of events that somebody wrote by way of
/// Data Storage and that must be here.
///
/// # Errors
/// [`Error::InvalidUrl`], those of the selection, [`Error::Cancelled`] and [`Error::DeadlineExceeded`]; a database that cannot be
/// reached is a finding.
pub async fn diagnose(config: &Config, written: &[String]) -> Result<Diagnosis, Error> {
    let written = written.to_vec();
    Run::bounded(config, |run| async move {
        let catalogue = run.config.resolve_catalogue()?;
        catalogue.resolve(&run.config.selection)?;
        run.config.target.settings()?;
        let mut diagnosis = Diagnosis::default();
        let began = std::time::Instant::now();
        let session = match Session::open_once(&run).await {
            Ok(session) => session,
            Err((code, said)) => {
                let finding = cause::unreachable(&run.config.target, code.as_ref(), &said);
                diagnosis.add("connection", began, said, vec![finding]);
                for name in ["ledger", "schema", "partitions", "locks", "SQL probe"] {
                    diagnosis.skip(name, "no connection");
                }
                return Ok(diagnosis);
            }
        };
        let examination = Examination {
            run,
            session,
            catalogue,
        };
        let outcome = examination.all(&mut diagnosis, began, &written).await;
        if let Err(error) = outcome {
            diagnosis.find(cause::failed(&error));
        }
        diagnosis.sort();
        examination.session.close().await;
        Ok(diagnosis)
    })
    .await
}

struct Examination {
    run: Arc<Run>,
    session: Session,
    catalogue: Arc<Catalogue>,
}

impl Examination {
    async fn all(
        &self,
        diagnosis: &mut Diagnosis,
        began: std::time::Instant,
        written: &[String],
    ) -> Result<(), Error> {
        let partitioned = self
            .catalogue
            .partitioned_tables(&self.run.config.selection)?;
        let view = View::first(&self.session, &self.catalogue, &partitioned).await?;
        self.session.query("setting up the session", BOUNDS).await?;
        activity::connections(&self.session, diagnosis, began).await?;
        schema::ledger(self, &view, diagnosis).await?;
        schema::objects(self, &view, diagnosis).await?;
        schema::partitions(self, &partitioned, diagnosis).await?;
        activity::locks(&self.session, diagnosis).await?;
        probe::insert(self, diagnosis).await?;
        probe::written(&self.session, written, diagnosis).await
    }
}

/// Carries out the steps of findings, each in a transaction of its own, in their order.
///
/// # Errors
/// As [`crate::apply`]; [`Error::Database`] for a step that the server refuses.
pub async fn repair(config: &Config, steps: &[Repair]) -> Result<(), Error> {
    for step in steps {
        let sql = match step {
            Repair::Migrate => {
                crate::apply(config).await?;
                continue;
            }
            Repair::Partitions => {
                crate::ensure_partitions(config).await?;
                continue;
            }
            Repair::Person(_) => continue,
            Repair::Sql(sql) => sql.clone(),
            Repair::Files(files) => {
                let catalogue = config.resolve_catalogue()?;
                let of_files = catalogue
                    .migrations()
                    .iter()
                    .filter(|migration| files.contains(&migration.file));
                let texts: Vec<&str> = of_files.map(|migration| migration.up.as_str()).collect();
                texts.join("\n;\n")
            }
        };
        Run::bounded(config, |run| async move {
            let session = Session::open(&run).await?;
            let message = format!(
                "{}; {}; BEGIN; {sql}\n; COMMIT",
                ledger::SETTINGS,
                ledger::NOTICE_GONE_CLIENT
            );
            let done = session.query("repairing", &message).await.map(drop);
            session.close().await;
            done
        })
        .await?;
    }
    Ok(())
}

/// Whether the server may take a connection later, by what it said.
fn is_exhausted(code: Option<&SqlState>) -> bool {
    code == Some(&SqlState::TOO_MANY_CONNECTIONS)
}
