//! Who uses the server: connections against their limit, and sessions that hold what others wait for.

use std::time::Instant;

use migrator::Error;
use migrator::examine::{Session, text};

use crate::cause::{Cause, Finding, Repair, exhausted};
use crate::diagnosis::Diagnosis;

/// Whose connections they are, the many first.
const HOLDERS: &str = "SELECT coalesce(nullif(application_name, ''), 'unnamed'), coalesce(state, 'unknown'), count(*) \
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 5";

/// The server's limits, and what of them is used by others. Slots kept for superusers are of no use to Data Storage
/// (<https://www.postgresql.org/docs/current/runtime-config-connection.html>).
const LIMITS: &str = "SELECT current_setting('server_version'), current_user, current_setting('max_connections')::int \
- current_setting('superuser_reserved_connections')::int - coalesce(current_setting('reserved_connections', true)::int, 0), \
(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), \
current_setting('transaction_read_only'), pg_is_in_recovery()";

/// Sessions that hold a lock on a table of the schema which an insert has to wait for
/// (<https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES>).
const CONFLICTING: &str = "SELECT DISTINCT a.pid, coalesce(nullif(a.application_name, ''), 'unnamed'), a.state, l.mode, l.relation::regclass, \
extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.state_change))::int \
FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation \
WHERE l.granted AND l.pid <> pg_backend_pid() AND a.datname = current_database() AND c.relnamespace = 'public'::regnamespace \
AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') ORDER BY 1";

/// Sessions that have waited for a lock for a second or longer.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
AND state_change < clock_timestamp() - interval '1 second'";

/// Examines the connections; the check began with connecting.
pub(crate) async fn connections(
    session: &Session,
    diagnosis: &mut Diagnosis,
    began: Instant,
) -> Result<(), Error> {
    let sets = session
        .query(
            "looking at the connections",
            &format!("{LIMITS}; {HOLDERS}"),
        )
        .await?;
    let [limits, holders] = sets.as_slice() else {
        return Ok(());
    };
    let Some(row) = limits.first() else {
        return Ok(());
    };
    let number = |column| text(row, column).parse().unwrap_or(0_i64);
    let (limit, used) = (number(2), number(3));
    let mut findings = Vec::new();
    if used >= limit {
        let mut finding = exhausted("this address")
            .evidence(format!("{used} of {limit} connections are used by others"));
        for holder in holders {
            let (name, state) = (text(holder, 0), text(holder, 1));
            finding = finding.evidence(format!("{} of {name}, {state}", text(holder, 2)));
        }
        findings.push(finding);
    }
    if row.get(4) == Some("on") || row.get(5) == Some("t") {
        let finding = Finding::new(Cause::ReadOnly, "", "the database takes no writes")
            .evidence(format!(
                "transaction_read_only = {}, in recovery: {}",
                text(row, 4),
                text(row, 5)
            ))
            .manual_step("give the address of the primary server");
        findings.push(finding);
    }
    let detail = format!(
        "PostgreSQL {} as {}, {used} of {limit} connections in use",
        text(row, 0),
        text(row, 1)
    );
    diagnosis.add("connection", began, detail, findings);
    Ok(())
}

/// Looks for sessions that make others wait. A lock that nobody has waited for is no fault: the probe shows whether it is one.
pub(crate) async fn locks(session: &Session, diagnosis: &mut Diagnosis) -> Result<(), Error> {
    let began = Instant::now();
    let sets = session
        .query("looking at the locks", &format!("{WAITING}; {CONFLICTING}"))
        .await?;
    let waiting = sets
        .first()
        .and_then(|rows| rows.first())
        .map_or(0, |row| text(row, 0).parse().unwrap_or(0_u64));
    let holders = sets.get(1).map(Vec::as_slice).unwrap_or_default();
    let mut findings = Vec::new();
    if waiting > 0 {
        let summary = format!("{waiting} sessions wait for a lock");
        findings.push(blocked(summary, holders));
    }
    let detail = format!("{waiting} sessions wait, {} hold a table", holders.len());
    diagnosis.add("locks", began, detail, findings);
    Ok(())
}

/// Names who holds what the probe could not have.
pub(crate) async fn holders(session: &Session, summary: &str) -> Result<Finding, Error> {
    let sets = session.query("looking at the locks", CONFLICTING).await?;
    Ok(blocked(
        summary.to_owned(),
        sets.first().map(Vec::as_slice).unwrap_or_default(),
    ))
}

fn blocked(summary: String, holders: &[tokio_postgres::SimpleQueryRow]) -> Finding {
    let mut finding = Finding::new(Cause::Blocked, "", summary);
    for row in holders {
        let (pid, name, state) = (text(row, 0), text(row, 1), text(row, 2));
        let (mode, table, seconds) = (text(row, 3), text(row, 4), text(row, 5));
        finding = finding.evidence(format!(
            "pid {pid} ({name}, {state} for {seconds} s) holds {mode} on {table}"
        ));
        let end = Repair::Person(format!("SELECT pg_terminate_backend({pid})"));
        if !finding.repair.contains(&end) {
            finding = finding.repair(end);
        }
    }
    if holders.is_empty() {
        finding = finding.manual_step(
            "check pg_locks and pg_stat_activity: the holder is gone, or holds a row and no table",
        );
    }
    finding
}
