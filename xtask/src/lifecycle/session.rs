//! One run while it is under way: what it was asked for, what its stages have made, and the stages that are the same everywhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::distr::{Alphanumeric, SampleString as _};

use crate::commands::migrate;
use crate::database::Database;
use crate::exit::{Exit, Failure};
use crate::health::{Health, Verdict};
use crate::lifecycle::plan::{Place, Stage, Step};
use crate::lifecycle::{kind, local};
use crate::paths::Paths;
use crate::process::{Child, Door};
use crate::report::{Event, Reporter};
use crate::service::Service;
use crate::state::{Resource, Run};
use crate::tools::cargo;

/// What the stages of a run have made so far.
#[derive(Debug, Default)]
pub struct Made {
    /// The Data Storage binary.
    pub datastorage: OnceLock<PathBuf>,
    /// The suite's test binary.
    pub suite: OnceLock<PathBuf>,
    /// The name of the Data Storage image in the node.
    pub image: OnceLock<String>,
    /// Host port of each node port.
    pub ports: OnceLock<BTreeMap<u16, u16>>,
    /// The service's database.
    pub database: OnceLock<Database>,
    /// The database that holds no migration.
    pub unmigrated: OnceLock<Database>,
    /// Base URL of Data Storage.
    pub url: OnceLock<String>,
    /// Base URL of the second Data Storage.
    pub unmigrated_url: OnceLock<String>,
    /// Processes that later stages watch.
    pub children: Mutex<Vec<Child>>,
}

/// A runtime for the libraries that are asynchronous.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// A password of letters and digits only, so that it needs no quoting in a URL.
pub fn random_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 24)
}

/// What a run is asked for.
#[derive(Debug)]
pub struct Order {
    /// The service.
    pub service: Service,
    /// Where it runs.
    pub place: Place,
    /// Why there.
    pub why: String,
    /// A PostgreSQL server to use instead of starting one.
    pub postgres_url: Option<String>,
    /// Whether an environment that an earlier run kept is left alone.
    pub fresh: bool,
}

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
}

impl Level {
    /// Its name in the state file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Postgres => "postgres",
            Self::Database => "database",
            Self::DataStorage => "datastorage",
        }
    }
}

/// A run under way.
#[derive(Debug)]
pub struct Session {
    /// The service.
    pub service: Service,
    /// Where it runs.
    pub place: Place,
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
}

impl Session {
    /// Begins a run: takes over what an earlier one kept, else makes a directory and a state file before anything else is made.
    pub fn begin(order: Order, door: &Door, paths: Paths) -> anyhow::Result<Self> {
        let Order {
            service,
            place,
            why,
            postgres_url,
            fresh,
        } = order;
        let (runs, lifetime) = (paths.runs(), Duration::from_hours(1));
        let kept = if fresh || postgres_url.is_some() {
            None
        } else {
            Run::adopt(&runs, &service.name, place.word(), lifetime)?
        };
        let (run, password) = match kept {
            Some(run) => {
                let password = run.password()?;
                (run, password)
            }
            None => (
                Run::create(&runs, &service.name, place.word(), lifetime)?,
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
        let runtime = runtime()?;
        Ok(Self {
            service,
            place,
            postgres_url,
            door,
            report,
            run,
            paths,
            runtime,
            password,
            made: Made::default(),
        })
    }

    /// Whether a level of the environment was made from exactly this, in an earlier run that kept it (D15).
    pub fn is_made_from(&self, level: Level, fingerprint: &str) -> bool {
        self.run
            .state()
            .fingerprints
            .get(level.word())
            .is_some_and(|made_from| made_from == fingerprint)
    }

    /// Why a level has to be made although an environment was kept; empty in a run that began with nothing.
    pub fn why_made(&self, level: Level) -> &'static str {
        if self.run.state().fingerprints.contains_key(level.word()) {
            ", made anew: it has changed"
        } else {
            ""
        }
    }

    /// Records what a level has been made from, once it stands.
    pub fn made_from(&self, level: Level, fingerprint: &str) -> Result<(), Failure> {
        let record = |state: &mut crate::state::State| {
            state
                .fingerprints
                .insert(level.word().to_owned(), fingerprint.to_owned());
        };
        self.run.update(record).map_err(Failure::setup)
    }

    /// How many stages may run at once: compiling and creating a cluster each keep a core busy.
    #[expect(
        clippy::unused_self,
        reason = "a session on a larger machine or with a budget answers differently"
    )]
    pub fn width(&self) -> usize {
        std::thread::available_parallelism()
            .map_or(2, std::num::NonZero::get)
            .max(2)
    }

    /// Performs one stage and returns a few words on what it made.
    pub fn perform(&self, stage: &Stage) -> Result<String, Failure> {
        match (stage.step, self.place) {
            (Step::Preflight, Place::Kind) => kind::preflight(self),
            (Step::Preflight, Place::Local) => local::preflight(self),
            (Step::BuildDataStorage, _) => self.build_datastorage(stage.deadline),
            (Step::BuildSuite, _) => self.build_suite(stage.deadline),
            (Step::CreateCluster, _) => kind::create_cluster(self, stage.deadline),
            (Step::LoadPostgres, _) => kind::load_postgres(self, stage.deadline),
            (Step::LoadDataStorage, _) => kind::load_datastorage(self),
            (Step::DeployPostgres, Place::Kind) => kind::deploy_postgres(self),
            (Step::DeployPostgres, Place::Local) => local::deploy_postgres(self),
            (Step::AwaitPostgres, Place::Kind) => kind::await_postgres(self, stage.deadline),
            (Step::AwaitPostgres, Place::Local) => local::await_postgres(self),
            (Step::Migrate, _) => self.migrate(stage.deadline),
            (Step::DeployDataStorage, Place::Kind) => kind::deploy_datastorage(self),
            (Step::DeployDataStorage, Place::Local) => {
                local::deploy_datastorage(self, stage.deadline)
            }
            (Step::AwaitDataStorage, Place::Kind) => kind::await_datastorage(self, stage.deadline),
            (Step::AwaitDataStorage, Place::Local) => self.await_health(stage.deadline),
            (Step::RunSuite, _) => crate::suite::run(self, stage.deadline),
            (Step::CollectEvidence | Step::TearDown, _) => Ok(String::new()),
        }
    }

    /// Hands the environment over to whoever comes next, until it expires.
    pub fn keep(&self, lifetime: Duration) -> Result<(), Failure> {
        let environment = self.environment();
        self.run
            .keep(environment, &self.password(), lifetime)
            .map_err(Failure::setup)
    }

    /// The password of the service's database.
    pub fn password(&self) -> String {
        self.made.database.get().map_or_else(
            || self.password.clone(),
            |database| database.password.clone(),
        )
    }

    /// What a suite gets, without the password.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let made = &self.made;
        let kind = self.place == Place::Kind;
        let entries = [
            (e2e_env::RUN, Some(self.run.id())),
            (e2e_env::SERVICE, Some(self.service.name.clone())),
            (e2e_env::TARGET, Some(self.place.word().to_owned())),
            (
                e2e_env::EVIDENCE_DIR,
                Some(self.run.dir().display().to_string()),
            ),
            (
                e2e_env::NAMESPACE,
                kind.then(|| self.service.namespace.clone()),
            ),
            (
                e2e_env::KUBECONFIG,
                kind.then(|| self.run.dir().join("kubeconfig").display().to_string()),
            ),
            (
                e2e_env::DATABASE_URL,
                made.database.get().map(Database::url),
            ),
            (e2e_env::DATASTORAGE_URL, made.url.get().cloned()),
            (
                e2e_env::DATASTORAGE_UNMIGRATED_URL,
                made.unmigrated_url.get().cloned(),
            ),
        ];
        entries
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
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

    fn build_datastorage(&self, deadline: Duration) -> Result<String, Failure> {
        let binary = match std::env::var_os(e2e_env::DATASTORAGE_BIN) {
            Some(path) => PathBuf::from(path),
            None => cargo::build_binary(
                &self.door,
                &self.paths,
                "datastorage",
                deadline,
                self.lines(Step::BuildDataStorage),
            )?,
        };
        let file = std::fs::metadata(&binary).map_err(|error| {
            Failure::new(
                Exit::Preflight,
                format!("no Data Storage binary at {}: {error}", binary.display()),
            )
            .next(format!("unset {} to build it", e2e_env::DATASTORAGE_BIN))
        })?;
        let note = format!("{} KB", file.len() / 1000);
        self.made.datastorage.get_or_init(|| binary);
        Ok(note)
    }

    fn build_suite(&self, deadline: Duration) -> Result<String, Failure> {
        let suite = self.service.suite()?;
        let binary = cargo::build_tests(
            &self.door,
            &self.paths,
            &suite.package,
            deadline,
            self.lines(Step::BuildSuite),
        )?;
        self.made.suite.get_or_init(|| binary);
        Ok(String::new())
    }

    /// Shows the lines of a command as part of a stage.
    pub fn lines(&self, step: Step) -> impl FnMut(&str) + '_ {
        move |text| {
            self.report.emit(&Event::Line {
                stage: step.name(),
                text,
            });
        }
    }

    /// Brings the database to the profile: by migrations on one that is new, by a clone of the profile's template on one that
    /// an earlier run has written to.
    fn migrate(&self, deadline: Duration) -> Result<String, Failure> {
        let database = Self::made(&self.made.database, "the database")?;
        let (profile, cancel) = (&self.service.profile, self.door.cancel());
        if self.is_made_from(Level::Database, profile) {
            let name =
                migrate::replace_by_clone(&self.runtime, database, profile, deadline, cancel)?;
            return Ok(format!("emptied: a clone of {name}"));
        }
        let report = migrate::apply_profile(
            &self.runtime,
            &database.secret_url(),
            profile,
            deadline,
            cancel,
        )?;
        self.made_from(Level::Database, profile)?;
        Ok(migrate::summary(&report))
    }

    /// Waits until Data Storage itself says that it is ready, on the path that the suite takes.
    pub fn await_health(&self, deadline: Duration) -> Result<String, Failure> {
        let base = Self::made(&self.made.url, "Data Storage's address")?;
        let (began, mut health) = (Instant::now(), Health::of(base));
        while !self.look(&mut health)? {
            self.door.cancel().check()?;
            self.check_children()?;
            if began.elapsed() > deadline {
                let waited = format!("Data Storage was not ready after {} s", deadline.as_secs());
                return Err(Failure::new(Exit::Deadline, waited)
                    .seen(health.seen())
                    .next("its log lies beside the verdict"));
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        Ok(base.clone())
    }

    /// One look at Data Storage: whether it is ready; fails once it is certain that it will not be.
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
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match children.iter().find_map(Child::died) {
            Some(how) => Err(Failure::new(
                Exit::Setup,
                "Data Storage ended while it was waited for",
            )
            .seen(how)),
            None => Ok(()),
        }
    }
}
