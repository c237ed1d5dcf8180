//! One service of a run: its namespace, its database, its directory, and what the stages have made for it.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::state::Run;
use crate::table::service::Service;

/// A service of a run, with what the stages have made for it.
#[derive(Debug)]
pub struct ServiceRun {
    /// Its entry in the table.
    pub service: Service,
    /// Its place among the run's services, which decides its node ports.
    pub position: u16,
    /// Its namespace in the cluster.
    pub namespace: String,
    /// The name of its database.
    pub database: String,
    /// Where its logs and evidence go.
    pub dir: PathBuf,
    /// Base URL of its Data Storage.
    pub url: OnceLock<String>,
    /// Base URL of its second Data Storage.
    pub unmigrated_url: OnceLock<String>,
    /// Base URL of the service itself or its fake.
    pub service_url: OnceLock<String>,
}

impl ServiceRun {
    /// The services of a run, each with a namespace and a database of its own.
    pub fn all(
        services: Vec<Service>,
        run: &Run,
        foreign_server: bool,
    ) -> anyhow::Result<Vec<Self>> {
        let several = services.len() > 1;
        let named = |namespace: &str| {
            services
                .iter()
                .filter(|service| service.namespace == namespace)
                .count()
        };
        let namespaces: Vec<_> = services
            .iter()
            .map(|service| match named(&service.namespace) {
                1 => service.namespace.clone(),
                _ => format!("{}-{}", service.namespace, service.name),
            })
            .collect();
        let mut service_runs = Vec::new();
        for ((service, namespace), position) in services.into_iter().zip(namespaces).zip(0..) {
            let dir = if several {
                run.dir().join(&service.name)
            } else {
                run.dir().to_owned()
            };
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)?;
            let base = if foreign_server {
                run.id()
            } else {
                DATABASE.to_owned()
            };
            let database = if several {
                format!("{base}_{}", service.name)
            } else {
                base
            };
            service_runs.push(Self {
                position,
                namespace,
                database: database.replace('-', "_"),
                dir,
                service,
                url: OnceLock::new(),
                unmigrated_url: OnceLock::new(),
                service_url: OnceLock::new(),
            });
        }
        Ok(service_runs)
    }
}

/// The database of a service that has the server to itself (D24).
pub const DATABASE: &str = "action_history";
