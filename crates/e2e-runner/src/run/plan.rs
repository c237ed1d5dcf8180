//! The plan of a run as a value (D11): typed stages with what they need and how long they may take.

use std::time::Duration;

use serde::Serialize;

use crate::table::Chosen;
use crate::table::part::Part;
use crate::table::service::{Component, Service, storage_of};
use crate::table::suite::Tests;

/// Where a run's PostgreSQL and Data Storage live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// In a Kind cluster.
    Kind,
    /// As processes of this machine.
    Local,
    /// In namespaces of a cluster that others use too.
    Cluster,
}

impl Target {
    /// Whether the run's programs are pods.
    pub const fn has_pods(self) -> bool {
        matches!(self, Self::Kind | Self::Cluster)
    }

    /// The target of such a word.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Kind, Self::Local, Self::Cluster]
            .into_iter()
            .find(|target| target.word() == word)
    }

    /// The word on the command line and in a suite's environment.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Local => "local",
            Self::Cluster => "cluster",
        }
    }
}

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Checks that the machine has what the run needs.
    Preflight,
    /// Builds the checkout's programs that the run needs: Data Storage, what stands in for services, and the relay beside it.
    Build,
    /// Builds the suites' test binary.
    BuildSuite,
    /// Builds both by one call, where both are for this machine.
    BuildAll,
    /// Makes a node image that holds PostgreSQL's, once for each pair of images.
    PrepareNode,
    /// Creates the Kind cluster.
    CreateCluster,
    /// Makes the run's namespaces in a cluster that others use too, or waits for its turn in those that were given.
    PrepareNamespaces,
    /// Streams PostgreSQL's image into a node that is not prepared, beside kubeadm's work there.
    LoadPostgres,
    /// Streams Data Storage's image into the node.
    LoadDataStorage,
    /// Streams the fake's image into the node.
    LoadFake,
    /// Streams the relay's image into the node.
    LoadRelay,
    /// Builds or finds the images of a service or part, beside the cluster's creation.
    BuildService,
    /// Streams the images of a service or part into the node.
    LoadService,
    /// Pushes Data Storage's image to the registry.
    PushDataStorage,
    /// Pushes the fake's image to the registry.
    PushFake,
    /// Pushes the relay's image to the registry.
    PushRelay,
    /// Pushes the image of the tunnel's end in the cluster to the registry.
    PushTunnel,
    /// Pushes the images of a service or part to the registry.
    PushService,
    /// Opens the tunnel by which this machine reaches the run's Services.
    OpenTunnel,
    /// Starts PostgreSQL.
    DeployPostgres,
    /// Waits until PostgreSQL answers.
    AwaitPostgres,
    /// Applies a service's migration profile.
    Migrate,
    /// Starts Data Storage, and a second one on an empty database where the service wants it.
    DeployDataStorage,
    /// Waits until Data Storage is ready.
    AwaitDataStorage,
    /// Starts the service itself, or its fake.
    DeployService,
    /// Waits until the service is ready.
    AwaitService,
    /// Runs a command of a service between ready and its suite.
    Before,
    /// Runs a service's tests.
    RunSuite,
    /// Runs a command of a service after its suite, whatever came of that.
    After,
    /// Gathers what explains a failure; only after one.
    CollectEvidence,
    /// Ends the services' programs and gathers what they covered.
    CollectCoverage,
    /// Removes everything that the run made.
    TearDown,
}

/// What a stage asks of the machine while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Waits for others most of the time.
    Light,
    /// Keeps a core busy.
    Heavy,
    /// Is a suite: memory and a part of a core.
    Suite,
}

impl Step {
    /// The stage's name in lines, tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Build => "build programs",
            Self::BuildSuite => "build suite",
            Self::BuildAll => "build programs and suite",
            Self::PrepareNode => "prepare node image",
            Self::CreateCluster => "create cluster",
            Self::PrepareNamespaces => "prepare namespaces",
            Self::PushDataStorage => "push Data Storage image",
            Self::PushFake => "push fake image",
            Self::PushRelay => "push relay image",
            Self::PushTunnel => "push tunnel image",
            Self::PushService => "push service images",
            Self::OpenTunnel => "open tunnel",
            Self::LoadPostgres => "load PostgreSQL image",
            Self::LoadDataStorage => "load Data Storage image",
            Self::LoadFake => "load fake image",
            Self::LoadRelay => "load relay image",
            Self::BuildService => "build service images",
            Self::LoadService => "load service images",
            Self::DeployPostgres => "deploy PostgreSQL",
            Self::AwaitPostgres => "wait for PostgreSQL",
            Self::Migrate => "migrate",
            Self::DeployDataStorage => "deploy Data Storage",
            Self::AwaitDataStorage => "wait for Data Storage",
            Self::DeployService => "deploy service",
            Self::AwaitService => "wait for service",
            Self::Before => "before",
            Self::RunSuite => "run suite",
            Self::After => "after",
            Self::CollectEvidence => "collect evidence",
            Self::CollectCoverage => "collect coverage",
            Self::TearDown => "tear down",
        }
    }

    /// The stage's name where it is about one of several.
    fn name_of(self, part: &str) -> String {
        match self {
            Self::BuildService => format!("build {part} images"),
            Self::LoadService => format!("load {part} images"),
            Self::PushService => format!("push {part} images"),
            Self::DeployService => format!("deploy {part}"),
            Self::AwaitService => format!("wait for {part}"),
            Self::Before | Self::After => format!("{}: {part}", self.name()),
            _ => format!("{} {part}", self.name()),
        }
    }

    /// Whether what comes after it comes whatever became of it: a suite that fails says nothing of the next, nor does a command after it.
    pub const fn is_passed_over(self) -> bool {
        matches!(self, Self::RunSuite | Self::After)
    }

    /// What it asks of the machine.
    pub const fn load(self) -> Load {
        match self {
            Self::Build
            | Self::BuildSuite
            | Self::BuildAll
            | Self::PrepareNode
            | Self::CreateCluster
            | Self::BuildService => Load::Heavy,
            Self::RunSuite => Load::Suite,
            // PostgreSQL's image among them: everything waits for it, so it must not wait for a build.
            _ => Load::Light,
        }
    }
}

/// A stage by what it does and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Id {
    /// What it does.
    pub step: Step,
    /// The service it is done for, of several; none for what they share, and in the run of one service.
    pub service: Option<String>,
    /// The part, suite or command that it is about, where a service has several.
    pub part: Option<String>,
}

impl Id {
    /// What the stage does, in lines, tables and logs.
    pub fn title(&self) -> String {
        match &self.part {
            Some(part) => self.step.name_of(part),
            None => self.step.name().to_owned(),
        }
    }

    /// The stage's name where several services share a run.
    pub fn name(&self) -> String {
        match &self.service {
            Some(service) => format!("{service}: {}", self.title()),
            None => self.title(),
        }
    }
}

impl From<Step> for Id {
    fn from(step: Step) -> Self {
        Self {
            step,
            service: None,
            part: None,
        }
    }
}

/// One stage of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// What it does, and for whom.
    pub id: Id,
    /// The stages that must have succeeded before it, and the suites that must have ended.
    pub needs: Vec<Id>,
    /// How long it may take, in seconds.
    #[serde(rename = "deadline_seconds", serialize_with = "whole_seconds")]
    pub deadline: Duration,
}

fn whole_seconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

/// What becomes of a service's `replicas` on a target, where it has several.
pub fn replicas(service: &Service, place: Target) -> Option<String> {
    let count = service.replicas;
    let what = match place {
        Target::Kind | Target::Cluster => format!(
            "{count} pods behind one Service, each with a queue volume that outlives its pod"
        ),
        Target::Local => format!(
            "one process: `replicas = {count}` needs a Service before them, which only a cluster has"
        ),
    };
    (count > 1).then(|| format!("Data Storage of {} is {what}", service.name))
}

/// How far a plan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Everything ready: `up`.
    Ready,
    /// The suites run and everything removed: `e2e`.
    Done,
}

/// The stages of one run, in an order that satisfies their needs.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The services.
    pub services: Vec<String>,
    /// Where it runs.
    pub place: Target,
    /// Its stages.
    pub stages: Vec<Stage>,
    /// What becomes of the services that want several replicas of Data Storage.
    pub replicas: Vec<String>,
}

/// How long evidence may be collected, in seconds.
const EVIDENCE: u64 = 60;
/// How long coverage may be collected, in seconds: grace periods of pods, and their start where the environment is kept.
const COVERAGE: u64 = 300;
/// How long removing everything may take, in seconds.
const TEAR_DOWN: u64 = 120;
/// Compiling is not hanging, however busy the machine is (D44): this bounds what never ends.
const BUILD: u64 = 1800;

/// Lays out a run. Two stages of which neither needs the other may run at once.
pub fn plan(chosen: &Chosen, place: Target, until: Until) -> Plan {
    let Chosen { services, parts } = chosen;
    let any = |component| services.iter().any(|service| service.has(component));
    let kind = place == Target::Kind;
    let mut layout = Layout {
        place,
        // Stages of a single service carry no service name.
        several: services.len() > 1,
        programs: Step::Build,
        suites: Step::BuildSuite,
        stages: Vec::new(),
    };
    // On this machine it may compile what fetches PostgreSQL, for a cluster what pushes images.
    layout.shared(Step::Preflight, &[], if kind { 30 } else { BUILD });
    let has_programs = place == Target::Cluster || PROGRAMS.into_iter().any(any);
    let has_suites = until == Until::Done && services.iter().any(has_cargo_suite);
    if has_programs && has_suites && place == Target::Local {
        (layout.programs, layout.suites) = (Step::BuildAll, Step::BuildAll);
        layout.shared(Step::BuildAll, &[Step::Preflight], BUILD);
    } else {
        let mut built = Step::Preflight;
        for (step, wanted) in [(Step::Build, has_programs), (Step::BuildSuite, has_suites)] {
            if wanted {
                // One after the other: beside a compiler that takes all processors another only waits.
                layout.shared(step, &[built], BUILD);
                built = step;
            }
        }
    }
    if kind {
        let mut before = Step::Preflight;
        if any(Component::Postgres) {
            layout.shared(Step::PrepareNode, &[before], 300);
            before = Step::PrepareNode;
        }
        layout.shared(Step::CreateCluster, &[before], 300);
        // Images need only the node's container runtime, which answers long before kubeadm is done; they wait for that themselves.
        for (step, component, built) in [
            (Step::LoadPostgres, Component::Postgres, before),
            (Step::LoadDataStorage, Component::Datastorage, Step::Build),
            (Step::LoadFake, Component::Fake, Step::Build),
            (Step::LoadRelay, Component::Relay, Step::Build),
        ] {
            if any(component) {
                let needs = if built == before {
                    vec![built]
                } else {
                    vec![built, before]
                };
                layout.shared(step, &needs, 300);
            }
        }
    }
    if place == Target::Cluster {
        layout.guest(&any);
    }
    if any(Component::Postgres) {
        let (before, deploy, ready): (&[Step], _, _) = match place {
            Target::Kind => (&[Step::CreateCluster, Step::LoadPostgres], 60, 180),
            // Its binaries may have to be fetched first, while the programs compile.
            Target::Local => (&[Step::Preflight], 600, 180),
            Target::Cluster => (&[Step::PrepareNamespaces, Step::PushTunnel], 60, 180),
        };
        layout.shared(Step::DeployPostgres, before, deploy);
        let mut needs = vec![Step::DeployPostgres];
        needs.extend(layout.tunnel());
        layout.shared(Step::AwaitPostgres, &needs, ready);
    }
    for service in services {
        layout.storage(service, services);
    }
    for part in parts {
        layout.part(part, services);
    }
    for service in services {
        layout.service(service, services, until);
    }
    if until == Until::Done {
        layout.evidence();
        layout.shared(Step::TearDown, &[Step::CollectEvidence], TEAR_DOWN);
    }
    layout.plan(services, place)
}

/// Lays out a run of one service's suite on an environment that is up, of which it may be one of several services.
pub fn retest(services: &[Service], tested: &Service, place: Target) -> Plan {
    let mut layout = Layout {
        place,
        several: services.len() > 1,
        programs: Step::Build,
        suites: Step::BuildSuite,
        stages: Vec::new(),
    };
    let own = |step| Id {
        step,
        service: (services.len() > 1).then(|| tested.name.clone()),
        part: None,
    };
    let mut needs = Vec::new();
    if place == Target::Cluster {
        layout.shared(Step::OpenTunnel, &[], 60);
        needs.push(Step::OpenTunnel.into());
    }
    if tested.has(Component::Datastorage) {
        // It was ready when it was left: what does not answer soon is gone.
        layout.add(own(Step::AwaitDataStorage), needs.clone(), 10);
        needs.push(own(Step::AwaitDataStorage));
    }
    if has_cargo_suite(tested) {
        layout.add(Step::BuildSuite.into(), Vec::new(), BUILD);
        needs.push(Step::BuildSuite.into());
    }
    layout.suites(tested, &needs);
    layout.evidence();
    layout.plan(services, place)
}

impl Plan {
    /// The same plan with coverage collected once the suites and the commands after them have ended, and what explains a failure is
    /// gathered: collecting ends what ran.
    #[must_use]
    pub fn collecting_coverage(mut self) -> Self {
        let evidence = Id::from(Step::CollectEvidence);
        let Some(at) = self.stages.iter().position(|stage| stage.id == evidence) else {
            return self;
        };
        let coverage = Id::from(Step::CollectCoverage);
        for stage in &mut self.stages[at + 1..] {
            stage.needs = vec![coverage.clone()];
        }
        let stage = Stage {
            id: coverage,
            needs: vec![evidence],
            deadline: Duration::from_secs(COVERAGE),
        };
        self.stages.insert(at + 1, stage);
        self
    }

    /// The same plan where a run may wait so long for its turn, and its pods for room: in a cluster that others use too.
    #[must_use]
    pub fn waiting_for_room(mut self, longest: Duration) -> Self {
        for stage in &mut self.stages {
            let waits = matches!(
                stage.id.step,
                Step::PrepareNamespaces
                    | Step::OpenTunnel
                    | Step::AwaitPostgres
                    | Step::AwaitDataStorage
                    | Step::AwaitService
            );
            if waits {
                stage.deadline = stage.deadline.saturating_add(longest);
            }
        }
        self
    }

    /// How long a stage may take; for one that ends every run, also where the plan does not show it.
    pub fn deadline(&self, step: Step) -> Duration {
        let stage = self.stages.iter().find(|stage| stage.id.step == step);
        let usual = Duration::from_secs(match step {
            Step::CollectEvidence => EVIDENCE,
            Step::CollectCoverage => COVERAGE,
            _ => TEAR_DOWN,
        });
        stage.map_or(usual, |stage| stage.deadline)
    }

    /// How long the whole run may take, one stage after the other, its suites `times` times.
    pub fn longest(&self, times: u32) -> Duration {
        let of = |stage: &Stage| match stage.id.step {
            Step::RunSuite => stage.deadline.saturating_mul(times),
            _ => stage.deadline,
        };
        self.stages
            .iter()
            .map(of)
            .fold(Duration::ZERO, Duration::saturating_add)
    }
}

/// What the checkout has a program for.
pub const PROGRAMS: [Component; 3] = [Component::Datastorage, Component::Fake, Component::Relay];

fn has_cargo_suite(service: &Service) -> bool {
    let mut suites = service.suites.iter();
    suites.any(|suite| matches!(suite.tests(), Tests::Cargo(..)))
}

/// A plan while it is laid out.
struct Layout {
    place: Target,
    several: bool,
    /// The stage that builds the tool's own programs.
    programs: Step,
    /// The stage that builds the suites.
    suites: Step,
    stages: Vec<Stage>,
}

impl Layout {
    fn add(&mut self, id: Id, needs: Vec<Id>, seconds: u64) {
        let deadline = Duration::from_secs(seconds);
        self.stages.push(Stage {
            id,
            needs,
            deadline,
        });
    }

    /// Adds a stage after those of some needs that this run has: a need that no stage fulfils is one that it does not have.
    fn add_after(&mut self, id: Id, needs: &[Id], deadline: Duration) {
        let there = |need: &&Id| self.stages.iter().any(|stage| stage.id == **need);
        let needs = needs.iter().filter(there).cloned().collect();
        self.add(id, needs, deadline.as_secs());
    }

    /// A stage of a service.
    fn own(&self, step: Step, service: &Service) -> Id {
        Id {
            step,
            service: self.several.then(|| service.name.clone()),
            part: None,
        }
    }

    fn plan(self, services: &[Service], place: Target) -> Plan {
        Plan {
            services: services
                .iter()
                .map(|service| service.name.clone())
                .collect(),
            place,
            stages: self.stages,
            replicas: services
                .iter()
                .filter_map(|service| replicas(service, place))
                .collect(),
        }
    }

    fn shared(&mut self, step: Step, needs: &[Step], seconds: u64) {
        self.add(
            step.into(),
            needs.iter().map(|need| Id::from(*need)).collect(),
            seconds,
        );
    }

    /// Namespaces, images and the tunnel in a cluster that others use too.
    fn guest(&mut self, any: &dyn Fn(Component) -> bool) {
        self.shared(Step::PrepareNamespaces, &[Step::Preflight], 60);
        for (step, component) in [
            (Step::PushTunnel, None),
            (Step::PushDataStorage, Some(Component::Datastorage)),
            (Step::PushFake, Some(Component::Fake)),
            (Step::PushRelay, Some(Component::Relay)),
        ] {
            if component.is_none_or(any) {
                self.shared(step, &[Step::Build], 300);
            }
        }
        let needs = [Step::PushTunnel, Step::PrepareNamespaces];
        self.shared(Step::OpenTunnel, &needs, 120);
    }

    /// What there has to be before anything is deployed into pods.
    fn base(&self) -> Step {
        match self.place {
            Target::Cluster => Step::PrepareNamespaces,
            _ => Step::CreateCluster,
        }
    }

    /// The image of what stands beside each program of the tool's own.
    fn keeper(&self) -> Option<Id> {
        (self.place == Target::Cluster).then(|| Step::PushTunnel.into())
    }

    /// What there has to be before this machine waits for a pod's answer.
    fn tunnel(&self) -> Option<Step> {
        (self.place == Target::Cluster).then_some(Step::OpenTunnel)
    }

    /// How an image comes to where pods run.
    fn bring(&self, load: Step) -> Step {
        match (self.place, load) {
            (Target::Cluster, Step::LoadDataStorage) => Step::PushDataStorage,
            (Target::Cluster, Step::LoadFake) => Step::PushFake,
            (Target::Cluster, Step::LoadRelay) => Step::PushRelay,
            (Target::Cluster, Step::LoadService) => Step::PushService,
            _ => load,
        }
    }

    /// What explains a failure is gathered once every suite and the commands after it have ended.
    fn evidence(&mut self) {
        let ids = self.stages.iter().map(|stage| &stage.id);
        let last = ids.filter(|id| matches!(id.step, Step::RunSuite | Step::After));
        let last = last.cloned().collect();
        self.add(Step::CollectEvidence.into(), last, EVIDENCE);
    }

    /// A service's database and its Data Storage.
    fn storage(&mut self, service: &Service, services: &[Service]) {
        let pods = self.place.has_pods();
        let own = |layout: &Self, step| layout.own(step, service);
        let storage = if pods {
            storage_of(services, service)
        } else {
            service
        };
        let is_shared = storage.name != service.name;
        if service.has(Component::Postgres) {
            let id = own(self, Step::Migrate);
            let mut needs = vec![Step::AwaitPostgres.into()];
            if is_shared {
                // Into the database of the other, once that is there.
                needs.push(self.own(Step::Migrate, storage));
            }
            self.add_after(id, &needs, Duration::from_mins(1));
        }
        if service.has(Component::Datastorage) && !is_shared {
            // Data Storage starts without a database and looks for it, so its start overlaps PostgreSQL's and the migrations.
            let ready = if pods {
                [self.bring(Step::LoadDataStorage), self.base()]
            } else {
                [self.programs, Step::AwaitPostgres]
            };
            let (deploy, wait) = (
                own(self, Step::DeployDataStorage),
                own(self, Step::AwaitDataStorage),
            );
            let mut ready: Vec<Id> = ready.map(Id::from).into();
            ready.extend(self.keeper());
            self.add_after(deploy.clone(), &ready, Duration::from_mins(1));
            let mut needs = vec![deploy, own(self, Step::Migrate)];
            needs.extend(self.tunnel().map(Id::from));
            self.add_after(wait, &needs, Duration::from_mins(2));
        }
    }

    /// What stands once a service's storage does.
    fn stands(&self, service: &Service, services: &[Service]) -> Vec<Id> {
        let storage = if self.place.has_pods() {
            storage_of(services, service)
        } else {
            service
        };
        let migrated = self.own(Step::Migrate, service);
        match () {
            () if service.has(Component::Datastorage) => {
                let ready = self.own(Step::AwaitDataStorage, storage);
                let shared = (storage.name != service.name).then_some(migrated);
                [ready].into_iter().chain(shared).collect()
            }
            () if service.has(Component::Postgres) => vec![migrated],
            () => vec![self.base().into()],
        }
    }

    /// The stages of a part that services share.
    fn part(&mut self, part: &Part, services: &[Service]) {
        let mut needs = vec![Step::Preflight.into(), self.base().into()];
        for need in &part.needs {
            let step = match need.as_str() {
                "postgres" => Step::Migrate,
                "datastorage" => Step::AwaitDataStorage,
                _ => {
                    needs.push(of_part(Step::AwaitService, need));
                    continue;
                }
            };
            // Its user is not known here: that of all services stands, where it needs one.
            needs.extend(services.iter().map(|service| self.own(step, service)));
        }
        self.deploy(
            part,
            self.deployed().map(|step| of_part(step, &part.name)),
            needs,
        );
    }

    /// Images, start and readiness of a part.
    fn deploy(&mut self, part: &Part, ids: [Id; 4], mut needs: Vec<Id>) {
        let [build, load, deploy, wait] = ids;
        if self.place.has_pods() && !part.images.is_empty() {
            let deadline = part.deadlines.images();
            self.add_after(build.clone(), &[Step::Preflight.into()], deadline);
            // The node is there as soon as its container runtime answers: images wait for that themselves.
            self.add_after(load.clone(), &[build, Step::PrepareNode.into()], deadline);
            needs.push(load);
        } else if part.runs_built_program() {
            self.add_after(
                build.clone(),
                &[Step::Preflight.into()],
                part.deadlines.images(),
            );
            needs.push(build);
        }
        self.add_after(deploy.clone(), &needs, part.deadlines.apply());
        let mut needs = vec![deploy];
        needs.extend(self.tunnel().map(Id::from));
        self.add_after(wait, &needs, part.deadlines.ready());
    }

    /// What is done for a part, in this order.
    fn deployed(&self) -> [Step; 4] {
        [
            Step::BuildService,
            self.bring(Step::LoadService),
            Step::DeployService,
            Step::AwaitService,
        ]
    }

    /// A service itself or its fake, its commands and its suite.
    fn service(&mut self, service: &Service, services: &[Service], until: Until) {
        let pods = self.place.has_pods();
        let own = |layout: &Self, step| layout.own(step, service);
        let stands = self.stands(service, services);
        let parts = service
            .parts
            .iter()
            .map(|name| of_part(Step::AwaitService, name));
        let mut ready: Vec<Id> = stands.into_iter().chain(parts).collect();
        let ids = self.deployed().map(|step| own(self, step));
        if service.has(Component::Fake) {
            // Its store keeps what Data Storage cannot take yet, so the two may start together.
            let mut needs = if pods {
                vec![self.bring(Step::LoadFake).into(), self.base().into()]
            } else {
                vec![self.programs.into(), own(self, Step::DeployDataStorage)]
            };
            if pods && service.has(Component::Relay) {
                needs.insert(1, self.bring(Step::LoadRelay).into());
            }
            needs.extend(self.keeper());
            let [.., deploy, wait] = &ids;
            self.add_after(deploy.clone(), &needs, Duration::from_mins(1));
            let mut needs = vec![deploy.clone()];
            needs.extend(self.tunnel().map(Id::from));
            self.add_after(wait.clone(), &needs, Duration::from_mins(2));
        }
        if service.has(Component::Own) {
            // What a service does at its start is not known here: it finds everything that it may ask for.
            self.deploy(&service.own, ids, ready.clone());
        }
        ready.push(own(self, Step::AwaitService));
        for hook in &service.before {
            let id = Id {
                part: Some(hook.name.clone()),
                ..own(self, Step::Before)
            };
            self.add_after(id.clone(), &ready, hook.deadline);
            // In their order: the next may use what this one has made.
            ready.push(id);
        }
        if until == Until::Done {
            ready.insert(0, self.suites.into());
            let there = |need: &Id| self.stages.iter().any(|stage| stage.id == *need);
            ready.retain(there);
            self.suites(service, &ready);
        }
    }

    /// The suites of a service: one after the other, and those that say so together with the one before. Then its commands, in their
    /// order.
    fn suites(&mut self, service: &Service, ready: &[Id]) {
        let (mut before, mut together) = (Vec::new(), Vec::new());
        for suite in &service.suites {
            if !suite.beside {
                before = std::mem::take(&mut together);
            }
            let id = Id {
                part: suite.part().map(str::to_owned),
                ..self.own(Step::RunSuite, service)
            };
            let needs = ready.iter().chain(&before).cloned().collect();
            self.add(id.clone(), needs, suite.longest().as_secs());
            together.push(id);
        }
        for hook in &service.after {
            let id = Id {
                part: Some(hook.name.clone()),
                ..self.own(Step::After, service)
            };
            self.add(id.clone(), together, hook.deadline.as_secs());
            together = vec![id];
        }
    }
}

/// A stage of a part that services share.
fn of_part(step: Step, name: &str) -> Id {
    Id {
        part: Some(name.to_owned()),
        ..step.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    fn chosen(names: &[&str]) -> Chosen {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Table::load(None).unwrap().choose(&names, false).unwrap()
    }

    #[test]
    fn every_stage_comes_after_what_it_needs() {
        for names in [&["gateway"][..], &["gateway", "datastorage"]] {
            for place in [Target::Kind, Target::Local] {
                let plan = plan(&chosen(names), place, Until::Done);
                for (at, stage) in plan.stages.iter().enumerate() {
                    for need in &stage.needs {
                        let found = plan.stages[..at].iter().any(|earlier| earlier.id == *need);
                        assert!(
                            found,
                            "{:?} needs {need:?}, which does not come before it on {place:?}",
                            stage.id
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn suites_come_one_after_the_other_and_beside_the_one_before_where_they_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("services.toml");
        let suite = |name: &str, more: &str| {
            format!("{{ name = \"{name}\", command = [\"true\"], deadline_seconds = 60{more} }}")
        };
        let suites = [
            suite("a", ", retries = 2"),
            suite("b", ", beside = true"),
            suite("c", ""),
        ];
        let text = format!(
            "[[service]]\nname = \"widget\"\nnamespace = \"widget\"\nprofile = \"gateway\"\ncomponents = [\"postgres\"]\nports = {{}}\nsuite = [{}]\n",
            suites.join(", ")
        );
        std::fs::write(&file, text).unwrap();
        let table = Table::load(Some(&file)).unwrap();
        let widget = table.find("widget").unwrap();
        for plan in [
            plan(
                &table.together(vec![widget.clone()]),
                Target::Local,
                Until::Done,
            ),
            retest(std::slice::from_ref(widget), widget, Target::Local),
        ] {
            let of = |name: &str| {
                let mut stages = plan.stages.iter();
                let stage = stages.find(|stage| stage.id.title() == name).unwrap();
                let suites = stage.needs.iter().filter_map(|need| need.part.clone());
                (suites.collect::<Vec<_>>(), stage.deadline.as_secs())
            };
            assert_eq!(of("run suite a"), (vec![], 180), "three attempts");
            assert_eq!(of("run suite b"), (vec![], 60));
            assert_eq!(
                of("run suite c"),
                (vec!["a".to_owned(), "b".to_owned()], 60)
            );
        }
    }

    #[test]
    fn real_services_of_one_namespace_share_a_data_storage_in_a_cluster_and_not_here() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("services.toml");
        let entry = |name: &str| {
            format!(
                "[[service]]\nname = \"{name}\"\nnamespace = \"shared\"\nprofile = \"gateway\"\n\
                components = [\"postgres\", \"datastorage\", \"own\"]\nsuite = {{ command = [\"true\"] }}\n"
            )
        };
        std::fs::write(&file, entry("one") + &entry("two")).unwrap();
        let table = Table::load(Some(&file)).unwrap();
        let names = ["one".to_owned(), "two".to_owned()];
        let chosen = table.choose(&names, false).unwrap();
        let stage = |plan: &Plan, name: &str| {
            let mut stages = plan.stages.iter();
            let stage = stages.find(|stage| stage.id.name() == name)?;
            Some(stage.needs.iter().map(Id::name).collect::<Vec<_>>())
        };
        let plan_on = |place| plan(&chosen, place, Until::Done);
        let kind = plan_on(Target::Kind);
        assert_eq!(stage(&kind, "two: deploy Data Storage"), None);
        let migrate = stage(&kind, "two: migrate").unwrap();
        assert_eq!(migrate, ["wait for PostgreSQL", "one: migrate"]);
        let deploy = stage(&kind, "two: deploy service").unwrap();
        assert_eq!(deploy, ["one: wait for Data Storage", "two: migrate"]);
        assert!(stage(&plan_on(Target::Local), "two: deploy Data Storage").is_some());
    }

    #[test]
    fn coverage_is_collected_after_the_evidence_and_before_anything_is_removed() {
        let plan = plan(&chosen(&["gateway"]), Target::Kind, Until::Done).collecting_coverage();
        let names: Vec<_> = plan.stages.iter().map(|stage| stage.id.name()).collect();
        let last = ["collect evidence", "collect coverage", "tear down"];
        assert_eq!(names[names.len() - 3..], last);
        let of = |step: Step| plan.stages.iter().find(|stage| stage.id.step == step);
        let needs = &of(Step::TearDown).unwrap().needs;
        assert_eq!(*needs, [Id::from(Step::CollectCoverage)]);
    }

    #[test]
    fn up_builds_and_runs_no_suite() {
        let plan = plan(&chosen(&["gateway"]), Target::Kind, Until::Ready);
        let steps: Vec<_> = plan.stages.iter().map(|stage| stage.id.step).collect();
        assert_eq!(steps.last(), Some(&Step::AwaitService));
        assert!(!steps.contains(&Step::BuildSuite));
    }

    #[test]
    fn services_share_the_cluster_and_have_the_rest_to_themselves() {
        let plan = plan(
            &chosen(&["gateway", "notification"]),
            Target::Kind,
            Until::Done,
        );
        let count = |step| {
            plan.stages
                .iter()
                .filter(|stage| stage.id.step == step)
                .count()
        };
        assert_eq!(
            (count(Step::CreateCluster), count(Step::DeployPostgres)),
            (1, 1)
        );
        assert_eq!(
            (
                count(Step::Migrate),
                count(Step::DeployDataStorage),
                count(Step::RunSuite)
            ),
            (2, 2, 2)
        );
        let suite = plan
            .stages
            .iter()
            .find(|stage| stage.id.name() == "gateway: run suite")
            .unwrap();
        assert!(
            suite
                .needs
                .iter()
                .all(|need| need.service.as_deref() != Some("notification"))
        );
    }
}
