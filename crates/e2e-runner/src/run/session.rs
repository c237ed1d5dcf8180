//! One run while it is under way: what it was asked for, what its stages have made, and how its services are found.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2e_report::Event;
use embedded_postgres::Installation;
use postgres_url::PostgresUrl;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::guest::Guest;
use crate::guest::kubeconfig::secrets_of;
use crate::names::{Seen, expand};
use crate::paths::Paths;
use crate::process::{Child, Runner};
use crate::reporter::{Reporter, Watcher};
use crate::reports::EVENTS;
use crate::run::node_version::NodeVersion;
use crate::run::part_run::PartRun;
use crate::run::places::{Namespaces, Places, suffix};
use crate::run::plan::{Id, Step, Target};
use crate::run::private::Private;
use crate::run::repeat::Repeat;
use crate::run::service_run::ServiceRun;
use crate::secrets::Secrets;
use crate::settings;
use crate::state::{Resource, Run, processes};
use crate::table::part::Part;
use crate::table::service::{Callers, Component};
use crate::table::{Chosen, closure};
use crate::tools::api_server::KeptServer;
use crate::tools::cargo;
use crate::tools::kind;
use crate::tools::migrate;
use crate::tools::postgres::{self, random_password};

/// What the stages of a run have made so far for all of its services.
#[derive(Debug, Default)]
pub struct Artifacts {
    /// The Data Storage binary.
    pub datastorage: OnceLock<PathBuf>,
    /// The fake's binary.
    pub fake: OnceLock<PathBuf>,
    /// The relay's binary.
    pub relay: OnceLock<PathBuf>,
    /// The program of the tunnel's end in a cluster.
    pub tunnel: OnceLock<PathBuf>,
    /// The suites' test binaries by package.
    pub suites: Mutex<BTreeMap<String, PathBuf>>,
    /// The name of the Data Storage image in the node.
    pub image: OnceLock<String>,
    /// The name of the fake's image in the node.
    pub fake_image: OnceLock<String>,
    /// The name of the relay's image in the node.
    pub relay_image: OnceLock<String>,
    /// The name of the image of the tunnel's end in a cluster.
    pub tunnel_image: OnceLock<String>,
    /// The program that pushes images.
    pub pusher: OnceLock<PathBuf>,
    /// Host port of each node port.
    pub ports: OnceLock<BTreeMap<u16, u16>>,
    /// PostgreSQL's binaries, where preflight found them.
    pub installation: OnceLock<Installation>,
    /// The program that fetches them, where it found none.
    pub fetcher: OnceLock<PathBuf>,
    /// The API server of the run's own cluster.
    pub api_server: KeptServer,
    /// The PostgreSQL server, as one of its databases is reached.
    pub server: OnceLock<PostgresUrl>,
    /// Processes that later stages watch.
    pub children: Mutex<Vec<Child>>,
    /// What each program is, for fingerprints: read once, whoever asks.
    pub contents: Mutex<BTreeMap<PathBuf, String>>,
    /// What the node had when its container runtime first answered; one stage asks, the others wait for its answer.
    pub present: Mutex<Option<Vec<String>>>,
    /// The images that containers of a kept cluster run.
    pub running: OnceLock<BTreeSet<String>>,
    /// The contents of the images that this run has streamed into the node; held while one is.
    pub streamed: Mutex<BTreeSet<String>>,
    /// The name of the content of each image that was brought from the host into the node.
    pub loaded: Mutex<BTreeMap<String, String>>,
    /// The program of each image that this run has built of one.
    pub programs: Mutex<BTreeMap<String, PathBuf>>,
    /// Where in the node each part writes its coverage.
    pub coverage: Mutex<BTreeMap<String, String>>,
    /// Whether a kept cluster is used again.
    pub stands: OnceLock<bool>,
    /// The layers that this run has made, by their names in the state file.
    pub layers: Mutex<BTreeSet<String>>,
    /// The prepared node image that the cluster is made from, if there is one.
    pub node: OnceLock<Node>,
    /// What is kept of that node from when it was booted once, if anything is.
    pub booted: OnceLock<Booted>,
    /// Set once the node of the cluster is certain: one that was booted before may have to go for another.
    pub certain: OnceLock<()>,
}

/// What a run is asked for.
#[derive(Debug)]
pub struct RunRequest {
    /// The services and their parts.
    pub chosen: Chosen,
    /// Where it runs.
    pub place: Target,
    /// Why there.
    pub why: String,
    /// A PostgreSQL server to use instead of starting one.
    pub postgres_url: Option<PostgresUrl>,
    /// Whether the numbers of the integration tier are used (D8).
    pub integration: bool,
    /// Whether an environment that an earlier run kept is left alone.
    pub fresh: bool,
    /// How often the suites run.
    pub repeat: Repeat,
    /// How long it may take, and be kept afterwards: nobody removes anything of it before.
    pub lifetime: Duration,
    /// The command by which a person runs the same again and keeps the environment of a failure.
    pub again: Option<String>,
    /// The cluster that others use too, where it runs in one.
    pub guest: Option<Guest>,
}

/// A run under way.
#[derive(Debug)]
pub struct Session {
    /// The services.
    pub service_runs: Vec<ServiceRun>,
    /// What its namespaces are called.
    pub namespaces: Namespaces,
    /// The cluster that others use too, where it runs in one and has just been asked to.
    pub guest: Option<Guest>,
    /// The parts that they share.
    pub parts: Vec<PartRun>,
    /// Passwords and certificates.
    private: OnceLock<Private>,
    /// Whether it took over what an earlier run had kept.
    pub adopted: bool,
    /// Whether it collects the coverage of its services.
    pub coverage: bool,
    /// The version of Kubernetes that it was asked for, with its node image.
    pub kubernetes: Option<NodeVersion>,
    /// Which part of all services it runs, where several jobs share them.
    pub shard: Option<String>,
    /// Where it runs.
    pub place: Target,
    /// Whether the numbers of the integration tier are used (D8).
    pub integration: bool,
    /// A PostgreSQL server to use instead of starting one, with its password.
    pub postgres_url: Option<PostgresUrl>,
    /// The runner for every process of the run.
    pub runner: Runner,
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
    /// What callers of this run's Data Storage prove themselves by.
    pub token: String,
    /// What the stages have made.
    pub artifacts: Artifacts,
    /// How often the suites run.
    pub repeat: Repeat,
    /// How long it may take, and be kept afterwards: nobody removes anything of it before.
    pub lifetime: Duration,
    /// The command by which a person runs the same again and keeps the environment of a failure.
    pub again: Option<String>,
}

impl Session {
    /// Begins a run: takes over what an earlier one kept, else makes a directory and a state file before anything else is made.
    pub fn begin(
        request: RunRequest,
        runner: &Runner,
        paths: Paths,
        watcher: Watcher,
    ) -> anyhow::Result<Self> {
        if request.fresh {
            cargo::forget(&paths);
        }
        let runs = paths.runs();
        let names: Vec<_> = request
            .chosen
            .services
            .iter()
            .map(|service| service.name.clone())
            .collect();
        let word = request.place.word();
        let alone = request.fresh || request.integration || request.postgres_url.is_some();
        let kept = if alone {
            None
        } else {
            let place = request.guest.as_ref().map(Guest::place);
            Run::adopt(&runs, &names, (word, place.as_deref()), request.lifetime)?
        };
        let adopted = kept.is_some();
        let (run, password) = match kept {
            Some(run) => {
                let password = run.password()?;
                (run, password)
            }
            None => (
                Run::create(&runs, &names, word, request.lifetime)?,
                random_password(),
            ),
        };
        let mut request = request;
        let server = request.postgres_url.take();
        let server = server.map(|url| postgres::with_authority_in(url, run.dir()));
        request.postgres_url = server.transpose().context("sslrootcert")?;
        let why = request.why.clone();
        let session = Self {
            adopted,
            ..Self::on(run, password, request, runner, paths, watcher)?
        };
        session.run.will_make(Resource::Processes)?;
        if let Some(guest) = &session.guest {
            let place = Some(guest.place());
            session.run.update(|state| state.place = place)?;
        }
        session.announce(why);
        if adopted {
            session.report.note(&format!(
                "the kept environment {} is used again; at the end it is removed, unless this run keeps it",
                session.run.id()
            ));
        }
        let tool = session.run.dir().join(TOOL);
        if let Err(error) = keep_tool(&tool) {
            drop(std::fs::remove_file(&tool));
            session.report.note(&format!(
                "no copy of this tool could be kept ({error}): suites cannot run `$E2E_TOOL`"
            ));
        }
        Ok(session)
    }

    /// Begins a run of tests on an environment that is up and that this process holds: what its stages made is what its state says.
    pub fn resume(
        run: Run,
        chosen: Chosen,
        runner: &Runner,
        repeat: Repeat,
        lifetime: Duration,
        paths: Paths,
        watcher: Watcher,
    ) -> anyhow::Result<Self> {
        let state = run.state();
        let place = Target::of_word(&state.target)
            .with_context(|| format!("{} is on no known target: {}", state.run, state.target))?;
        let password = run.password()?;
        let value = |service: &str, name: &str| state.environment(service).remove(name);
        let server = state
            .services
            .iter()
            .find_map(|service| value(service, e2e_env::DATABASE_URL))
            .map(|url| url.parse::<PostgresUrl>())
            .transpose()
            .context("the address of the kept database")?
            .map(|url| url.with_password(&password));
        let foreign = state
            .resources
            .iter()
            .any(|resource| matches!(resource, Resource::Database { .. }));
        let request = RunRequest {
            chosen,
            place,
            why: "the environment is up".to_owned(),
            postgres_url: server.clone().filter(|_| foreign),
            integration: false,
            fresh: false,
            repeat,
            lifetime,
            again: None,
            guest: None,
        };
        let why = request.why.clone();
        let session = Self::on(run, password, request, runner, paths, watcher)?;
        if place == Target::Cluster {
            for secret in secrets_of(&session.run.dir().join("kubeconfig")) {
                session.report.secrets().add(&secret);
            }
        }
        // A suite of a `test` that was killed would run beside the next one.
        processes::end_labelled(session.run.dir(), SUITE).map_err(Failure::setup)?;
        if let Some(server) = server {
            session.artifacts.server.get_or_init(|| server);
        }
        for service_run in &session.service_runs {
            for (name, slot) in [
                (e2e_env::DATASTORAGE_URL, &service_run.url),
                (
                    e2e_env::DATASTORAGE_UNMIGRATED_URL,
                    &service_run.unmigrated_url,
                ),
                (e2e_env::SERVICE_URL, &service_run.service_url),
            ] {
                if let Some(url) = value(&service_run.service.name, name) {
                    slot.get_or_init(|| url);
                }
            }
            for part_run in session.parts_of(service_run) {
                let published = part_run.part.publish.iter().filter_map(|publish| {
                    let address = value(&service_run.service.name, &publish.env)?;
                    Some((publish.env.clone(), address))
                });
                part_run.published.get_or_init(|| published.collect());
            }
        }
        session.announce(why);
        Ok(session)
    }

    /// A session on a run that this process holds, before any of its stages.
    fn on(
        run: Run,
        password: String,
        request: RunRequest,
        runner: &Runner,
        paths: Paths,
        watcher: Watcher,
    ) -> anyhow::Result<Self> {
        let runner = runner
            .clone()
            .env(e2e_env::RUN, run.id())
            .in_run(run.dir())?;
        let report = Reporter::logging_to(&run.dir().join(EVENTS), Secrets::default(), watcher)
            .context("cannot write the run's event log")?;
        let foreign = request.postgres_url.is_some();
        let token = run.token(random_password)?;
        let given = run.given_namespaces();
        let guest = request.guest.as_ref();
        let given = guest.map_or(given, |guest| guest.namespaces.clone());
        let places = match request.place {
            Target::Cluster if given.is_empty() => Places::made(&run),
            Target::Cluster => Places::Given(given),
            Target::Kind | Target::Local => Places::Table,
        };
        let namespaces = places.of(&request.chosen)?;
        let place = (request.place, &namespaces);
        let service_runs = ServiceRun::all(request.chosen.services, place, &run, foreign)?;
        let parts = request.chosen.parts.into_iter().map(|part| {
            let own = service_runs.iter().find(|service_run| {
                Some(&service_run.service.namespace) == part.namespace.as_ref()
            });
            // Of a service that shares its run, the namespace that it has there.
            let namespace = own.map(|service_run| service_run.namespace.clone());
            let named = part.namespace.as_ref();
            let namespace = namespace.or_else(|| named.map(|name| namespaces.called(name)));
            PartRun::new(part, namespace.unwrap_or_default(), run.dir().to_owned())
        });
        let parts = parts.collect();
        Ok(Self {
            namespaces,
            guest: request.guest,
            parts,
            private: OnceLock::new(),
            service_runs,
            adopted: false,
            coverage: false,
            kubernetes: None,
            shard: None,
            place: request.place,
            integration: request.integration,
            postgres_url: request.postgres_url,
            runner,
            report,
            run,
            paths,
            runtime: migrate::runtime()?,
            password,
            token,
            artifacts: Artifacts::default(),
            repeat: request.repeat,
            lifetime: request.lifetime,
            again: request.again,
        })
    }

    /// Tells of the run, and of a password that cannot be taken out of what is written.
    fn announce(&self, why: String) {
        self.report.emit(Event::Run {
            run: self.run.id(),
            target: self.place.word().to_owned(),
            why,
        });
        let given = self.postgres_url.as_ref().and_then(PostgresUrl::password);
        self.report.secrets().add(&self.password);
        self.report.secrets().add(&self.token);
        for secret in settings::mirror_secrets() {
            self.report.secrets().add(&secret);
        }
        for service_run in &self.service_runs {
            let service = &service_run.service;
            if service.replaces {
                self.report.note(&format!(
                    "{} is the one of {}, in place of the tool's own",
                    service.name,
                    service.table()
                ));
            }
        }
        if given.is_some_and(|given| !self.report.secrets().add(given)) {
            self.report.note(
                "the server's password is too short or too common a word to be taken out of logs and reports",
            );
        }
    }

    /// The same run, which collects the coverage of its services where that is wanted.
    #[must_use]
    pub fn with_coverage(self, coverage: bool) -> Self {
        Self { coverage, ..self }
    }

    /// The same run on a node of a version of Kubernetes, if one was asked for.
    #[must_use]
    pub fn on_kubernetes(self, kubernetes: Option<NodeVersion>) -> Self {
        Self { kubernetes, ..self }
    }

    /// The node image of its cluster: that of the version that was asked for, else the user's; none leaves it to kind.
    pub fn node_image(&self) -> Option<String> {
        let asked = self.kubernetes.as_ref().map(|node| node.image.clone());
        asked.or_else(settings::node_image)
    }

    /// The same run as the part of all services that it is, if it is one.
    #[must_use]
    pub fn of_shard(self, shard: Option<String>) -> Self {
        Self { shard, ..self }
    }

    /// The parts whose coverage is collected: the services themselves, and what is built here.
    pub fn covered(&self) -> impl Iterator<Item = &PartRun> {
        let own = self.service_runs.iter().map(|service_run| &service_run.own);
        let runs_here = |part: &Part| self.place == Target::Kind || !part.process.is_empty();
        own.chain(&self.parts)
            .filter(move |part_run| part_run.part.is_covered() && runs_here(&part_run.part))
    }

    /// The directory of the run's coverage.
    pub fn coverage_dir(&self) -> PathBuf {
        self.run.dir().join("coverage")
    }

    /// What the programs of a part wrote of their coverage.
    pub fn coverage_of(&self, part_run: &PartRun) -> PathBuf {
        self.coverage_dir().join("raw").join(&part_run.part.name)
    }

    /// Whether several services share the run.
    pub fn is_shared(&self) -> bool {
        self.service_runs.len() > 1
    }

    /// The service that a stage is for; asked of a shared stage, the first.
    pub fn service_run(&self, id: &Id) -> &ServiceRun {
        let named = |service_run: &&ServiceRun| {
            id.service
                .as_ref()
                .is_none_or(|name| *name == service_run.service.name)
        };
        self.service_runs
            .iter()
            .find(named)
            .unwrap_or(&self.service_runs[0])
    }

    /// The part that a stage is for: one that services share, else the service itself.
    pub fn part_run(&self, id: &Id) -> &PartRun {
        let shared = self
            .parts
            .iter()
            .find(|part_run| Some(&part_run.part.name) == id.part.as_ref());
        shared.unwrap_or_else(|| &self.service_run(id).own)
    }

    /// The entries of all parts of the run, those of the services themselves first.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let own = self.service_runs.iter().map(|service_run| &service_run.own);
        own.chain(&self.parts).map(|part_run| &part_run.part)
    }

    /// The service itself and its parts, with those that they need.
    pub fn parts_of<'a>(&'a self, service_run: &'a ServiceRun) -> Vec<&'a PartRun> {
        let parts = || self.parts.iter().map(|part_run| &part_run.part);
        let names = closure(&service_run.service.parts, parts);
        let shared = self
            .parts
            .iter()
            .filter(|part_run| names.contains(&part_run.part.name));
        [&service_run.own].into_iter().chain(shared).collect()
    }

    /// The service whose database and Data Storage a service uses.
    pub fn storage_of<'a>(&'a self, service_run: &'a ServiceRun) -> &'a ServiceRun {
        let named = |other: &&ServiceRun| other.service.name == service_run.storage;
        self.service_runs.iter().find(named).unwrap_or(service_run)
    }

    /// The service for which a part is set up: the first that uses it.
    pub fn user_of(&self, part_run: &PartRun) -> &ServiceRun {
        let uses = |service_run: &&ServiceRun| {
            let parts = self.parts_of(service_run);
            parts.iter().any(|other| std::ptr::eq(*other, part_run))
        };
        self.service_runs
            .iter()
            .find(uses)
            .unwrap_or(&self.service_runs[0])
    }

    /// The run's passwords and certificates.
    pub fn private(&self) -> Result<&Private, Failure> {
        if self.private.get().is_none() {
            let private = Private::of(&self.run)?;
            self.private.get_or_init(|| private);
        }
        Self::artifact(&self.private, "the run's directory of secrets")
    }

    /// A stage of a service; of one that is alone nothing has to say whose it is.
    pub fn stage(&self, step: Step, service_run: &ServiceRun) -> Id {
        let service = self.is_shared().then(|| service_run.service.name.clone());
        Id {
            step,
            service,
            part: None,
        }
    }

    /// The services that have a component.
    pub fn having(&self, component: Component) -> impl Iterator<Item = &ServiceRun> {
        self.service_runs
            .iter()
            .filter(move |service_run| service_run.service.has(component))
    }

    /// Hands the environment over to whoever comes next, until it expires.
    pub fn keep(&self, lifetime: Duration, failed: bool) -> Result<(), Failure> {
        // What a run that failed did not come to is as the one before it left it.
        let before = failed.then(|| self.run.state());
        let environments = self.service_runs.iter().map(|service_run| {
            let name = &service_run.service.name;
            let before = before.as_ref().map(|before| before.environment(name));
            let mut environment = before.unwrap_or_default();
            environment.extend(self.environment(service_run));
            (name.clone(), environment)
        });
        self.run
            .keep(environments.collect(), &self.password(), lifetime)
            .map_err(Failure::setup)
    }

    /// The file of the token for a service's Data Storage; none where that asks nobody who they are.
    pub fn token_file(&self, service_run: &ServiceRun) -> Option<PathBuf> {
        let asks = service_run.service.callers == Callers::Token
            && service_run.service.has(Component::Datastorage);
        asks.then(|| self.run.token_file())
    }

    /// The password of the services' databases.
    pub fn password(&self) -> String {
        let server = self.artifacts.server.get();
        server
            .and_then(PostgresUrl::password)
            .unwrap_or(&self.password)
            .to_owned()
    }

    /// A service's database, once the server answers.
    pub fn database(&self, service_run: &ServiceRun) -> Result<PostgresUrl, Failure> {
        self.database_named(&service_run.database)
    }

    /// The database that holds no migration: every server has it, and nothing is ever applied to it here.
    pub fn unmigrated(&self) -> Result<PostgresUrl, Failure> {
        self.database_named(&self.unmigrated_name())
    }

    /// Its name; on a server that the user named it is the run's own.
    pub fn unmigrated_name(&self) -> String {
        match self.postgres_url {
            Some(_) => format!("{}_unmigrated", self.run.id().replace('-', "_")),
            None => "postgres".to_owned(),
        }
    }

    fn database_named(&self, name: &str) -> Result<PostgresUrl, Failure> {
        let server = Self::artifact(&self.artifacts.server, "the PostgreSQL server")?;
        Ok(server.clone().with_database(name))
    }

    /// How many replicas of a service's Data Storage run: several need a Service before them, which only a cluster has.
    pub fn replicas(&self, service_run: &ServiceRun) -> u16 {
        match self.place {
            Target::Kind | Target::Cluster => service_run.service.replicas,
            Target::Local => 1,
        }
    }

    /// What a suite gets, without passwords and what holds one.
    pub fn environment(&self, service_run: &ServiceRun) -> BTreeMap<String, String> {
        let is_secret = |name: &str| {
            [e2e_env::PGPASSWORD, "DATASTORAGE_TOKEN"].contains(&name)
                || self.passwords(service_run).any(|known| known == name)
        };
        let value = |name: &str| {
            let value = self.value(service_run, Seen::Here, name);
            value.filter(|_| !is_secret(name))
        };
        let mut environment = own_variables(service_run, &value);
        environment.extend(self.made(service_run));
        environment
    }

    /// What a suite and the commands around it get, with every password.
    pub fn secret_environment(&self, service_run: &ServiceRun) -> BTreeMap<String, String> {
        let value = |name: &str| self.value(service_run, Seen::Here, name);
        let mut environment = own_variables(service_run, &value);
        environment.extend(self.made(service_run));
        environment.insert(e2e_env::PGPASSWORD.to_owned(), self.password());
        // A shell's script has the names as variables.
        let mut parts = self.parts_of(service_run).into_iter();
        let certified = parts.any(|part_run| !part_run.part.certificates.is_empty());
        let named = ["NAMESPACE", "NODE"].into_iter();
        let asks = self.token_file(service_run).is_some();
        let named = named.chain(asks.then_some("DATASTORAGE_TOKEN"));
        let authority = ["CA_CERT", "CA_BUNDLE", "CA_FILE"].into_iter();
        for name in named.chain(authority.filter(|_| certified)) {
            if let Some(value) = self.value(service_run, Seen::Here, name) {
                environment.entry(name.to_owned()).or_insert(value);
            }
        }
        for name in self.passwords(service_run) {
            if let Some(password) = self.value(service_run, Seen::Here, name) {
                environment.insert(name.clone(), password);
            }
        }
        environment
    }

    /// The names of the passwords of a service and its parts.
    fn passwords<'a>(&'a self, service_run: &'a ServiceRun) -> impl Iterator<Item = &'a String> {
        let parts = self.parts_of(service_run).into_iter();
        parts.flat_map(|part_run| &part_run.part.passwords)
    }

    /// What a name stands for in the text of a service or its parts, as far as it has been made.
    pub fn value(&self, service_run: &ServiceRun, seen: Seen, name: &str) -> Option<String> {
        let parts = self.parts_of(service_run);
        let publish = |variable: &str| {
            parts.iter().find_map(|part_run| {
                let mut published = part_run.part.publish.iter();
                Some((
                    *part_run,
                    published.find(|publish| publish.env == variable)?,
                ))
            })
        };
        if let Some(image) = name.strip_prefix("image:") {
            let loaded = &self.artifacts.loaded;
            let loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
            return loaded.get(image).cloned();
        }
        if let Some(image) = name.strip_prefix("binary:") {
            let programs = &self.artifacts.programs;
            let programs = programs.lock().unwrap_or_else(PoisonError::into_inner);
            return programs.get(image).map(|path| path.display().to_string());
        }
        if let Some(variable) = name.strip_prefix("port:") {
            let (part_run, publish) = publish(variable)?;
            return match seen {
                Seen::Here => part_run
                    .address(variable)?
                    .rsplit(':')
                    .next()
                    .map(str::to_owned),
                Seen::Pods => publish.port.map(|port| port.to_string()),
            };
        }
        if self.passwords(service_run).any(|known| known == name) {
            let password = self.private().ok()?.password(name, random_password).ok()?;
            self.report.secrets().add(&password);
            return Some(password);
        }
        let authority = || self.private().ok()?.authority().ok();
        if seen == Seen::Pods {
            let has = |component| service_run.service.has(component);
            let datastorage = |host: &str| {
                format!(
                    "http://{host}.{}.svc:{DATASTORAGE_PORT}",
                    service_run.namespace
                )
            };
            match name {
                e2e_env::DATASTORAGE_URL if has(Component::Datastorage) => {
                    return Some(datastorage("datastorage"));
                }
                e2e_env::DATASTORAGE_UNMIGRATED_URL if has(Component::Unmigrated) => {
                    return Some(datastorage("datastorage-unmigrated"));
                }
                e2e_env::DATABASE_URL if has(Component::Postgres) => {
                    let host = format!("postgres.{}.svc", self.home());
                    let named = self.postgres_url.clone();
                    let url = match named {
                        Some(server) => postgres::with_authority(server, POD_AUTHORITY),
                        None => PostgresUrl::new(USER, &host, 5432),
                    };
                    return Some(url.with_database(&service_run.database).to_string());
                }
                _ => {
                    if let Some((part_run, publish)) = publish(name) {
                        return part_run.pod_address(publish);
                    }
                }
            }
        }
        match name {
            "NAMESPACE" => Some(service_run.namespace.clone()),
            "NODE" => self.made(service_run).remove(e2e_env::NODE),
            "DATASTORAGE_TOKEN" => Some(self.token.clone()),
            e2e_env::PGPASSWORD => Some(self.password()),
            "CA_CERT" => authority(),
            "CA_BUNDLE" => Some(BASE64_STANDARD.encode(authority()?)),
            "CA_FILE" => {
                authority()?;
                Some(self.private().ok()?.authority_file().display().to_string())
            }
            _ => self.made(service_run).remove(name),
        }
    }

    /// What a name stands for in the manifests of a part.
    pub fn pod_value(&self, part_run: &PartRun, name: &str) -> Option<String> {
        match name {
            "NAMESPACE" => Some(part_run.namespace.clone()),
            _ => self.value(self.user_of(part_run), Seen::Pods, name),
        }
    }

    /// A text of a part's entry in the table, as it is meant in the cluster.
    pub fn text(&self, part_run: &PartRun, text: &str) -> Result<String, Failure> {
        expand(text, &|name| self.pod_value(part_run, name))
            .map_err(|unknown| part_run.unknown(&unknown))
    }

    /// Keeps the program of an image.
    pub fn record_program(&self, image: &str, program: &Path) {
        let programs = &self.artifacts.programs;
        let mut programs = programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.insert(image.to_owned(), program.to_owned());
    }

    /// Its services and parts as they were chosen.
    pub fn chosen(&self) -> Chosen {
        let services = self.service_runs.iter().map(|run| run.service.clone());
        let parts = self.parts.iter().map(|run| run.part.clone());
        Chosen {
            services: services.collect(),
            parts: parts.collect(),
        }
    }

    /// The name of an object of a whole cluster that is about the run's own namespaces: in one that others use too each run has its own.
    pub fn wide_name(&self, name: &str) -> String {
        match self.place {
            Target::Cluster => format!("{name}-{}", suffix(&self.run.id())),
            Target::Kind | Target::Local => name.to_owned(),
        }
    }

    /// The namespaces that were given to it in a cluster that others use too.
    pub fn given_namespaces(&self) -> Vec<String> {
        let guest = self.guest.as_ref();
        guest.map_or_else(
            || self.run.given_namespaces(),
            |guest| guest.namespaces.clone(),
        )
    }

    /// The context by which it reaches a cluster that others use too.
    pub fn context(&self) -> String {
        let guest = self.guest.as_ref();
        guest.map_or_else(String::new, |guest| guest.context.clone())
    }

    /// Whether its pods pull images with the credentials that it pushes them by.
    pub fn pulls_with_secret(&self) -> bool {
        match &self.guest {
            Some(guest) => guest.pull_secret,
            // Of an environment that is up, what was there when it was made.
            None => self.run.state().fingerprints.contains_key(PULLS),
        }
    }

    /// The namespace of PostgreSQL in a cluster: that of the only service, or one that all share.
    pub fn home(&self) -> &str {
        if self.is_shared() {
            &self.namespaces.home
        } else {
            &self.service_runs[0].namespace
        }
    }

    /// What the run has made for a suite so far.
    fn made(&self, service_run: &ServiceRun) -> BTreeMap<String, String> {
        let storage = self.storage_of(service_run);
        let (kind, pods) = (self.place == Target::Kind, self.place.has_pods());
        let own_server = !self.is_shared()
            && self.postgres_url.is_none()
            && service_run.service.has(Component::Postgres);
        let database = service_run
            .service
            .has(Component::Postgres)
            .then(|| self.database(service_run).ok())
            .flatten();
        let tool = self.run.dir().join(TOOL);
        let tool = tool.exists().then(|| tool.display().to_string());
        let entries = [
            (e2e_env::RUN, Some(self.run.id())),
            (e2e_env::SERVICE, Some(service_run.service.name.clone())),
            (e2e_env::TARGET, Some(self.place.word().to_owned())),
            (e2e_env::TOOL, tool),
            (
                e2e_env::EVIDENCE_DIR,
                Some(service_run.dir.display().to_string()),
            ),
            (e2e_env::OWN_POSTGRES, own_server.then(|| "1".to_owned())),
            (
                e2e_env::NAMESPACE,
                pods.then(|| service_run.namespace.clone()),
            ),
            (
                e2e_env::KUBECONFIG,
                pods.then(|| self.run.dir().join("kubeconfig").display().to_string()),
            ),
            (
                e2e_env::NODE,
                kind.then(|| kind::node(&kind::cluster(&self.run.id()))),
            ),
            (
                e2e_env::DATABASE_URL,
                database.map(|database| database.to_string()),
            ),
            (e2e_env::DATASTORAGE_URL, storage.url.get().cloned()),
            (
                e2e_env::DATASTORAGE_TOKEN_FILE,
                self.token_file(service_run)
                    .map(|file| file.display().to_string()),
            ),
            (
                e2e_env::DATASTORAGE_REPLICAS,
                storage
                    .url
                    .get()
                    .map(|_| self.replicas(storage).to_string()),
            ),
            (
                e2e_env::DATASTORAGE_UNMIGRATED_URL,
                storage.unmigrated_url.get().cloned(),
            ),
            (e2e_env::SERVICE_URL, service_run.service_url.get().cloned()),
        ];
        let made = entries
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let parts = self.parts_of(service_run);
        let published = parts
            .iter()
            .filter_map(|part_run| part_run.published.get())
            .flatten();
        let published = published.map(|(name, address)| (name.clone(), address.clone()));
        let files = self.passwords(service_run).filter_map(|name| {
            self.value(service_run, Seen::Here, name)?;
            let file = self.private().ok()?.password_file(name);
            Some((format!("{name}_FILE"), file.display().to_string()))
        });
        published.chain(files).chain(made).collect()
    }

    /// What an earlier stage made; asking too early is a defect of the plan.
    pub fn artifact<'a, T>(slot: &'a OnceLock<T>, what: &str) -> Result<&'a T, Failure> {
        slot.get().ok_or_else(|| {
            Failure::new(
                Exit::Setup,
                format!("internal error in xtask (please report): {what} is used before it exists"),
            )
        })
    }

    /// Shows the lines of a command as part of a stage.
    pub fn lines(&self, id: &Id) -> impl FnMut(&str) + '_ {
        let (stage, service) = (id.title(), id.service.clone());
        move |text| {
            self.report.emit(Event::Line {
                stage: stage.clone(),
                service: service.clone(),
                text: text.to_owned(),
            });
        }
    }
}

/// The variables of a service's entry, without those whose names have no value yet, or none that may be told.
fn own_variables(
    service_run: &ServiceRun,
    value: &dyn Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let own = service_run.service.own.env.iter();
    own.filter_map(|(name, text)| Some((name.clone(), expand(text, value).ok()?)))
        .collect()
}

/// D24.
pub const USER: &str = "slm_user";
/// Where the pod of a suite sees the authorities of a PostgreSQL server that the user names.
pub const POD_AUTHORITY: &str = "/e2e/files/postgres-ca.pem";
/// Where Data Storage listens inside a cluster.
pub const DATASTORAGE_PORT: u16 = 8080;

/// What the state file says of an environment whose pods pull images with credentials.
pub const PULLS: &str = "pull-secret";

/// What the processes of suites are recorded under.
pub const SUITE: &str = "suite";

/// The tool in a run's directory, as the run was started: a build may replace the program meanwhile, and a suite calls what made its
/// environment.
pub const TOOL: &str = "xtask";

/// Links this program to `path`, or copies it: to another file system, or where the file of its name is another program by now.
fn keep_tool(path: &Path) -> std::io::Result<()> {
    // What runs is there by this name though its file has been replaced (proc(5), exe).
    let running = Path::new("/proc/self/exe");
    let program = std::env::current_exe()?;
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let same = |path: &Path| {
        let (one, other) = (path.metadata().ok()?, running.metadata().ok()?);
        Some((one.dev(), one.ino()) == (other.dev(), other.ino()))
    };
    if std::fs::hard_link(&program, path).is_ok() {
        if same(path) != Some(false) {
            return Ok(());
        }
        std::fs::remove_file(path)?;
    }
    let source = if running.exists() { running } else { &program };
    std::fs::copy(source, path).map(drop)
}

/// What is kept of a node that was booted once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Booted {
    /// What it was made by and from, beside the prepared node.
    pub made_from: String,
    /// The host name of the node, which Kubernetes knows it by.
    pub host: String,
    /// Its address then.
    pub address: String,
    /// The flags of the container that kind had made for it.
    pub flags: Vec<String>,
    /// What the archive is, by its digest.
    pub content: String,
    /// The file that holds its files.
    #[serde(skip)]
    pub archive: PathBuf,
}

/// A node image, and the directory of the Docker daemon that its nodes see at [`crate::tools::kind::SHARED`].
#[derive(Clone, Debug)]
pub struct Node {
    /// The image's name.
    pub image: String,
    /// Where the volume lies for the daemon, which may be on another machine than this process.
    pub directory: PathBuf,
    /// What both are made from.
    pub key: String,
}
