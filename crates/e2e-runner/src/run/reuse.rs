//! What a run uses again of a kept environment: its layers, and the fingerprint of what each was made from (D15).

use std::sync::PoisonError;

use crate::exit::Failure;
use crate::run::layer::{Layer, Level};
use crate::run::plan::Target;
use crate::run::session::Session;

/// What the note of a stage says that used something of an earlier run again.
pub const USED_AGAIN: &str = "used again";
/// What it begins with where the stage only emptied a database.
pub const EMPTIED: &str = "emptied: ";
/// What it begins with where a variable named what would have been made.
pub const GIVEN: &str = "used as given";

/// Whether a stage made nothing, by its note.
pub fn is_reuse(note: &str) -> bool {
    note.contains(USED_AGAIN) || note.starts_with(EMPTIED) || note.starts_with(GIVEN)
}

impl Session {
    /// Whether a layer of the environment was made from exactly this, in an earlier run that kept it (D15).
    pub fn fingerprint_matches(&self, level: Level<'_>, fingerprint: &str) -> bool {
        let state = self.run.state();
        state
            .fingerprints
            .get(&level.key())
            .is_some_and(|made_from| made_from == fingerprint)
    }

    /// Whether this run uses a layer as an earlier one has left it.
    pub fn is_reused(&self, level: Level<'_>) -> bool {
        let made = self.artifacts.layers.lock();
        let made = made.unwrap_or_else(PoisonError::into_inner);
        !made.contains(&level.key())
    }

    /// Whether an earlier run made the cluster or server that this one works on, and this one has not replaced it.
    pub fn stood_before(&self) -> bool {
        let base = match self.place {
            Target::Kind | Target::Cluster => Layer::Cluster,
            Target::Local => Layer::Postgres,
        };
        self.adopted && self.is_reused(base.into())
    }

    /// What a layer has been made from last.
    pub fn fingerprint(&self, level: Level<'_>) -> String {
        let known = self.run.state().fingerprints;
        known.get(&level.key()).cloned().unwrap_or_default()
    }

    /// Why a layer has to be made although an environment was kept; empty in a run that began with nothing.
    pub fn rebuild_reason(&self, level: Level<'_>) -> &'static str {
        if self.run.state().fingerprints.contains_key(&level.key()) {
            ", rebuilt: changed"
        } else {
            ""
        }
    }

    /// Records what a layer has been made from, once it stands.
    pub fn record_fingerprint(&self, level: Level<'_>, fingerprint: &str) -> Result<(), Failure> {
        let key = level.key();
        let mut made = self
            .artifacts
            .layers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        made.insert(key.clone());
        let record = |state: &mut crate::state::State| {
            state.fingerprints.insert(key, fingerprint.to_owned());
        };
        self.run.update(record).map_err(Failure::setup)
    }
}
