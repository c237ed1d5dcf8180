//! The ports of a run's Services that this machine reaches.

use crate::run::part_run::PartRun;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::table::part::Publish;

/// A port of a Service that this machine reaches.
#[derive(Clone, Copy, Debug)]
pub enum Endpoint<'a> {
    /// PostgreSQL.
    Postgres,
    /// A service's Data Storage.
    Datastorage(&'a ServiceRun),
    /// Its second Data Storage, on the empty database.
    Unmigrated(&'a ServiceRun),
    /// Its fake.
    Fake(&'a ServiceRun),
    /// What a part publishes.
    Published(&'a PartRun, &'a Publish),
}

impl Endpoint<'_> {
    /// The port of this machine that the table asks for.
    pub fn host_port(&self) -> Option<u16> {
        match self {
            Self::Postgres | Self::Unmigrated(_) => None,
            Self::Datastorage(service_run) => service_run.service.ports.datastorage,
            Self::Fake(service_run) => service_run.service.ports.service,
            Self::Published(_, publish) => publish.host,
        }
    }

    /// The Service, and its namespace.
    pub fn service<'a>(&'a self, session: &'a Session) -> (&'a str, &'a str) {
        match self {
            Self::Postgres => ("postgres", session.home()),
            Self::Datastorage(service_run) => ("datastorage", &service_run.namespace),
            Self::Unmigrated(service_run) => ("datastorage-unmigrated", &service_run.namespace),
            Self::Fake(service_run) => (&service_run.service.name, &service_run.namespace),
            Self::Published(part_run, publish) => (
                publish.service.as_ref().unwrap_or(&part_run.part.name),
                publish.namespace.as_ref().unwrap_or(&part_run.namespace),
            ),
        }
    }
}
