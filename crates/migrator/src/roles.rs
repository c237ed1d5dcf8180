//! The application's role: it belongs to the whole server, so it is created under a lock in one fixed database.
//!
//! Advisory locks are per database while roles are not: two databases that migrate at once would race for the same row.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::error::Error;
use crate::lock::Key;
use crate::report::{Event, Report};
use crate::session::{Run, Session};

const ATTEMPTS: u32 = 5;

/// Creates the role and returns whether it exists now. Where that is not allowed the run goes on with a warning: the tables work
/// for their owner.
pub(crate) async fn ensure(run: &Arc<Run>, sql: &str, report: &mut Report) -> bool {
    let Err(error) = make(run, sql).await else {
        return true;
    };
    let role = run.config.names.role.as_deref();
    let role = role.unwrap_or("of the application");
    let text = format!(
        "role {role} cannot be created ({error}); what the application may do is limited only once `CREATE ROLE {role} NOLOGIN` was run and its privileges were granted"
    );
    run.config.emit(&Event::Warning { text: text.clone() });
    report.warnings.push(text);
    false
}

async fn make(run: &Arc<Run>, roles: &str) -> Result<(), Error> {
    let elsewhere = run.config.on_maintenance_database();
    let session = Session::open_on(run, &elsewhere.target).await?;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let sql = format!(
            "SET lock_timeout = '2s'; BEGIN; {}; {roles}; COMMIT",
            Key::roles(session.names()).take("_xact")
        );
        match session.try_query(&sql).await {
            Ok(_) => {
                session.close().await;
                return Ok(());
            }
            // Somebody outside the lock created it in the same instant.
            Err(error)
                if error.code().is_some_and(|code| {
                    matches!(code.code(), "23505" | "XX000" | "42710" | "55P03")
                }) =>
            {
                last = Some(session.explain(&error, "creating the application's role"));
            }
            Err(error) => return Err(session.explain(&error, "creating the application's role")),
        }
        session.query("rolling back", "ROLLBACK").await?;
        sleep(Duration::from_millis(20)).await;
    }
    Err(last.unwrap_or(Error::Cancelled {
        stage: "creating the application's role".to_owned(),
    }))
}
