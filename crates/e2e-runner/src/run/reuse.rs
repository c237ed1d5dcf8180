//! What a run uses again of a kept environment: its layers, and the fingerprint of what each was made from (D15).

use std::sync::PoisonError;

use crate::exit::Failure;
use crate::run::plan::Target;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;

/// The layers at which an environment is used again (D15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The Kind cluster: configuration and node image.
    Cluster,
    /// The PostgreSQL server: image or binaries, settings.
    Postgres,
    /// The database: the migrations of the profile.
    Database,
    /// Data Storage: binary and configuration.
    DataStorage,
    /// The service or its fake: images and objects, or binary and configuration.
    Service,
}

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

impl Layer {
    /// Its name in the state file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Postgres => "postgres",
            Self::Database => "database",
            Self::DataStorage => "datastorage",
            Self::Service => "service",
        }
    }
}

impl Session {
    /// Whether a layer of the environment was made from exactly this, in an earlier run that kept it (D15).
    pub fn fingerprint_matches(
        &self,
        layer: Layer,
        whose: Option<&ServiceRun>,
        fingerprint: &str,
    ) -> bool {
        let state = self.run.state();
        state
            .fingerprints
            .get(&key(layer, whose))
            .is_some_and(|made_from| made_from == fingerprint)
    }

    /// Whether this run uses a layer as an earlier one has left it.
    pub fn is_reused(&self, layer: Layer, whose: Option<&ServiceRun>) -> bool {
        let made = self.artifacts.layers.lock();
        let made = made.unwrap_or_else(PoisonError::into_inner);
        !made.contains(&key(layer, whose))
    }

    /// Whether an earlier run made the cluster or server that this one works on, and this one has not replaced it.
    pub fn stood_before(&self) -> bool {
        let base = match self.place {
            Target::Kind => Layer::Cluster,
            Target::Local => Layer::Postgres,
        };
        self.adopted && self.is_reused(base, None)
    }

    /// What a layer has been made from last.
    pub fn fingerprint(&self, layer: Layer, whose: Option<&ServiceRun>) -> String {
        let known = self.run.state().fingerprints;
        known.get(&key(layer, whose)).cloned().unwrap_or_default()
    }

    /// Why a layer has to be made although an environment was kept; empty in a run that began with nothing.
    pub fn rebuild_reason(&self, layer: Layer, whose: Option<&ServiceRun>) -> &'static str {
        if self
            .run
            .state()
            .fingerprints
            .contains_key(&key(layer, whose))
        {
            ", rebuilt: changed"
        } else {
            ""
        }
    }

    /// Records what a layer has been made from, once it stands.
    pub fn record_fingerprint(
        &self,
        layer: Layer,
        whose: Option<&ServiceRun>,
        fingerprint: &str,
    ) -> Result<(), Failure> {
        let key = key(layer, whose);
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

/// The name of a layer in the state file; each service has its own.
pub fn key(layer: Layer, whose: Option<&ServiceRun>) -> String {
    match whose {
        Some(service_run) => format!("{}/{}", layer.word(), service_run.service.name),
        None => layer.word().to_owned(),
    }
}
