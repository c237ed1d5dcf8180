//! Reverting migrations: the named ones and what needs them, last applied first, by the SQL that the ledger keeps.
//!
//! The SQL of the ledger, not of the files: an older program can revert what a newer one applied.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use tokio_postgres::error::ErrorPosition;

use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::error::{Error, MigrationFailure, is_disconnect, next_move};
use crate::ledger::Ledger;
use crate::lock;
use crate::report::{Applied, Event};
use crate::rows::text;
use crate::session::{Run, Session};
use crate::sql::{self, literal};
use crate::view::{View, refuse_shared_process, under_lock};

/// What to revert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revert {
    /// These migrations, and every one that requires them.
    Ids(Vec<String>),
    /// As many as this, last applied first, with what requires them.
    Last(usize),
    /// Everything of this source.
    All,
}

/// What [`revert`] did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reverted {
    /// Migrations that were reverted, in order.
    pub reverted: Vec<Applied>,
}

/// Reverts migrations, each in a transaction of its own; rows of their tables go with them.
///
/// # Errors
/// [`Error::Irreversible`] before anything is reverted; [`Error::NotApplied`] for a name that is not applied; otherwise as
/// [`crate::apply`].
pub async fn revert(config: &Config, what: &Revert) -> Result<Reverted, Error> {
    Run::bounded(config, |run| async move {
        let catalogue = Arc::clone(&run.config.catalogue);
        let session = Session::open(&run).await?;
        let view = View::first(&session, &catalogue, &[]).await?;
        refuse_shared_process(&run, &view).await?;
        let (_, ledger) = under_lock(&run, &session, &view, view.has_role, &catalogue).await?;
        let order = order(&ledger, what)?;
        let scripts = order
            .iter()
            .map(|id| script(&catalogue, &ledger, id))
            .collect::<Result<Vec<_>, _>>()?;
        let mut done = Reverted::default();
        for (id, script) in order.into_iter().zip(scripts) {
            run.enter(format!("reverting {id}"));
            let reverted = revert_one(&session, &catalogue, id, script).await?;
            run.config.emit(&Event::Reverted(reverted.clone()));
            done.reverted.push(reverted);
        }
        session
            .query("giving the lock back", &lock::release(session.names()))
            .await?;
        session.close().await;
        Ok(done)
    })
    .await
}

/// The applied migrations to revert, last applied first.
fn order<'a>(ledger: &'a Ledger, what: &Revert) -> Result<Vec<&'a str>, Error> {
    let applied = ledger.applied_last_first();
    let mut marked: BTreeSet<&str> = match what {
        Revert::All => applied.iter().copied().collect(),
        Revert::Last(count) => applied.iter().take(*count).copied().collect(),
        Revert::Ids(ids) => {
            let unknown: Vec<String> = ids
                .iter()
                .filter(|id| !applied.contains(&id.as_str()))
                .cloned()
                .collect();
            if !unknown.is_empty() {
                return Err(Error::NotApplied { ids: unknown });
            }
            applied
                .iter()
                .copied()
                .filter(|id| ids.iter().any(|named| named == id))
                .collect()
        }
    };
    // First applied first: what requires a marked one comes after it.
    for id in applied.iter().rev() {
        if ledger.entries.get(*id).is_some_and(|entry| {
            entry
                .requires
                .iter()
                .any(|required| marked.contains(required.as_str()))
        }) {
            marked.insert(id);
        }
    }
    Ok(applied
        .into_iter()
        .filter(|id| marked.contains(id))
        .collect())
}

fn script<'a>(catalogue: &Catalogue, ledger: &'a Ledger, id: &str) -> Result<&'a str, Error> {
    ledger
        .entries
        .get(id)
        .and_then(|entry| entry.down_sql.as_deref())
        .ok_or_else(|| {
            let declared = catalogue
                .get(id)
                .and_then(|migration| migration.irreversible.clone());
            let reason = declared
                .unwrap_or_else(|| "its row in the ledger holds no SQL that reverts it".to_owned());
            Error::Irreversible {
                migration: id.to_owned(),
                reason,
            }
        })
}

fn settings(session: &Session) -> String {
    format!(
        "SET {}; SET lock_timeout = '3s'; SELECT set_config('migrator.started', clock_timestamp()::text, false)",
        session.names().search_path()
    )
}

/// What precedes a script in its message.
fn prefix(session: &Session) -> String {
    format!("{}; BEGIN;\n", settings(session))
}

async fn revert_one(
    session: &Session,
    catalogue: &Catalogue,
    id: &str,
    script: &str,
) -> Result<Applied, Error> {
    let mark = format!(
        "UPDATE {} SET reverted_at = clock_timestamp() WHERE source = {} AND id = {} \
         RETURNING extract(epoch FROM clock_timestamp() - current_setting('migrator.started')::timestamptz) * 1000",
        session.names().ledger(),
        literal(catalogue.source()),
        literal(id)
    );
    let statements = sql::statements(script);
    let sets = if statements.iter().any(sql::Statement::refuses_transaction) {
        session
            .query("reverting in steps", &settings(session))
            .await?;
        for statement in &statements {
            session
                .try_query(statement.text)
                .await
                .map_err(|error| explain(session, id, script, &error))?;
        }
        session.try_query(&mark).await
    } else {
        session
            .try_query(&format!(
                "{}{script}\n;\nSET LOCAL {}; {mark}; COMMIT",
                prefix(session),
                session.names().search_path()
            ))
            .await
    };
    let sets = sets.map_err(|error| explain(session, id, script, &error))?;
    let milliseconds: f64 = sets
        .iter()
        .rev()
        .flatten()
        .next()
        .and_then(|row| text(row, 0).parse().ok())
        .unwrap_or(0.0);
    Ok(Applied {
        id: id.to_owned(),
        provides: catalogue
            .get(id)
            .map(|migration| migration.provides.clone())
            .unwrap_or_default(),
        duration: std::time::Duration::from_secs_f64(milliseconds.max(0.0) / 1e3),
    })
}

fn explain(session: &Session, id: &str, script: &str, error: &tokio_postgres::Error) -> Error {
    let Some(server) = error
        .as_db_error()
        .filter(|server| !is_disconnect(server.code()))
    else {
        return session.explain(error, &format!("reverting {id}"));
    };
    let line = match server.position() {
        Some(ErrorPosition::Original(position)) => {
            let before = (*position as usize).saturating_sub(prefix(session).chars().count() + 1);
            script.chars().take(before).filter(|c| *c == '\n').count() + 1
        }
        _ => 1,
    };
    let sqlstate = server.code().code().to_owned();
    let detail = server
        .detail()
        .map(|detail| format!(" ({detail})"))
        .unwrap_or_default();
    Error::MigrationFailed(Box::new(MigrationFailure {
        migration: id.to_owned(),
        file: "the ledger's down_sql".to_owned(),
        line,
        next_move: next_move(&sqlstate).to_owned(),
        cause: format!("{}{detail}", server.message()),
        sqlstate,
    }))
}
