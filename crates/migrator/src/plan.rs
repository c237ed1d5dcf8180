//! What a run would do, worked out from files and ledger alone: a value that can be printed, hashed and approved.

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::catalogue::{Catalogue, hex};
use crate::error::Error;
use crate::ledger::{Ledger, State};
use crate::migration::{Migration, Mode, Object};
use crate::selection::Selection;

/// Migrations to run, in order.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// SHA-256 of everything that the plan would run and in which state; the same files and ledger give the same hash.
    pub hash: String,
    /// What would run.
    pub steps: Vec<Planned>,
    /// Migrations of the selection that need nothing.
    pub up_to_date: usize,
    /// Identities in the ledger that this program does not know.
    pub unknown: Vec<String>,
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
        ledger: &Ledger,
    ) -> Result<Self, Error> {
        let mut plan = Self {
            hash: String::new(),
            steps: Vec::new(),
            up_to_date: 0,
            unknown: Vec::new(),
        };
        for migration in catalogue.resolve(selection)? {
            match reason(migration, ledger)? {
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
        let in_force = ledger
            .entries
            .iter()
            .filter(|(_, entry)| !matches!(entry.state, State::Reverted(_)));
        plan.unknown = in_force
            .map(|(id, _)| id)
            .filter(|id| catalogue.get(id).is_none())
            .cloned()
            .collect();
        plan.hash = plan.digest(catalogue);
        if plan.steps.is_empty() || plan.unknown.is_empty() {
            Ok(plan)
        } else {
            Err(Error::UnknownMigration { ids: plan.unknown })
        }
    }

    fn digest(&self, catalogue: &Catalogue) -> String {
        let mut hasher = Sha256::new();
        for step in &self.steps {
            let checksum = catalogue
                .get(&step.id)
                .map(|migration| migration.checksum.as_str());
            hasher.update(format!(
                "{} {} {:?}\n",
                step.id,
                checksum.unwrap_or_default(),
                step.reason
            ));
        }
        hex(&hasher.finalize())
    }
}

fn reason(migration: &Migration, ledger: &Ledger) -> Result<Option<Reason>, Error> {
    let Some(entry) = ledger.entries.get(&migration.id) else {
        return Ok(Some(Reason::New));
    };
    match entry.state {
        State::Reverted(_) => return Ok(Some(Reason::Reverted)),
        State::Applied | State::InProgress { .. } if entry.checksum == migration.checksum => {}
        State::Applied | State::InProgress { .. } => {
            return Err(Error::ChecksumMismatch {
                migration: migration.id.clone(),
                file: migration.file.clone(),
                applied: entry.checksum.clone(),
                found: migration.checksum.clone(),
            });
        }
    }
    Ok((entry.state != State::Applied).then_some(Reason::Interrupted))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            };
            let objects: Vec<String> = step.provides.iter().map(ToString::to_string).collect();
            writeln!(f, "  {}: {} ({how}{why})", step.id, objects.join(", "))?;
        }
        Ok(())
    }
}
