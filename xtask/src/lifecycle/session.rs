//! One run while it is under way: what it was asked for, what its stages have made, and the stages that are the same everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::database::{Database, random_password};
use crate::exit::{Exit, Failure};
use crate::health::{Health, Verdict};
use crate::lifecycle::nodes::Node;
use crate::lifecycle::plan::{Id, Place, Stage, Step};
use crate::lifecycle::reuse::Level;
use crate::lifecycle::tenant::Tenant;
use crate::lifecycle::walk::Budget;
use crate::lifecycle::{images, kind, local, nodes, programs};
use crate::paths::Paths;
use crate::process::{Child, Door};
use crate::repeat::Repeat;
use crate::report::{Event, Reporter};
use crate::service::{Component, Service, Tests};
use crate::settings;
use crate::state::{Resource, Run};
use crate::tools::{cargo, migrate};

/// What a suite with its Data Storage and its service is reckoned to hold, in bytes.
const SUITE_MEMORY: u64 = 512 << 20;

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
    pub fn begin(order: Order, door: &Door, paths: Paths) -> anyhow::Result<Self> {
        let Order {
            services,
            place,
            why,
            postgres_url,
            integration,
            fresh,
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
        let report = Reporter::logging_to(&run.dir().join("events.jsonl"))
            .context("cannot write the run's event log")?;
        let door = door
            .clone()
            .env(e2e_env::RUN, &id)
            .logged(&run.dir().join("commands.log"))?;
        run.will_make(Resource::Processes)?;
        report.emit(&Event::Run {
            run: &id,
            target: place.word(),
            why: &why,
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
            repeat: Repeat::default(),
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

    /// How much may run at once: compiling and creating a cluster each keep a core busy; suites mostly wait, yet each holds
    /// memory.
    pub fn budget() -> Budget {
        let cores = std::thread::available_parallelism()
            .map_or(2, std::num::NonZero::get)
            .max(2);
        let by_memory = available_memory().map_or(usize::MAX, |bytes| {
            usize::try_from(bytes / SUITE_MEMORY).unwrap_or(usize::MAX)
        });
        Budget {
            heavy: cores,
            suites: (2 * cores).min(by_memory).max(1),
        }
    }

    /// Performs one stage and returns a few words on what it made.
    pub fn perform(&self, stage: &Stage) -> Result<String, Failure> {
        let tenant = self.tenant(&stage.id);
        let deadline = stage.deadline;
        match (stage.id.step, self.place) {
            (Step::Preflight, Place::Kind) => kind::preflight(self),
            (Step::Preflight, Place::Local) => local::preflight(self),
            (Step::BuildDataStorage, _) => {
                self.build(&self.made.datastorage, Step::BuildDataStorage, deadline)
            }
            (Step::BuildDouble, _) => self.build(&self.made.double, Step::BuildDouble, deadline),
            (Step::BuildSuite, _) => self.build_suites(deadline),
            (Step::PrepareNode, _) => nodes::prepare(self, deadline),
            (Step::CreateCluster, _) => kind::create_cluster(self, deadline),
            (Step::LoadPostgres, _) => images::load_postgres(self, deadline),
            (Step::LoadDataStorage, _) => images::load_datastorage(self, deadline),
            (Step::LoadDouble, _) => images::load_double(self, deadline),
            (Step::LoadService, _) => images::load_images(self, tenant, deadline),
            (Step::DeployPostgres, Place::Kind) => kind::deploy_postgres(self),
            (Step::DeployPostgres, Place::Local) => local::deploy_postgres(self),
            (Step::AwaitPostgres, Place::Kind) => kind::await_postgres(self, deadline),
            (Step::AwaitPostgres, Place::Local) => local::await_postgres(self),
            (Step::Migrate, _) => self.migrate(tenant, deadline),
            (Step::DeployDataStorage, Place::Kind) => kind::deploy_datastorage(self, tenant),
            (Step::DeployDataStorage, Place::Local) => {
                programs::deploy_datastorage(self, tenant, deadline)
            }
            (Step::AwaitDataStorage, Place::Kind) => {
                kind::await_datastorage(self, tenant, deadline)
            }
            (Step::AwaitDataStorage, Place::Local) => self.await_health(tenant, deadline),
            (Step::DeployService, Place::Kind) => kind::deploy_service(self, tenant),
            (Step::DeployService, Place::Local) => programs::deploy_service(self, tenant, deadline),
            (Step::AwaitService, Place::Kind) => kind::await_service(self, tenant, deadline),
            (Step::AwaitService, Place::Local) => self.await_service(tenant, deadline),
            (Step::RunSuite, _) => crate::suite::run(self, tenant, deadline),
            (Step::CollectEvidence | Step::TearDown, _) => Ok(String::new()),
        }
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

    /// Builds a program of the checkout, unless a variable names one that is ready.
    fn build(
        &self,
        slot: &OnceLock<PathBuf>,
        step: Step,
        deadline: Duration,
    ) -> Result<String, Failure> {
        let (package, variable) = match step {
            Step::BuildDouble => ("service-double", e2e_env::DOUBLE_BIN),
            _ => ("datastorage", e2e_env::DATASTORAGE_BIN),
        };
        let image = format!("{} to an image for Kind", e2e_env::DATASTORAGE_IMAGE);
        let binary = match settings::ready_binary(variable) {
            Some(path) => path,
            None if step == Step::BuildDataStorage
                && settings::datastorage_image().is_some()
                && self.place == Place::Kind =>
            {
                return Ok(format!("not built: {} is used", e2e_env::DATASTORAGE_IMAGE));
            }
            None => {
                self.paths
                    .can_build(&format!("{variable} to a ready binary, or {image}"))?;
                let lines = self.lines(&step.into());
                cargo::build_binary(&self.door, &self.paths, package, deadline, lines)?
            }
        };
        let file = std::fs::metadata(&binary).map_err(|error| {
            Failure::new(
                Exit::Preflight,
                format!("no {package} binary at {}: {error}", binary.display()),
            )
            .next(format!("unset {variable} to build it"))
        })?;
        let note = format!("{} KB", file.len() / 1000);
        slot.get_or_init(|| binary);
        Ok(note)
    }

    fn build_suites(&self, deadline: Duration) -> Result<String, Failure> {
        let tests =
            self.tenants
                .iter()
                .filter_map(|tenant| match tenant.service.suite.as_ref()?.tests() {
                    Tests::Cargo(package, _) => Some(package),
                    Tests::Command(_) => None,
                });
        for package in tests.collect::<BTreeSet<_>>() {
            let binary = cargo::build_tests(
                &self.door,
                &self.paths,
                package,
                deadline,
                self.lines(&Step::BuildSuite.into()),
            )?;
            let mut suites = self
                .made
                .suites
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            suites.insert(package.to_owned(), binary);
        }
        Ok(String::new())
    }

    /// Shows the lines of a command as part of a stage.
    pub fn lines(&self, id: &Id) -> impl FnMut(&str) + '_ {
        let (stage, service) = (id.step.name(), id.service.clone());
        move |text| {
            self.report.emit(&Event::Line {
                stage,
                service: service.as_deref(),
                text,
            });
        }
    }

    /// Brings a database to its profile: by migrations where it is new, by a clone of the profile's template where an earlier run
    /// has written to it, or where several services share the server.
    fn migrate(&self, tenant: &Tenant, deadline: Duration) -> Result<String, Failure> {
        let database = self.database(tenant)?;
        let (profile, cancel) = (&tenant.service.profile, self.door.cancel());
        let used = self.is_made_from(Level::Database, Some(tenant), profile);
        // No template is left on a server that is not the run's own.
        if used || (self.is_shared() && self.postgres_url.is_none()) {
            let name =
                migrate::replace_by_clone(&self.runtime, &database, profile, deadline, cancel)?;
            self.made_from(Level::Database, Some(tenant), profile)?;
            return Ok(format!(
                "{}a clone of {name}",
                if used { "emptied: " } else { "" }
            ));
        }
        let report = migrate::apply_profile(
            &self.runtime,
            &database.secret_url(),
            profile,
            deadline,
            cancel,
        )?;
        self.made_from(Level::Database, Some(tenant), profile)?;
        Ok(migrate::summary(&report))
    }

    /// Waits until Data Storage itself says that it is ready, on the path that the suite takes.
    pub fn await_health(&self, tenant: &Tenant, deadline: Duration) -> Result<String, Failure> {
        let base = Self::made(&tenant.url, "Data Storage's address")?;
        self.await_answer("Data Storage", base, deadline)
    }

    /// Waits until the service or its double says that it is ready.
    pub fn await_service(&self, tenant: &Tenant, deadline: Duration) -> Result<String, Failure> {
        match tenant.service_url.get() {
            Some(base) => self.await_answer(&tenant.service.name, base, deadline),
            None => Ok("nothing of it listens".to_owned()),
        }
    }

    fn await_answer(&self, what: &str, base: &str, deadline: Duration) -> Result<String, Failure> {
        let (began, mut health) = (Instant::now(), Health::of(what, base));
        while !self.look(&mut health)? {
            self.door.cancel().check()?;
            self.check_children()?;
            if began.elapsed() > deadline {
                let waited = format!("{what} was not ready after {} s", deadline.as_secs());
                return Err(Failure::new(Exit::Deadline, waited)
                    .seen(health.seen())
                    .next("its log lies beside the verdict"));
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        Ok(base.to_owned())
    }

    /// One look at a service's readiness: whether it is ready; fails once it is certain that it will not be.
    pub fn look(&self, health: &mut Health) -> Result<bool, Failure> {
        match health.ask() {
            Verdict::Ready => Ok(true),
            Verdict::Hopeless(failure) => Err(failure),
            Verdict::Wait(worth_telling) => {
                worth_telling.inspect(|text| self.report.note(text));
                Ok(false)
            }
        }
    }

    /// Fails as soon as a process that the run depends on has ended.
    pub fn check_children(&self) -> Result<(), Failure> {
        let children = self
            .made
            .children
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match children.iter().find_map(Child::died) {
            Some(how) => {
                Err(Failure::new(Exit::Setup, "a service ended while it was waited for").seen(how))
            }
            None => Ok(()),
        }
    }
}

/// Memory that can be had without swapping, in bytes, where the system tells it (proc(5), meminfo).
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}
