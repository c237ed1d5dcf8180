//! One service of a run: its namespace, its database, its directory, and what the stages have made for it.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::run::layer::{Layer, Level};
use crate::run::part_run::PartRun;
use crate::run::places::{self, Namespaces};
use crate::run::plan::Target;
use crate::state::Run;
use crate::table::service::{Service, storage_of};

/// A service of a run, with what the stages have made for it.
#[derive(Debug)]
pub struct ServiceRun {
    /// Its entry in the table.
    pub service: Service,
    /// Its place among the run's services, which decides its node ports.
    pub position: u16,
    /// The service whose database and Data Storage it uses: itself, or one of the same namespace.
    pub storage: String,
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
    /// Base URL of the service's fake, or of the first port that the service itself publishes.
    pub service_url: OnceLock<String>,
    /// The service itself, where the table has it.
    pub own: PartRun,
}

impl ServiceRun {
    /// Keeps the address of the service itself: that of `SERVICE_URL`, else of the first port that it publishes.
    pub fn publish_own(&self) {
        let publish = &self.own.part.publish;
        let first = publish.first().map(|publish| publish.env.as_str());
        let address = [Some(e2e_env::SERVICE_URL), first]
            .into_iter()
            .flatten()
            .find_map(|variable| self.own.address(variable));
        if let Some(address) = address {
            self.service_url.get_or_init(|| address.to_owned());
        }
    }

    /// A layer of this service.
    pub fn level(&self, layer: Layer) -> Level<'_> {
        Level {
            layer,
            whose: Some(&self.service.name),
        }
    }

    /// The services of a run, each with a namespace and a database of its own, unless real ones share both.
    pub fn all(
        services: Vec<Service>,
        (place, namespaces): (Target, &Namespaces),
        run: &Run,
        foreign_server: bool,
    ) -> anyhow::Result<Vec<Self>> {
        let several = services.len() > 1;
        let places: Vec<_> = services
            .iter()
            .map(|service| {
                let namespace = namespaces.called(&places::alone(&services, service));
                let storage = match place {
                    Target::Kind | Target::Cluster => storage_of(&services, service),
                    Target::Local => service,
                };
                (namespace, storage.name.clone())
            })
            .collect();
        let mut service_runs = Vec::new();
        for ((service, (namespace, storage)), position) in services.into_iter().zip(places).zip(0..)
        {
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
                format!("{base}_{storage}")
            } else {
                base
            };
            let own = PartRun::new(service.own.clone(), namespace.clone(), dir.clone());
            service_runs.push(Self {
                own,
                storage,
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
