//! A run's settings for this schema: the engine's, with the schema's catalogue, role and lock.

use std::io::Write;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use migrator::{Catalogue, Dialer, Encryptor, Event, Lookup, Selection};
use tokio_util::sync::CancellationToken;

use crate::embedded::{LOCK_CLASS, ROLE, catalogue};

/// A [`migrator::Config`] for this schema; every function of the engine takes it.
#[derive(Clone, Debug)]
pub struct Config(migrator::Config);

impl Config {
    /// As [`migrator::Config::new`], for everything in the schema.
    pub fn new(url: impl AsRef<str>) -> Self {
        Self::named(migrator::Config::new(url, catalogue()))
    }

    /// As [`migrator::Config::with_dialer`], for everything in the schema.
    pub fn with_dialer(settings: tokio_postgres::Config, dialer: Dialer) -> Self {
        Self::named(migrator::Config::with_dialer(settings, dialer, catalogue()))
    }

    fn named(config: migrator::Config) -> Self {
        Self(config.role(ROLE).lock_class(LOCK_CLASS))
    }

    /// As [`migrator::Config::tls`].
    #[must_use]
    pub fn tls(self, make: impl FnOnce(&str, Option<&Path>) -> Result<Encryptor, String>) -> Self {
        Self(self.0.tls(make))
    }

    /// As [`migrator::Config::look_up`].
    #[must_use]
    pub fn look_up(self, lookup: Lookup) -> Self {
        Self(self.0.look_up(lookup))
    }

    /// As [`migrator::Config::select`].
    #[must_use]
    pub fn select(self, selection: Selection) -> Self {
        Self(self.0.select(selection))
    }

    /// As [`migrator::Config::profile`].
    #[must_use]
    pub fn profile(self, name: impl Into<String>) -> Self {
        Self(self.0.profile(name))
    }

    /// As [`migrator::Config::tables`].
    #[must_use]
    pub fn tables<I: IntoIterator<Item: Into<String>>>(self, names: I) -> Self {
        Self(self.0.tables(names))
    }

    /// As [`migrator::Config::deadline`].
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self(self.0.deadline(deadline))
    }

    /// As [`migrator::Config::cancel_with`].
    #[must_use]
    pub fn cancel_with(self, token: CancellationToken) -> Self {
        Self(self.0.cancel_with(token))
    }

    /// A team's own files instead of this schema's, in the same ledger and under the same lock.
    #[must_use]
    pub fn catalogue(self, catalogue: impl Into<Arc<Catalogue>>) -> Self {
        Self(self.0.catalogue(catalogue))
    }

    /// As [`migrator::Config::observe`].
    #[must_use]
    pub fn observe(self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(self.0.observe(observer))
    }

    /// As [`migrator::Config::log_to`].
    #[must_use]
    pub fn log_to(self, writer: impl Write + Send + 'static) -> Self {
        Self(self.0.log_to(writer))
    }

    /// As [`migrator::Config::schema`], for a team's own files.
    #[must_use]
    pub fn schema(self, name: impl Into<String>) -> Self {
        Self(self.0.schema(name))
    }

    /// As [`migrator::Config::again`].
    #[must_use]
    pub fn again<I: IntoIterator<Item: Into<String>>>(self, ids: I) -> Self {
        Self(self.0.again(ids))
    }

    /// As [`migrator::Config::new_source`].
    #[must_use]
    pub fn new_source(self) -> Self {
        Self(self.0.new_source())
    }

    /// As [`migrator::Config::only_plan`].
    #[must_use]
    pub fn only_plan(self, hash: impl Into<String>) -> Self {
        Self(self.0.only_plan(hash))
    }
}

impl Deref for Config {
    type Target = migrator::Config;

    fn deref(&self) -> &migrator::Config {
        &self.0
    }
}
