//! Migrations that cannot be one transaction: a step per statement, progress in the ledger, repair instead of a dirty state.
//!
//! A statement that may run in a transaction shares one with its progress, so it happens once. One that may not (CREATE INDEX
//! CONCURRENTLY and its like) is probed before: what an interrupted attempt left is put right or taken as done.

use crate::error::{self, Error};
use crate::ledger::State;
use crate::message::{Scope, applied, failure};
use crate::migration::Migration;
use crate::report::{Event, Report};
use crate::session::{Run, Session};
use crate::sql::{self, Statement};

/// Runs what is left of `migration`.
pub(crate) async fn run(
    run: &Run,
    session: &Session,
    scope: &Scope<'_>,
    migration: &Migration,
    report: &mut Report,
) -> Result<(), Error> {
    let done = match scope
        .ledger
        .entries
        .get(&migration.id)
        .map(|entry| &entry.state)
    {
        Some(State::InProgress { steps_done }) => *steps_done,
        _ => 0,
    };
    let row = scope.row(migration);
    run.enter(format!("applying {} in steps", migration.id));
    // CREATE INDEX CONCURRENTLY waits for older transactions under the same limit: it must not be cut by it.
    let begin = format!(
        "SET {}; SET lock_timeout = 0; SELECT set_config('migrator.started', clock_timestamp()::text, false)",
        session.names().search_path()
    );
    session
        .query("beginning a migration in steps", &begin)
        .await?;
    for (number, unit) in units(&migration.up).into_iter().enumerate().skip(done) {
        let progress = row.record_steps(number + 1);
        if let Err(error) = step(run, session, &unit, &progress).await {
            return Err(explain(session, migration, &unit, &error));
        }
    }
    let sets = session
        .query("recording a migration in steps", &row.record())
        .await?;
    let recorded = applied(
        migration,
        sets.first()
            .and_then(|rows| rows.first())
            .and_then(|row| row.get(1)),
    );
    run.config.emit(&Event::Applied(recorded.clone()));
    report.applied.push(recorded);
    Ok(())
}

fn explain(
    session: &Session,
    migration: &Migration,
    unit: &[Statement<'_>],
    error: &tokio_postgres::Error,
) -> Error {
    let stage = format!("applying {} in steps", migration.id);
    match error.as_db_error() {
        Some(server) if !error::is_disconnect(server.code()) => {
            let start = unit.first().map_or(0, |statement| statement.start);
            let line = migration.first_line + migration.up[..start].matches('\n').count() + 1;
            Error::MigrationFailed(Box::new(failure(migration, line, server)))
        }
        _ => session.explain(error, &stage),
    }
}

/// One statement each, but what the file itself puts between BEGIN and COMMIT stays together; a stray COMMIT ends nothing.
fn units(up: &str) -> Vec<Vec<Statement<'_>>> {
    let mut units: Vec<Vec<Statement<'_>>> = Vec::new();
    let mut open: Option<Vec<Statement<'_>>> = None;
    for statement in sql::statements(up) {
        if statement.controls_transaction() {
            units.extend(open.take().filter(|unit| !unit.is_empty()));
            open = (statement.begins(&["BEGIN"]) || statement.begins(&["START"])).then(Vec::new);
        } else if let Some(unit) = &mut open {
            unit.push(statement);
        } else {
            units.push(vec![statement]);
        }
    }
    units.extend(open.filter(|unit| !unit.is_empty()));
    units
}

async fn step(
    run: &Run,
    session: &Session,
    unit: &[Statement<'_>],
    progress: &str,
) -> Result<(), tokio_postgres::Error> {
    match unit {
        [statement] if statement.refuses_transaction() => {
            if !probe(run, session, statement).await? {
                session.try_query(statement.text).await?;
            }
            session.try_query(progress).await.map(drop)
        }
        _ => {
            let texts: Vec<&str> = unit.iter().map(|statement| statement.text).collect();
            let outcome = session
                .try_query(&format!(
                    "BEGIN;\n{};\n{progress};\nCOMMIT",
                    texts.join(";\n")
                ))
                .await;
            if outcome.is_err() {
                session.try_query("ROLLBACK").await?;
            }
            outcome.map(drop)
        }
    }
}

/// Looks for what an interrupted attempt at the statement left; true if its effect is there already.
///
/// An index whose build was interrupted stays behind invalid, and CREATE INDEX CONCURRENTLY IF NOT EXISTS would then succeed and
/// leave it so.
async fn probe(
    run: &Run,
    session: &Session,
    statement: &Statement<'_>,
) -> Result<bool, tokio_postgres::Error> {
    let creates = statement.begins(&["CREATE", "INDEX", "CONCURRENTLY"])
        || statement.begins(&["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY"]);
    let drops = statement.begins(&["DROP", "INDEX", "CONCURRENTLY"]);
    let Some(name) = index_name(statement).filter(|_| creates || drops) else {
        return Ok(false);
    };
    let query = format!(
        "SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass({})",
        sql::literal(&name)
    );
    let sets = session.try_query(&query).await?;
    let valid = sets
        .first()
        .and_then(|rows| rows.first())
        .map(|row| row.get(0) == Some("t"));
    match valid {
        None => Ok(drops),
        Some(true) => Ok(false),
        Some(false) => {
            session
                .try_query(&format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"))
                .await?;
            run.config.emit(&Event::Repaired {
                what: format!("dropped index {name}, which an interrupted build left invalid"),
            });
            Ok(drops)
        }
    }
}

/// The index that a CREATE or DROP INDEX names, as written.
fn index_name(statement: &Statement<'_>) -> Option<String> {
    let tokens = sql::tokens(statement.text);
    let texts: Vec<&str> = tokens
        .iter()
        .filter(|token| token.kind != sql::Kind::Comment)
        .map(|token| &statement.text[token.range.clone()])
        .collect();
    let after = texts
        .iter()
        .position(|text| text.eq_ignore_ascii_case("CONCURRENTLY"))?
        + 1;
    let skip = texts[after..]
        .iter()
        .take_while(|text| ["IF", "NOT", "EXISTS"].contains(&text.to_ascii_uppercase().as_str()))
        .count();
    let mut name = String::new();
    for pair in texts[after + skip..].chunks(2) {
        name.push_str(pair[0]);
        match pair.get(1) {
            Some(&".") => name.push('.'),
            _ => break,
        }
    }
    (!name.is_empty() && !name.eq_ignore_ascii_case("ON")).then_some(name)
}
