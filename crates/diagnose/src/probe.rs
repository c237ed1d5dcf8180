//! Writes one event as Data Storage would, in a transaction that is rolled back, and looks for those that Data Storage wrote.

use std::time::Instant;

use migrations::ROLE;
use migrator::Error;
use migrator::examine::{Session, literal, text};

use crate::activity;
use crate::cause::{self, Cause, Finding};
use crate::diagnosis::Diagnosis;
use crate::examination::Examination;

/// The table that every service's audit events go to.
const TABLE: &str = "audit_events";

/// An event that says what it is, in the columns that Data Storage writes.
const INSERT: &str = "INSERT INTO audit_events (event_id, event_version, event_timestamp, event_date, event_type, event_category, \
event_action, event_outcome, actor_type, actor_id, resource_type, resource_id, correlation_id, parent_event_id, namespace, \
cluster_name, event_data, severity, duration_ms) VALUES (gen_random_uuid(), '1.0', now(), (now() AT TIME ZONE 'UTC')::date, \
'diagnose.probe', 'workflow', 'probe', 'success', 'tool', 'diagnose', 'Probe', 'diagnose', 'diagnose-rolled-back', NULL, NULL, NULL, \
'{\"probe\": true}', 'info', 0)";

/// Inserts, reads back, rolls back.
pub(crate) async fn insert(
    examination: &Examination,
    diagnosis: &mut Diagnosis,
) -> Result<(), Error> {
    let began = Instant::now();
    let session = &examination.session;
    let selected = examination
        .catalogue
        .resolve(examination.run.config.selection())?;
    let holds = |table: &str| {
        let mut provided = selected.iter().flat_map(|migration| &migration.provides);
        provided.any(|object| object.name == table)
    };
    if !holds(TABLE) {
        diagnosis.skip("SQL probe", "the profile has no table audit_events");
        return Ok(());
    }
    // As the role that Data Storage assumes where it can (D31).
    let role = format!(
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}' AND pg_has_role(current_user, oid, \
         CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END)) \
         AND coalesce(has_table_privilege('{ROLE}', to_regclass('{TABLE}'), 'INSERT'), false)"
    );
    let sets = session.query("looking for the role", &role).await?;
    let as_role = sets
        .first()
        .and_then(|rows| rows.first())
        .is_some_and(|row| row.get(0) == Some("t"));
    let set_role = if as_role {
        format!("SET LOCAL ROLE {ROLE};")
    } else {
        String::new()
    };
    let message = format!(
        "BEGIN; {set_role} {INSERT}; \
         SELECT count(*) FROM audit_events WHERE correlation_id = 'diagnose-rolled-back' AND event_type = 'diagnose.probe'; ROLLBACK"
    );
    let outcome = session.try_query(&message).await;
    let who = if as_role { ROLE } else { "the login itself" };
    match outcome {
        Ok(_) => {
            let detail = format!("an event was written as {who}, read back and rolled back");
            diagnosis.add("SQL probe", began, detail, Vec::new());
        }
        Err(error) => {
            let Some(server) = error.as_db_error().cloned() else {
                return Err(session.explain(&error, "writing the probe"));
            };
            session.query("rolling back", "ROLLBACK").await?;
            let detail = format!("an insert as {who} is refused: {}", server.message());
            let mut finding = cause::refused(&server, "an insert", TABLE);
            if finding.cause == Cause::Blocked {
                let held = activity::holders(session, "an insert has to wait for a lock").await?;
                finding = held.evidence(format!("an insert: {}", server.message()));
            }
            explain(diagnosis, &mut finding);
            diagnosis.add("SQL probe", began, detail, vec![finding]);
        }
    }
    Ok(())
}

/// A refused insert of which the comparison found the reason is evidence of that, and not one more finding.
fn explain(diagnosis: &Diagnosis, finding: &mut Finding) {
    let same = |known: &&Finding| known.cause == finding.cause;
    if let Some(known) = diagnosis.findings.iter().find(same) {
        finding.object.clone_from(&known.object);
    }
}

/// Whether events that were written by way of Data Storage are in this database.
pub(crate) async fn written(
    session: &Session,
    correlation_ids: &[String],
    diagnosis: &mut Diagnosis,
) -> Result<(), Error> {
    for id in correlation_ids {
        let began = Instant::now();
        let sql = format!(
            "SELECT count(*) FROM audit_events WHERE correlation_id = {}",
            literal(id)
        );
        let Ok(sets) = session.try_query(&sql).await else {
            // Why the table cannot be read has been found already.
            diagnosis.skip("same database", "audit_events cannot be read");
            return Ok(());
        };
        let count = sets
            .first()
            .and_then(|rows| rows.first())
            .map_or_else(String::new, |row| text(row, 0));
        if count == "0" {
            let finding = Finding::new(
                Cause::OtherDatabase,
                "",
                "Data Storage stored the probe in another database than this one",
            )
            .evidence(format!(
                "it answered 201 for {id}, and no row here carries that correlation id"
            ))
            .manual_step("compare Data Storage's `database` settings with the database given here");
            diagnosis.add(
                "same database",
                began,
                "the probe is not here",
                vec![finding],
            );
        } else {
            let detail = "what Data Storage wrote is here";
            diagnosis.add("same database", began, detail, Vec::new());
        }
    }
    Ok(())
}
