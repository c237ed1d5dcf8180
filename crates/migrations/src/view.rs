//! What one query shows of a database, before and under the lock.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::SimpleQueryRow;
use tokio_postgres::error::SqlState;

use crate::catalogue::{Catalogue, LEDGER};
use crate::error::Error;
use crate::ledger::{self, Ledger, text};
use crate::lock;
use crate::session::{Rows, Run, Session};

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
    /// One message. Where the ledger is missing the message ends with that, its settings undone, and what it said until then
    /// is what there is to know.
    pub(crate) async fn first(
        session: &Session,
        catalogue: &Catalogue,
        tables: &[&str],
    ) -> Result<Self, Error> {
        let stage = "reading the ledger";
        let months = crate::partitions::missing_by_name(tables);
        let message = format!(
            "{}; {}; {months}; {}",
            ledger::SETTINGS,
            ledger::FACTS,
            ledger::READ
        );
        let mut sets = Vec::new();
        let has_ledger = match session.stream(&message, |rows| sets.push(rows)).await {
            Ok(()) => true,
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => false,
            Err(error) => return Err(session.explain(&error, stage)),
        };
        let facts = named(&sets, "facts")
            .and_then(<[_]>::first)
            .ok_or_else(|| Error::Database {
                stage: stage.to_owned(),
                sqlstate: "XX000".to_owned(),
                message: "no answer to a question about the server".to_owned(),
            })?;
        let rows = if has_ledger {
            sets.last().map(Vec::as_slice).unwrap_or_default()
        } else {
            &[]
        };
        Ok(Self {
            ledger: Ledger::read(rows, catalogue.source()),
            foreign: facts
                .get(4)
                .map(str::to_owned)
                .filter(|_| ledger::is_own(catalogue.source())),
            partitions_missing: has_ledger && named(&sets, "unmade").is_some(),
            pid: text(facts, 0),
            relayed: session.local_port.map(|port| port.to_string()).as_deref() != facts.get(1),
            has_ledger,
            has_role: facts.get(3) == Some("t"),
            deadlock_timeout: parse_interval(&text(facts, 2)),
        })
    }

    /// What a session still needs to be told: settings do not outlive a message that failed.
    pub(crate) fn settings(&self) -> &'static str {
        if self.has_ledger {
            ""
        } else {
            ledger::SETTINGS
        }
    }
}

/// The rows whose first column has this name.
fn named<'a>(sets: &'a [Rows], name: &str) -> Option<&'a [SimpleQueryRow]> {
    let named = |row: &SimpleQueryRow| {
        row.columns()
            .first()
            .is_some_and(|column| column.name() == name)
    };
    sets.iter()
        .find(|rows| rows.first().is_some_and(named))
        .map(Vec::as_slice)
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

/// Takes the lock, makes the ledger if it is missing, checks that the lock is truly this session's, and reads the ledger again,
/// all in one message; returns how long others were waited for, too.
pub(crate) async fn under_lock(
    run: &Arc<Run>,
    session: &Session,
    view: &View,
    catalogue: &Catalogue,
) -> Result<(Duration, Ledger), Error> {
    let refused = |evidence: &str| Error::PoolerRefused {
        address: run.config.target.address(),
        evidence: evidence.to_owned(),
    };
    let bootstrap = if view.has_ledger { "" } else { LEDGER };
    let (settings, own) = (view.settings(), lock::own());
    let then = format!(
        "{settings}; {own}; {bootstrap}\n; {}; {}; {}",
        crate::shape::prepare(),
        ledger::prepare(),
        ledger::READ
    );
    let (locked, shares) = tokio::try_join!(
        lock::acquire(run, session, view.deadlock_timeout, &then),
        shares_our_process(run, view)
    )?;
    let (waited, sets) = locked;
    let own = named(&sets, "own").and_then(<[_]>::first);
    if own.is_none_or(|row| row.get(0) != Some(&view.pid) || row.get(1) != Some("t")) {
        return Err(refused(
            "two statements of one session ran in different server processes",
        ));
    }
    if shares {
        return Err(refused("two connections share one server process"));
    }
    let rows = sets.last().map(Vec::as_slice).unwrap_or_default();
    Ok((waited, Ledger::read(rows, catalogue.source())))
}

/// A relay may be a pooler that has had no reason to switch yet: a second connection shows whether it gets our process.
async fn shares_our_process(run: &Arc<Run>, view: &View) -> Result<bool, Error> {
    if !view.relayed {
        return Ok(false);
    }
    let second = Session::open(run).await?;
    let pid = second
        .query("looking for a pooler", "SELECT pg_backend_pid()")
        .await?;
    second.close().await;
    let pid = pid
        .first()
        .and_then(|rows| rows.first())
        .and_then(|row| row.get(0));
    Ok(pid == Some(&view.pid))
}
