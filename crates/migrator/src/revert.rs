//! Reverting migrations: the selected ones and what needs them, last applied first.
//!
//! A migration's Down is its file's, so that a broken one can be corrected. What the files do not hold is never reverted, and what lies outside the selection only stops it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::catalogue::{Catalogue, hex};
use crate::config::Config;
use crate::error::Error;
use crate::ledger::{self, Entry, Ledger, Progress, State};
use crate::loss::{Loss, losses};
use crate::migration::Migration;
use crate::report::{Applied, Event};
use crate::rows::text;
use crate::selection::Selection;
use crate::session::{Run, Session};
use crate::sql::{self, literal};
use crate::steps::{self, Script};
use crate::view::{Held, View, refuse_shared_process};

/// What of the selection to revert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revert {
    /// These migrations, and every one that requires them.
    Ids(Vec<String>),
    /// As many as this, last applied first, with what requires them.
    Last(usize),
    /// Everything that is selected. What the selection only builds on stays where others build on it too.
    All,
}

/// What [`revert`] would do: a value that can be shown and approved.
#[derive(Clone, Debug, Serialize)]
pub struct RevertPlan {
    /// SHA-256 of the migrations, their order and the SQL that reverts them; for [`Config::only_plan`].
    pub hash: String,
    /// Migrations that would be reverted, in order.
    pub reverts: Vec<String>,
    /// Tables that lose rows or columns, or go.
    pub losses: Vec<Loss>,
    /// Why `losses` may not be all, if so.
    pub note: Option<String>,
    /// Selected migrations that stay, because others that are not selected need them.
    pub kept: Vec<String>,
}

/// What [`revert`] did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reverted {
    /// Migrations that were reverted, in order.
    pub reverted: Vec<Applied>,
    /// As in [`RevertPlan`].
    pub kept: Vec<String>,
}

/// What [`revert`] would do now, and what would be lost.
///
/// # Errors
/// As [`revert`]; nothing is changed.
pub async fn plan_revert(config: &Config, what: &Revert) -> Result<RevertPlan, Error> {
    Run::bounded(config, |run| async move {
        let catalogue = Arc::clone(&run.config.catalogue);
        let session = Session::open(&run).await?;
        let view = View::first(&session, &catalogue, &[]).await?;
        let order = Order::of(&catalogue, &run.config.selection, &view.ledger, what)?;
        let scripts: Vec<&str> = order.reverts.iter().map(|undo| undo.script).collect();
        let (losses, note) = losses(&session, &scripts).await?;
        session.close().await;
        Ok(RevertPlan {
            hash: order.hash(),
            reverts: order.ids(),
            losses,
            note,
            kept: order.kept,
        })
    })
    .await
}

/// Reverts migrations, each in a transaction of its own or in steps that a later call continues; rows of their tables go with them.
///
/// With [`Config::only_plan`] it runs exactly what [`plan_revert`] gave, or nothing.
///
/// # Errors
/// Before anything is reverted: [`Error::Irreversible`]; [`Error::NotApplied`] for a name that is not applied;
/// [`Error::StillNeeded`] if something outside the selection or the files needs what would go; [`Error::PlanChanged`]. Otherwise as
/// [`crate::apply`].
pub async fn revert(config: &Config, what: &Revert) -> Result<Reverted, Error> {
    Run::bounded(config, |run| async move {
        let catalogue = Arc::clone(&run.config.catalogue);
        let session = Session::open(&run).await?;
        let view = View::first(&session, &catalogue, &[]).await?;
        refuse_shared_process(&run, &view).await?;
        // What is refused or empty is so without the lock, and without a ledger being made.
        if Order::of(&catalogue, &run.config.selection, &view.ledger, what)?
            .reverts
            .is_empty()
        {
            session.close().await;
            return Ok(Reverted::default());
        }
        let held = Held::take(&run, &catalogue, session, view).await?;
        let order = Order::of(&catalogue, &run.config.selection, &held.ledger, what)?;
        run.approve(&order.hash())?;
        let mut done = Reverted {
            kept: order.kept.clone(),
            ..Reverted::default()
        };
        for undo in &order.reverts {
            run.enter(format!("reverting {}", undo.id));
            let reverted = undo.run(&run, &held.session, &catalogue).await?;
            run.config.emit(&Event::Reverted(reverted.clone()));
            done.reverted.push(reverted);
        }
        held.release().await?;
        Ok(done)
    })
    .await
}

/// What is reverted, in order, and what stays.
struct Order<'a> {
    reverts: Vec<Undo<'a>>,
    kept: Vec<String>,
}

/// One migration's way back.
struct Undo<'a> {
    id: &'a str,
    migration: &'a Migration,
    /// The SQL, and the name of what holds it.
    script: &'a str,
    file: String,
    progress: Progress,
}

impl<'a> Order<'a> {
    fn of(
        catalogue: &'a Catalogue,
        selection: &Selection,
        ledger: &'a Ledger,
        what: &Revert,
    ) -> Result<Self, Error> {
        let applied = ledger.applied_last_first();
        let selected: BTreeSet<&str> = catalogue
            .resolve(selection)?
            .iter()
            .map(|m| m.id.as_str())
            .collect();
        let in_reach: Vec<&str> = applied
            .iter()
            .copied()
            .filter(|id| selected.contains(id))
            .collect();
        let unknown: Vec<String> = applied
            .iter()
            .filter(|id| catalogue.get(id).is_none())
            .map(|id| (*id).to_owned())
            .collect();
        // What was applied last, or is all there is, is not known without them.
        if !matches!(what, Revert::Ids(_)) && !unknown.is_empty() {
            return Err(Error::UnknownMigration { ids: unknown });
        }
        let mut kept = Vec::new();
        let mut marked: BTreeSet<&str> = match what {
            Revert::All => {
                let mut all: BTreeSet<&str> = in_reach.iter().copied().collect();
                let roots = catalogue.roots(selection)?;
                kept = keep_shared(&mut all, &roots, ledger, &applied);
                all
            }
            Revert::Last(count) => in_reach.iter().take(*count).copied().collect(),
            Revert::Ids(ids) => named(catalogue, ids, &applied, &selected)?,
        };
        // First applied first: what requires a marked one comes after it.
        for id in applied.iter().rev().copied() {
            let needs = ledger.entries.get(id).and_then(|entry| {
                let mut requires = entry.requires.iter();
                requires.find(|required| marked.contains(required.as_str()))
            });
            let Some(needed) = needs.filter(|_| !marked.contains(id)) else {
                continue;
            };
            if !selected.contains(id) {
                return Err(Error::StillNeeded {
                    migration: needed.clone(),
                    by: id.to_owned(),
                    in_files: catalogue.get(id).is_some(),
                });
            }
            marked.insert(id);
        }
        let order = applied.into_iter().filter(|id| marked.contains(id));
        let reverts = order
            .filter_map(|id| Some((catalogue.get(id)?, ledger.entries.get(id)?)))
            .map(|(migration, entry)| Undo::of(migration, entry))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { reverts, kept })
    }

    fn ids(&self) -> Vec<String> {
        self.reverts.iter().map(|undo| undo.id.to_owned()).collect()
    }

    fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        for undo in &self.reverts {
            hasher.update(format!(
                "{} {}\n{}\n",
                undo.id,
                undo.progress.done.len(),
                undo.script
            ));
        }
        hex(&hasher.finalize())
    }
}

/// The named migrations, each applied and selected.
fn named<'a>(
    catalogue: &Catalogue,
    ids: &[String],
    applied: &[&'a str],
    selected: &BTreeSet<&str>,
) -> Result<BTreeSet<&'a str>, Error> {
    let (there, missing): (Vec<&String>, Vec<&String>) =
        ids.iter().partition(|id| applied.contains(&id.as_str()));
    if !missing.is_empty() {
        return Err(Error::NotApplied {
            ids: missing.into_iter().cloned().collect(),
        });
    }
    if let Some(unknown) = there.iter().find(|id| catalogue.get(id).is_none()) {
        return Err(Error::UnknownMigration {
            ids: vec![(*unknown).clone()],
        });
    }
    if let Some(outside) = there.iter().find(|id| !selected.contains(id.as_str())) {
        return Err(Error::NotSelected {
            migration: (*outside).clone(),
        });
    }
    Ok(applied
        .iter()
        .copied()
        .filter(|id| there.iter().any(|named| named == id))
        .collect())
}

/// Takes out of `all` what an applied migration outside needs, unless it is one of the selection's `roots`; returns what stays.
fn keep_shared(
    all: &mut BTreeSet<&str>,
    roots: &BTreeSet<&str>,
    ledger: &Ledger,
    applied: &[&str],
) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    // Last applied first: what needs a migration is seen before it.
    for id in applied {
        let Some(entry) = ledger.entries.get(*id).filter(|_| !all.contains(id)) else {
            continue;
        };
        for required in &entry.requires {
            if !roots.contains(required.as_str()) && all.remove(required.as_str()) {
                kept.push(required.clone());
            }
        }
    }
    kept
}

impl<'a> Undo<'a> {
    fn of(migration: &'a Migration, entry: &'a Entry) -> Result<Self, Error> {
        // An interrupted migration may have been corrected since; an applied one with another text is not this file.
        let is_partly_applied = matches!(entry.state, State::InProgress(_));
        if entry.checksum != migration.checksum && !is_partly_applied {
            return Err(Error::ChecksumMismatch {
                migration: migration.id.clone(),
                file: migration.file.clone(),
                applied: entry.checksum.clone(),
                found: migration.checksum.clone(),
            });
        }
        let Some(script) = &migration.down else {
            let declared = migration.irreversible.clone();
            let reason = declared.unwrap_or_else(|| "it has no SQL that reverts it".to_owned());
            return Err(Error::Irreversible {
                migration: migration.id.clone(),
                reason,
            });
        };
        let progress = match &entry.state {
            State::Reverting(progress) => progress.clone(),
            _ => Progress::default(),
        };
        Ok(Self {
            id: &migration.id,
            migration,
            script,
            file: migration.down_file(),
            progress,
        })
    }

    async fn run(
        &self,
        run: &Run,
        session: &Session,
        catalogue: &Catalogue,
    ) -> Result<Applied, Error> {
        let source = literal(catalogue.source());
        let mark = format!(
            "UPDATE {} SET reverted_at = clock_timestamp(), steps_done = 0, step_checksums = '{{}}', step_session = '{{}}', down_sql = {} \
             WHERE source = {source} AND id = {} \
             RETURNING extract(epoch FROM clock_timestamp() - current_setting('migrator.started')::timestamptz) * 1000",
            session.names().ledger(),
            literal(self.script),
            literal(self.id)
        );
        let script = Script {
            stage: format!("reverting {}", self.id),
            id: self.id,
            file: &self.file,
            text: self.script,
            first_line: 0,
            again: run.config.again.iter().any(|id| id == self.id),
        };
        let in_steps = sql::statements(self.script)
            .iter()
            .any(sql::Statement::refuses_transaction);
        let sets = if in_steps || !self.progress.is_empty() {
            let record = |progress: &Progress| {
                ledger::record_revert_steps(session.names(), catalogue.source(), self.id, progress)
            };
            script
                .run(run, session, self.progress.clone(), record)
                .await?;
            session
                .query("recording that it is reverted", &steps::alone(&mark))
                .await?
        } else {
            script.at_once(session, &mark).await?
        };
        script.restore(session).await?;
        let milliseconds: f64 = sets
            .iter()
            .rev()
            .flatten()
            .next()
            .and_then(|row| text(row, 0).parse().ok())
            .unwrap_or(0.0);
        Ok(Applied {
            id: self.id.to_owned(),
            provides: self.migration.provides.clone(),
            duration: std::time::Duration::from_secs_f64(milliseconds.max(0.0) / 1e3),
        })
    }
}

impl fmt::Display for RevertPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reverts.is_empty() {
            return f.write_str("nothing to revert");
        }
        let count = self.reverts.len();
        let migrations = if count == 1 {
            "migration"
        } else {
            "migrations, in this order"
        };
        writeln!(f, "plan {}: reverts {count} {migrations}", &self.hash[..12])?;
        for id in &self.reverts {
            writeln!(f, "  {id}")?;
        }
        for loss in &self.losses {
            writeln!(f, "  {loss}")?;
        }
        if self.losses.is_empty() && self.note.is_none() {
            writeln!(f, "  no table loses anything")?;
        }
        if let Some(note) = &self.note {
            writeln!(f, "  {note}")?;
        }
        for id in &self.kept {
            writeln!(f, "  {id} stays: migrations that are not selected need it")?;
        }
        Ok(())
    }
}
