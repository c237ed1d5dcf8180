//! The examination: every check in its order.

use std::sync::Arc;
use std::time::Instant;

use migrator::examine::{Run, Session, View};
use migrator::{Config, Error};

use crate::diagnosis::Diagnosis;
use crate::examination::Examination;
use crate::{activity, cause, probe, schema};

/// Bounds on what the examination itself waits for: a lock that somebody holds is a finding, not a reason to hang.
const BOUNDS: &str = "SET lock_timeout = '1s'; SET statement_timeout = '5s'";

/// Examines the database of `config` for its selection. `written` are correlation ids of events that somebody wrote by way of
/// Data Storage and that must be here.
///
/// # Errors
/// [`Error::InvalidUrl`], those of the selection, [`Error::Cancelled`] and [`Error::DeadlineExceeded`]; a database that cannot be
/// reached is a finding.
pub async fn diagnose(config: &Config, written: &[String]) -> Result<Diagnosis, Error> {
    let written = written.to_vec();
    Run::bounded(config, |run| async move {
        let catalogue = Arc::clone(run.config.migrations());
        catalogue.resolve(run.config.selection())?;
        run.config.check_url()?;
        let mut diagnosis = Diagnosis::default();
        let began = Instant::now();
        let session = match Session::open_once(&run).await {
            Ok(session) => session,
            Err(error) => {
                let (finding, said) = cause::unreachable(&run.config, &error);
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
        let outcome = all(&examination, &mut diagnosis, began, &written).await;
        if let Err(error) = outcome {
            diagnosis.find(cause::failed(&error));
        }
        diagnosis.sort();
        examination.session.close().await;
        Ok(diagnosis)
    })
    .await
}

async fn all(
    examination: &Examination,
    diagnosis: &mut Diagnosis,
    began: Instant,
    written: &[String],
) -> Result<(), Error> {
    let partitioned = examination
        .catalogue
        .partitioned_tables(examination.run.config.selection())?;
    let view = View::first(&examination.session, &examination.catalogue, &partitioned).await?;
    examination
        .session
        .query("setting up the session", BOUNDS)
        .await?;
    activity::connections(&examination.session, diagnosis, began).await?;
    schema::ledger(examination, &view, diagnosis).await?;
    schema::objects(examination, &view, diagnosis).await?;
    schema::partitions(examination, &partitioned, diagnosis).await?;
    activity::locks(&examination.session, diagnosis).await?;
    probe::insert(examination, diagnosis).await?;
    probe::written(&examination.session, written, diagnosis).await
}
