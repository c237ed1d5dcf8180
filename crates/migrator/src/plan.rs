//! What a run would do, worked out from files and ledger alone: a value that can be printed, hashed and approved.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::catalogue::{Catalogue, hex};
use crate::error::Error;
use crate::ledger::{Ledger, State};
use crate::migration::{Migration, Mode, Object};
use crate::selection::Selection;
use crate::units::{changed, units};

/// Migrations to run, in order.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// SHA-256 of everything that the plan would run and in which state: texts with their comments and headers, in order. The same
    /// files and ledger give the same hash.
    pub hash: String,
    /// What would run.
    pub steps: Vec<Planned>,
    /// Migrations of the selection that need nothing.
    pub up_to_date: usize,
    /// Identities in the ledger that this program does not know.
    pub unknown: Vec<String>,
    /// What people should know before they approve it, one sentence each.
    pub warnings: Vec<String>,
}

/// One migration of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    /// Identity.
    pub id: String,
    /// File that holds its SQL.
    pub file: String,
    /// Transaction or steps.
    pub mode: Mode,
    /// Objects that it makes or changes.
    pub provides: Vec<Object>,
    /// Why it is in the plan.
    pub reason: Reason,
}

/// Why a migration is in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was never applied.
    New,
    /// It was applied and reverted.
    Reverted,
    /// An earlier run was interrupted between two of its steps.
    Interrupted,
    /// It is applied, and was asked for once more.
    Again,
}

impl Plan {
    /// Compares files with the ledger.
    ///
    /// # Errors
    /// [`Error::ChecksumMismatch`] for an applied migration with another text, [`Error::UnknownMigration`] when something
    /// would run although the ledger is ahead of this program.
    pub(crate) fn make(
        catalogue: &Catalogue,
        selection: &Selection,
        again: &[String],
        ledger: &Ledger,
    ) -> Result<Self, Error> {
        let selected = catalogue.resolve(selection)?;
        let missing = again
            .iter()
            .filter(|id| !selected.iter().any(|migration| migration.id == **id));
        let missing: Vec<String> = missing.cloned().collect();
        if !missing.is_empty() {
            return Err(Error::NotApplied { ids: missing });
        }
        let mut plan = Self {
            hash: String::new(),
            steps: Vec::new(),
            up_to_date: 0,
            unknown: Vec::new(),
            warnings: catalogue.warnings().to_vec(),
        };
        let mut last_applied: Option<&str> = None;
        for migration in selected.iter().rev() {
            if ledger.is_applied(&migration.id) {
                last_applied = last_applied.or(Some(&migration.id));
            } else if let Some(later) = last_applied.filter(|_| catalogue.goose) {
                plan.warnings.push(format!(
                    "{} comes before {later}, which is applied already: it runs after it",
                    migration.file
                ));
            }
        }
        for migration in selected {
            let reason = match reason(migration, ledger)? {
                None if again.contains(&migration.id) => Some(Reason::Again),
                reason => reason,
            };
            match reason {
                Some(reason) => plan.steps.push(Planned {
                    id: migration.id.clone(),
                    file: migration.file.clone(),
                    mode: migration.mode,
                    provides: migration.provides.clone(),
                    reason,
                }),
                None => plan.up_to_date += 1,
            }
        }
        let known: BTreeSet<&str> = catalogue
            .migrations()
            .iter()
            .map(|migration| migration.id.as_str())
            .collect();
        let in_force = ledger
            .entries
            .iter()
            .filter(|(_, entry)| !matches!(entry.state, State::Reverted(_)));
        plan.unknown = in_force
            .map(|(id, _)| id)
            .filter(|id| !known.contains(id.as_str()))
            .cloned()
            .collect();
        plan.hash = plan.digest(catalogue);
        if plan.steps.is_empty() || plan.unknown.is_empty() {
            Ok(plan)
        } else {
            Err(unknown(catalogue, ledger, plan.unknown))
        }
    }

    fn digest(&self, catalogue: &Catalogue) -> String {
        let mut hasher = Sha256::new();
        hasher.update(catalogue.source());
        hasher.update(catalogue.roles.as_deref().unwrap_or_default());
        for step in &self.steps {
            // With its mode, what it requires and how it is reverted: a plan that is approved is approved whole.
            let migration = catalogue.get(&step.id);
            hasher.update(format!("{:?} {migration:?}\n", step.reason));
        }
        hex(&hasher.finalize())
    }
}

fn reason(migration: &Migration, ledger: &Ledger) -> Result<Option<Reason>, Error> {
    let Some(entry) = ledger.entries.get(&migration.id) else {
        return Ok(Some(Reason::New));
    };
    match &entry.state {
        State::Reverted(_) => Ok(Some(Reason::Reverted)),
        State::Applied if entry.checksum == migration.checksum => Ok(None),
        State::Applied => Err(Error::ChecksumMismatch {
            migration: migration.id.clone(),
            file: migration.file.clone(),
            applied: entry.checksum.clone(),
            found: migration.checksum.clone(),
        }),
        // What is not done yet may be corrected.
        State::InProgress(progress) => {
            let step = units(&migration.up).map_or(None, |units| changed(&units, &progress.done));
            step.map_or(Ok(Some(Reason::Interrupted)), |step| {
                Err(Error::StepChanged {
                    migration: migration.id.clone(),
                    file: migration.file.clone(),
                    step: step + 1,
                    done: progress.done.len(),
                })
            })
        }
        State::Reverting(progress) => Err(Error::HalfReverted {
            migration: migration.id.clone(),
            done: progress.done.len(),
        }),
    }
}

/// Explains applied migrations that the files do not hold; one whose text is in a file of another name was renamed.
fn unknown(catalogue: &Catalogue, ledger: &Ledger, ids: Vec<String>) -> Error {
    let renamed = ids.iter().find_map(|id| {
        let applied = &ledger.entries.get(id)?.checksum;
        let mut files = catalogue.migrations().iter();
        let same =
            files.find(|file| file.checksum == *applied && !ledger.entries.contains_key(&file.id));
        same.map(|file| (id.clone(), file.file.clone()))
    });
    match renamed {
        Some((id, file)) => Error::RenamedFile { id, file },
        None => Error::UnknownMigration { ids },
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        if self.steps.is_empty() {
            return write!(
                f,
                "nothing to do: {} migrations are applied",
                self.up_to_date
            );
        }
        writeln!(
            f,
            "plan {} ({} to apply, {} applied)",
            &self.hash[..12],
            self.steps.len(),
            self.up_to_date
        )?;
        for step in &self.steps {
            let how = match step.mode {
                Mode::Transaction => "one transaction",
                Mode::Steps => "steps outside a transaction",
            };
            let why = match step.reason {
                Reason::New => "",
                Reason::Reverted => ", reverted earlier",
                Reason::Interrupted => ", interrupted earlier",
                Reason::Again => ", applied before",
            };
            let objects: Vec<String> = step.provides.iter().map(ToString::to_string).collect();
            let objects = objects.join(", ");
            let colon = if objects.is_empty() { "" } else { ": " };
            writeln!(f, "  {}{colon}{objects} ({how}{why})", step.id)?;
        }
        Ok(())
    }
}
