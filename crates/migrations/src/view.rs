//! What one query shows of a database, before and under the lock.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::catalogue::{Catalogue, LEDGER};
use crate::error::Error;
use crate::ledger::{self, Ledger, text};
use crate::lock;
use crate::session::{Run, Session};

/// What one query shows of a database.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each read once"
)]
pub(crate) struct View {
    pub(crate) ledger: Ledger,
    /// An object that only a tool without a ledger makes.
    pub(crate) foreign: Option<String>,
    pub(crate) partitions_missing: bool,
    pid: String,
    relayed: bool,
    has_ledger: bool,
    pub(crate) has_role: bool,
    pub(crate) deadlock_timeout: Duration,
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
            has_role: server.get(5) == Some("t"),
            deadlock_timeout: parse_interval(&text(server, 4)),
        })
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
pub(crate) async fn under_lock(
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
            &format!(
                "{}; {bootstrap}\n; {}; {}",
                lock::own(),
                crate::shape::prepare(),
                ledger::READ
            ),
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
