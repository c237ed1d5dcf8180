//! A service that has end-to-end tests: its database, its Data Storage, its own part and its suites.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::table::hook::Hook;
use crate::table::image::Image;
use crate::table::part::{Certificate, Deadlines, Mount, Part, Publish, Ready, label};
use crate::table::source::Source;
use crate::table::suite::{self, Asked, Suite};

/// One service that has end-to-end tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Entry")]
pub struct Service {
    /// Its name, as people type it: a DNS label (RFC 1123), for it is part of namespaces and Kubernetes names.
    pub name: String,
    /// The migration profile that its database gets.
    pub profile: String,
    /// The Kubernetes namespace it runs in.
    pub namespace: String,
    /// What is set up for it.
    pub components: Vec<Component>,
    /// How many Data Storage pods answer behind its Service on Kind, each with a queue of its own that outlives its pod.
    pub replicas: u16,
    /// Who may call its Data Storage.
    pub callers: Callers,
    /// Its host ports.
    pub ports: Ports,
    /// The ports of the tier without a cluster, for suites that used a compose file (D8).
    pub integration: Option<Integration>,
    /// The service itself, where the table has it.
    pub own: Part,
    /// The parts that are ready before it is deployed, by name.
    pub parts: Vec<String>,
    /// Whether it never shares a run with another service.
    pub alone: bool,
    /// Commands between ready and the suite.
    pub before: Vec<Hook>,
    /// Commands after the suite, whatever came of it.
    pub after: Vec<Hook>,
    /// The tests, in their order; a service without them is refused by `e2e`.
    pub suites: Vec<Suite>,
    /// Whether it stands for the tool's own entry of that name.
    pub replaces: bool,
}

/// A service as the table has it: what is its own part stands beside the rest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    profile: String,
    namespace: String,
    components: Vec<Component>,
    #[serde(default = "one")]
    replicas: u16,
    #[serde(default)]
    callers: Callers,
    #[serde(default)]
    ports: Ports,
    integration: Option<Integration>,
    #[serde(default)]
    parts: Vec<String>,
    #[serde(default)]
    alone: bool,
    #[serde(default)]
    before: Vec<Hook>,
    #[serde(default)]
    after: Vec<Hook>,
    #[serde(default, deserialize_with = "suite::one_or_several")]
    suite: Vec<Suite>,
    #[serde(default)]
    images: Vec<Image>,
    #[serde(default)]
    manifests: Vec<Source>,
    #[serde(default)]
    ready: Vec<Ready>,
    #[serde(default)]
    publish: Vec<Publish>,
    #[serde(default)]
    process: Vec<String>,
    ready_path: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    passwords: Vec<String>,
    #[serde(default)]
    certificates: Vec<Certificate>,
    #[serde(default)]
    mounts: Vec<Mount>,
    restarts: Option<u32>,
    #[serde(default)]
    cluster_wide: bool,
    #[serde(default)]
    deadlines: Deadlines,
}

impl From<Entry> for Service {
    fn from(entry: Entry) -> Self {
        let mut publish = entry.publish;
        if publish.is_empty() && entry.components.contains(&Component::Own) {
            // The Service of the service's name, where it has one.
            publish.push(Publish {
                env: e2e_env::SERVICE_URL.to_owned(),
                service: None,
                namespace: None,
                port: None,
                scheme: None,
                host: entry.ports.service,
                integration: None,
                is_optional: true,
            });
        }
        let own = Part {
            name: entry.name.clone(),
            namespace: Some(entry.namespace.clone()),
            images: entry.images,
            manifests: entry.manifests,
            ready: entry.ready,
            publish,
            process: entry.process,
            ready_path: entry.ready_path,
            env: entry.env,
            passwords: entry.passwords,
            certificates: entry.certificates,
            mounts: entry.mounts,
            restarts: entry.restarts,
            cluster_wide: entry.cluster_wide,
            deadlines: entry.deadlines,
            is_service: true,
            ..Part::default()
        };
        Self {
            name: entry.name,
            profile: entry.profile,
            namespace: entry.namespace,
            components: entry.components,
            replicas: entry.replicas,
            callers: entry.callers,
            ports: entry.ports,
            integration: entry.integration,
            own,
            parts: entry.parts,
            alone: entry.alone,
            before: entry.before,
            after: entry.after,
            suites: suite::named(entry.suite),
            replaces: false,
        }
    }
}

/// The service whose PostgreSQL database and Data Storage another one of a run uses in a cluster: real services of one namespace know
/// Data Storage by one name there, so that of the first is that of all. A service alone in its namespace, or played by a fake, has its
/// own.
pub fn storage_of<'a>(services: &'a [Service], service: &'a Service) -> &'a Service {
    let is_real = |other: &Service| other.has(Component::Own);
    let mut together = services
        .iter()
        .filter(|other| is_real(service) && is_real(other));
    let first = together.find(|other| other.namespace == service.namespace);
    first.unwrap_or(service)
}

fn one() -> u16 {
    1
}

/// Something that is set up for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// PostgreSQL with the service's migrations.
    Postgres,
    /// Data Storage on that database.
    Datastorage,
    /// A second Data Storage on a database without any migration.
    Unmigrated,
    /// A fake that plays the service's scenarios.
    #[serde(alias = "double")]
    Fake,
    /// A relay beside the fake, which then has no audit store of its own (D40).
    Relay,
    /// The service itself, by its images, manifests and process.
    Own,
}

impl Component {
    /// The part that it means; `own` is that of the service.
    pub const fn part(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Datastorage => "datastorage",
            Self::Unmigrated => "unmigrated",
            Self::Fake => "fake",
            Self::Relay => "relay",
            Self::Own => "own",
        }
    }
}

/// Who may call a Data Storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Callers {
    /// Whoever reaches it: services of before send no token.
    #[default]
    Anyone,
    /// Whoever has the run's token.
    Token,
}

/// The host ports of a service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// What happens when one of them is taken.
    #[serde(default)]
    pub policy: Policy,
    /// Data Storage's, by DD-TEST-001.
    pub datastorage: Option<u16>,
    /// The service's own.
    pub service: Option<u16>,
}

/// Whether a service insists on its host ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Asks for its own numbers and leases others where they are taken.
    #[default]
    Preferred,
    /// Fails where they are taken.
    Fixed,
}

/// The ports of the integration tier.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Integration {
    /// PostgreSQL's.
    pub postgres: u16,
    /// Data Storage's.
    pub datastorage: u16,
}

/// How many replicas of Data Storage one database serves: each may open 16 connections, and the server takes 200.
const MOST_REPLICAS: u16 = 9;

impl Service {
    /// The directory that its paths start from: that of its file, or the checkout.
    pub fn root(&self) -> &std::path::Path {
        &self.own.root
    }

    /// The table that it is from, as it was named.
    pub fn table(&self) -> &str {
        &self.own.table
    }

    /// Whether a component is set up for it.
    pub fn has(&self, component: Component) -> bool {
        self.components.contains(&component)
    }

    /// Leaves of its suites those that a command line asks for; one that has none yet is refused.
    pub fn choose_suites(&mut self, asked: &Asked) -> Result<(), Failure> {
        if self.suites.is_empty() {
            let what = format!("the service `{}` has no suite yet", self.name);
            return Err(Failure::new(Exit::Usage, what).hint(format!(
                "add `suite` to its entry in the table of services, or use `cargo xtask migrate --profile {}`",
                self.profile
            )));
        }
        asked.choose(&self.name, &self.own.table, &mut self.suites)
    }

    /// All that no type can say about an entry.
    pub(super) fn faults(&self) -> Vec<String> {
        let names = [("name", &self.name), ("namespace", &self.namespace)];
        let names = names
            .into_iter()
            .filter_map(|(what, name)| label(what, name).err());
        let mut faults: Vec<String> = names.collect();
        for (component, other, words) in [
            (
                Component::Datastorage,
                Component::Postgres,
                "`datastorage` needs `postgres`",
            ),
            (
                Component::Unmigrated,
                Component::Datastorage,
                "`unmigrated` needs `datastorage`",
            ),
            (
                Component::Fake,
                Component::Datastorage,
                "`fake` needs `datastorage`",
            ),
            (Component::Relay, Component::Fake, "`relay` needs `fake`"),
        ] {
            if self.has(component) && !self.has(other) {
                faults.push(words.to_owned());
            }
        }
        if !(1..=MOST_REPLICAS).contains(&self.replicas) {
            faults.push(format!("`replicas` is 1 to {MOST_REPLICAS}"));
        }
        if self.replicas > 1 && !self.has(Component::Datastorage) {
            faults.push("`replicas` belongs to the component `datastorage`".to_owned());
        }
        if self.has(Component::Fake) && self.has(Component::Own) {
            faults.push("components hold the service itself or its fake, not both".to_owned());
        }
        if !self.own.is_empty() && !self.has(Component::Own) {
            faults.push("images, manifests and process belong to the component `own`".to_owned());
        }
        faults.extend(self.own.faults_of_fields());
        faults.extend(suite::check(&self.suites).err());
        faults
    }
}
