//! What a run uses again of a kept environment: its layers, and the fingerprint of what each was made from (D15).

use std::sync::PoisonError;

use crate::exit::Failure;
use crate::run::service_run::Tenant;
use crate::run::session::Session;

/// The levels at which an environment is used again (D15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The Kind cluster: configuration and node image.
    Cluster,
    /// The PostgreSQL server: image or binaries, settings.
    Postgres,
    /// The database: the migrations of the profile.
    Database,
    /// Data Storage: binary and configuration.
    DataStorage,
    /// The service or its double: images and objects, or binary and configuration.
    Service,
}

impl Level {
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
    /// Whether a level of the environment was made from exactly this, in an earlier run that kept it (D15).
    pub fn is_made_from(&self, level: Level, whose: Option<&Tenant>, fingerprint: &str) -> bool {
        let state = self.run.state();
        state
            .fingerprints
            .get(&key(level, whose))
            .is_some_and(|made_from| made_from == fingerprint)
    }

    /// Whether this run uses a level as an earlier one has left it.
    pub fn uses_again(&self, level: Level, whose: Option<&Tenant>) -> bool {
        let made = self.made.levels.lock();
        let made = made.unwrap_or_else(PoisonError::into_inner);
        !made.contains(&key(level, whose))
    }

    /// What a level has been made from last.
    pub fn content(&self, level: Level, whose: Option<&Tenant>) -> String {
        let known = self.run.state().fingerprints;
        known.get(&key(level, whose)).cloned().unwrap_or_default()
    }

    /// Why a level has to be made although an environment was kept; empty in a run that began with nothing.
    pub fn why_made(&self, level: Level, whose: Option<&Tenant>) -> &'static str {
        if self
            .run
            .state()
            .fingerprints
            .contains_key(&key(level, whose))
        {
            ", made anew: it has changed"
        } else {
            ""
        }
    }

    /// Records what a level has been made from, once it stands.
    pub fn made_from(
        &self,
        level: Level,
        whose: Option<&Tenant>,
        fingerprint: &str,
    ) -> Result<(), Failure> {
        let key = key(level, whose);
        let mut made = self
            .made
            .levels
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        made.insert(key.clone());
        let record = |state: &mut crate::state::State| {
            state.fingerprints.insert(key, fingerprint.to_owned());
        };
        self.run.update(record).map_err(Failure::setup)
    }
}

/// The name of a level in the state file; each service has its own.
fn key(level: Level, whose: Option<&Tenant>) -> String {
    match whose {
        Some(tenant) => format!("{}/{}", level.word(), tenant.service.name),
        None => level.word().to_owned(),
    }
}
