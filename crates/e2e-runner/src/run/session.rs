//! One run while it is under way: what it was asked for, what its stages have made, and how its services are found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use e2e_report::Event;

use crate::exit::{Exit, Failure};
use crate::paths::Paths;
use crate::process::{Child, Door};
use crate::reporter::{Reporter, Watcher};
use crate::reports::EVENTS;
use crate::run::plan::{Id, Place, Step};
use crate::run::repeat::Repeat;
use crate::run::service_run::Tenant;
use crate::state::{Resource, Run};
use crate::table::{Component, Service};
use crate::tools::migrate;
use crate::tools::postgres_url::{Database, random_password};

/// What the stages of a run have made so far for all of its services.
#[derive(Debug, Default)]
pub struct Made {
    /// The Data Storage binary.
    pub datastorage: OnceLock<PathBuf>,
    /// The double's binary.
    pub double: OnceLock<PathBuf>,
    /// The suites' test binaries by package.
    pub suites: Mutex<BTreeMap<String, PathBuf>>,
    /// The name of the Data Storage image in the node.
    pub image: OnceLock<String>,
    /// The name of the double's image in the node.
    pub double_image: OnceLock<String>,
    /// Host port of each node port.
    pub ports: OnceLock<BTreeMap<u16, u16>>,
    /// The PostgreSQL server, as one of its databases is reached.
    pub server: OnceLock<Database>,
    /// Processes that later stages watch.
    pub children: Mutex<Vec<Child>>,
    /// What each program is, for fingerprints: read once, whoever asks.
    pub contents: Mutex<BTreeMap<PathBuf, String>>,
    /// What the node had when its container runtime first answered; one stage asks, the others wait for its answer.
    pub present: Mutex<Option<Vec<String>>>,
    /// The contents of the images that this run has streamed into the node; held while one is.
    pub streamed: Mutex<BTreeSet<String>>,
    /// Whether a kept cluster is used again.
    pub stands: OnceLock<bool>,
    /// The levels that this run has made, by their names in the state file.
    pub levels: Mutex<BTreeSet<String>>,
    /// The prepared node image that the cluster is made from, if there is one.
    pub node: OnceLock<Node>,
}

/// What a run is asked for.
#[derive(Debug)]
pub struct Order {
    /// The services.
    pub services: Vec<Service>,
    /// Where it runs.
    pub place: Place,
    /// Why there.
    pub why: String,
    /// A PostgreSQL server to use instead of starting one.
    pub postgres_url: Option<String>,
    /// Whether the numbers of the integration tier are used (D8).
    pub integration: bool,
    /// Whether an environment that an earlier run kept is left alone.
    pub fresh: bool,
    /// How often the suites run.
    pub repeat: Repeat,
}

/// A run under way.
#[derive(Debug)]
pub struct Session {
    /// The services.
    pub tenants: Vec<Tenant>,
    /// Where it runs.
    pub place: Place,
    /// Whether the numbers of the integration tier are used (D8).
    pub integration: bool,
    /// A PostgreSQL server to use instead of starting one (local only), with its password.
    pub postgres_url: Option<String>,
    /// The door for every process of the run.
    pub door: Door,
    /// What people see.
    pub report: Reporter,
    /// The run's directory and state.
    pub run: Run,
    /// The checkout and its target directory.
    pub paths: Paths,
    /// For the libraries that are asynchronous.
    pub runtime: tokio::runtime::Runtime,
    /// The password of this run's PostgreSQL.
    pub password: String,
    /// What the stages have made.
    pub made: Made,
    /// How often the suites run.
    pub repeat: Repeat,
}

impl Session {
    /// Begins a run: takes over what an earlier one kept, else makes a directory and a state file before anything else is made.
    pub fn begin(
        order: Order,
        door: &Door,
        paths: Paths,
        watcher: Watcher,
    ) -> anyhow::Result<Self> {
        let Order {
            services,
            place,
            why,
            postgres_url,
            integration,
            fresh,
            repeat,
        } = order;
        let (runs, lifetime) = (paths.runs(), Duration::from_hours(1));
        let names: Vec<_> = services
            .iter()
            .map(|service| service.name.clone())
            .collect();
        let kept = if fresh || integration || postgres_url.is_some() {
            None
        } else {
            Run::adopt(&runs, &names, place.word(), lifetime)?
        };
        let (run, password) = match kept {
            Some(run) => {
                let password = run.password()?;
                (run, password)
            }
            None => (
                Run::create(&runs, &names, place.word(), lifetime)?,
                random_password(),
            ),
        };
        let id = run.id();
        let report = Reporter::logging_to(&run.dir().join(EVENTS), watcher)
            .context("cannot write the run's event log")?;
        let door = door
            .clone()
            .env(e2e_env::RUN, &id)
            .logged(&run.dir().join("commands.log"))?;
        run.will_make(Resource::Processes)?;
        report.emit(Event::Run {
            run: id,
            target: place.word().to_owned(),
            why,
        });
        Ok(Self {
            tenants: Tenant::all(services, &run, postgres_url.is_some())?,
            place,
            integration,
            postgres_url,
            door,
            report,
            run,
            paths,
            runtime: migrate::runtime()?,
            password,
            made: Made::default(),
            repeat,
        })
    }

    /// Whether several services share the run.
    pub fn is_shared(&self) -> bool {
        self.tenants.len() > 1
    }

    /// The service that a stage is for; asked of a shared stage, the first.
    pub fn tenant(&self, id: &Id) -> &Tenant {
        let named = |tenant: &&Tenant| {
            id.service
                .as_ref()
                .is_none_or(|name| *name == tenant.service.name)
        };
        self.tenants.iter().find(named).unwrap_or(&self.tenants[0])
    }

    /// A stage of a service; of one that is alone nothing has to say whose it is.
    pub fn stage(&self, step: Step, tenant: &Tenant) -> Id {
        let service = self.is_shared().then(|| tenant.service.name.clone());
        Id { step, service }
    }

    /// The services that have a component.
    pub fn having(&self, component: Component) -> impl Iterator<Item = &Tenant> {
        self.tenants
            .iter()
            .filter(move |tenant| tenant.service.has(component))
    }

    /// Hands the environment over to whoever comes next, until it expires.
    pub fn keep(&self, lifetime: Duration) -> Result<(), Failure> {
        let environments = self
            .tenants
            .iter()
            .map(|tenant| (tenant.service.name.clone(), self.environment(tenant)));
        self.run
            .keep(environments.collect(), &self.password(), lifetime)
            .map_err(Failure::setup)
    }

    /// The password of the services' databases.
    pub fn password(&self) -> String {
        let server = self.made.server.get();
        server.map_or_else(|| self.password.clone(), |server| server.password.clone())
    }

    /// A service's database, once the server answers.
    pub fn database(&self, tenant: &Tenant) -> Result<Database, Failure> {
        self.database_named(&tenant.database)
    }

    /// The database that holds no migration: every server has it, and nothing is ever applied to it here.
    pub fn unmigrated(&self) -> Result<Database, Failure> {
        self.database_named(&self.unmigrated_name())
    }

    /// Its name; on a server that the user named it is the run's own.
    pub fn unmigrated_name(&self) -> String {
        match self.postgres_url {
            Some(_) => format!("{}_unmigrated", self.run.id().replace('-', "_")),
            None => "postgres".to_owned(),
        }
    }

    fn database_named(&self, name: &str) -> Result<Database, Failure> {
        let server = Self::made(&self.made.server, "the PostgreSQL server")?;
        Ok(Database {
            name: name.to_owned(),
            ..server.clone()
        })
    }

    /// What a suite gets, without the password.
    pub fn environment(&self, tenant: &Tenant) -> BTreeMap<String, String> {
        let kind = self.place == Place::Kind;
        let own_server = !self.is_shared()
            && self.postgres_url.is_none()
            && tenant.service.has(Component::Postgres);
        let database = tenant
            .service
            .has(Component::Postgres)
            .then(|| self.database(tenant).ok())
            .flatten();
        let tool = std::env::current_exe().map(|path| path.display().to_string());
        let entries = [
            (e2e_env::RUN, Some(self.run.id())),
            (e2e_env::SERVICE, Some(tenant.service.name.clone())),
            (e2e_env::TARGET, Some(self.place.word().to_owned())),
            (e2e_env::TOOL, tool.ok()),
            (
                e2e_env::EVIDENCE_DIR,
                Some(tenant.dir.display().to_string()),
            ),
            (e2e_env::OWN_POSTGRES, own_server.then(|| "1".to_owned())),
            (e2e_env::NAMESPACE, kind.then(|| tenant.namespace.clone())),
            (
                e2e_env::KUBECONFIG,
                kind.then(|| self.run.dir().join("kubeconfig").display().to_string()),
            ),
            (
                e2e_env::DATABASE_URL,
                database.map(|database| database.url()),
            ),
            (e2e_env::DATASTORAGE_URL, tenant.url.get().cloned()),
            (
                e2e_env::DATASTORAGE_UNMIGRATED_URL,
                tenant.unmigrated_url.get().cloned(),
            ),
            (e2e_env::SERVICE_URL, tenant.service_url.get().cloned()),
        ];
        let own = tenant.service.env.clone();
        let made = entries
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        own.into_iter().chain(made).collect()
    }

    /// What an earlier stage made; asking too early is a defect of the plan.
    pub fn made<'a, T>(slot: &'a OnceLock<T>, what: &str) -> Result<&'a T, Failure> {
        slot.get().ok_or_else(|| {
            Failure::new(
                Exit::Setup,
                format!("the plan has no stage that made {what} before it is needed"),
            )
        })
    }

    /// Shows the lines of a command as part of a stage.
    pub fn lines(&self, id: &Id) -> impl FnMut(&str) + '_ {
        let (stage, service) = (id.step.name().to_owned(), id.service.clone());
        move |text| {
            self.report.emit(Event::Line {
                stage: stage.clone(),
                service: service.clone(),
                text: text.to_owned(),
            });
        }
    }
}

/// A node image, and the directory of the Docker daemon that its nodes see at [`crate::tools::kind::SHARED`].
#[derive(Clone, Debug)]
pub struct Node {
    /// The image's name.
    pub image: String,
    /// Where the volume lies for the daemon, which may be on another machine than this process.
    pub directory: PathBuf,
}
