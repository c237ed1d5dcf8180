//! A part of an environment: what is deployed once, how it is known to be ready, and what it publishes (D39).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::table::image::{Build, Image};
use crate::table::source::Source;

/// A part: a service itself, or something beside it that several services may share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Part {
    /// Its name: a DNS label (RFC 1123). A service's own part has the service's.
    pub name: String,
    /// The namespace of those of its objects that name none; that of the first service that uses it, where it is left out.
    pub namespace: Option<String>,
    /// The parts that are ready before it is deployed, by name; `postgres` and `datastorage` are those of the service.
    pub needs: Vec<String>,
    /// Images that its manifests name, brought into the node.
    pub images: Vec<Image>,
    /// What is applied, in this order.
    pub manifests: Vec<Source>,
    /// How it is known to be ready; every workload that was applied, where it is left out.
    pub ready: Vec<Ready>,
    /// What of it this machine reaches.
    pub publish: Vec<Publish>,
    /// The part as a process of this machine, for the local target.
    pub process: Vec<String>,
    /// The path on which the local process answers with 2xx once it is ready.
    pub ready_path: Option<String>,
    /// Variables of its process, and of the suite where it is a service's own part, besides the tool's own.
    pub env: BTreeMap<String, String>,
    /// Names of passwords that are made once for each run.
    pub passwords: Vec<String>,
    /// Certificates that the run's authority signs, each a Secret of type `kubernetes.io/tls`.
    pub certificates: Vec<Certificate>,
    /// Directories of this machine that the node sees.
    pub mounts: Vec<Mount>,
    /// How often one of its containers may end before it counts as dead.
    pub restarts: Option<u32>,
    /// Whether its manifests may have objects of a whole cluster, such as definitions of custom resources, where others use it too.
    pub cluster_wide: bool,
    /// How long its stages may take.
    pub deadlines: Deadlines,
    /// The directory that its paths start from.
    #[serde(skip)]
    pub root: PathBuf,
    /// The table that it is from, as it was named.
    #[serde(skip)]
    pub table: String,
    /// The line of that table on which it begins.
    #[serde(skip)]
    pub line: usize,
    /// Whether it is the service that is tested.
    #[serde(skip)]
    pub is_service: bool,
}

/// How a part is known to be ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "`ready` is a label, or one of { crd }, { rollout, namespace }, { webhook }, { secret }, { http, on }, { tcp }, { run }"
)]
pub enum Ready {
    /// Pods by label, after `NAMESPACE/` where they are in another namespace.
    Pods(String),
    /// A definition of custom resources is served.
    Crd(Crd),
    /// A workload runs with all its pods.
    Rollout(Rollout),
    /// An admission webhook's configuration names a service that answers.
    Webhook(Webhook),
    /// A Secret is there, which a controller makes.
    Secret(Secret),
    /// A published port answers a request with 2xx.
    Http(Http),
    /// A published port keeps a connection.
    Tcp(Tcp),
    /// A command exits with 0.
    Run(Command),
}

/// `{ crd = "widgets.example.io" }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crd {
    /// The definition's name.
    pub crd: String,
}

/// `{ rollout = "deployment/operator", namespace = "operators" }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Kind and name, as `kubectl rollout status` takes them.
    pub rollout: String,
    /// Its namespace, where it is another one.
    pub namespace: Option<String>,
}

/// `{ webhook = "validating/widgets" }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `validating/NAME` or `mutating/NAME` of a configuration.
    pub webhook: String,
}

/// `{ secret = "operators/webhook-cert" }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// Its name, after `NAMESPACE/` where it is in another namespace.
    pub secret: String,
}

/// `{ http = "/healthz", on = "GATEWAY_URL" }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The path.
    pub http: String,
    /// The variable of the published port; the first one's, where it is left out.
    pub on: Option<String>,
}

/// `{ tcp = "VALKEY_URL" }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// The variable of the published port.
    pub tcp: String,
}

/// `{ run = ["./is-ready.sh"] }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments.
    pub run: Vec<String>,
}

/// A port that this machine reaches.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The variable that gets its address.
    pub env: String,
    /// The Kubernetes Service; that of the part's name, where it is left out.
    pub service: Option<String>,
    /// The Service's namespace, where it is another one than the part's.
    pub namespace: Option<String>,
    /// The Service's port; its first one, where it is left out.
    pub port: Option<u16>,
    /// What stands before `://` of the address; `http`, where it is left out. Empty: the address is `host:port`.
    pub scheme: Option<String>,
    /// The port of this machine that is asked for.
    pub host: Option<u16>,
    /// The port of this machine in the integration tier.
    pub integration: Option<u16>,
    /// Whether it is no mistake that there is no such Service.
    #[serde(skip)]
    pub is_optional: bool,
}

impl Publish {
    /// The address of `host:port`.
    pub fn url(&self, address: &str) -> String {
        match self.scheme.as_deref().unwrap_or("http") {
            "" => address.to_owned(),
            scheme => format!("{scheme}://{address}"),
        }
    }
}

/// A certificate of the run's authority.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The Secret's name; its data are `tls.crt`, `tls.key` and `ca.crt`.
    pub secret: String,
    /// The Secret's namespace, where it is another one than the part's.
    pub namespace: Option<String>,
    /// The names and addresses that it is for.
    pub hosts: Vec<String>,
}

/// A directory of this machine that the node sees.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The directory; made if it is not there.
    pub host: PathBuf,
    /// Its path in the node.
    pub node: PathBuf,
}

/// How long the stages of a part may take, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadlines {
    images: Option<u64>,
    apply: Option<u64>,
    ready: Option<u64>,
}

impl Deadlines {
    /// For its images to be built, pulled and brought into the node: ten minutes, where the table does not say.
    pub fn images(self) -> Duration {
        Duration::from_secs(self.images.unwrap_or(600))
    }

    /// For its objects to be applied, or its process to listen: two minutes.
    pub fn apply(self) -> Duration {
        Duration::from_secs(self.apply.unwrap_or(120))
    }

    /// For it to be ready: three minutes.
    pub fn ready(self) -> Duration {
        Duration::from_secs(self.ready.unwrap_or(180))
    }
}

impl Part {
    /// The package of the Rust program that it is, where one of its images is built so.
    pub fn package(&self) -> Option<&str> {
        self.images.iter().find_map(|image| match &image.build {
            Some(Build::Cargo(cargo)) => Some(cargo.cargo.as_str()),
            _ => None,
        })
    }

    /// Whether its process is a program that its images are made of: `${binary:IMAGE}`.
    pub fn runs_built_program(&self) -> bool {
        self.process.iter().any(|word| word.contains("${binary:"))
    }

    /// Whether its programs are a team's own, whose coverage says something.
    pub fn is_covered(&self) -> bool {
        let is_built = self.images.iter().any(|image| image.build.is_some());
        is_built || (self.is_service && !self.is_empty())
    }

    /// Whether there is anything of it.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
            && self.manifests.is_empty()
            && self.process.is_empty()
            && self.certificates.is_empty()
    }
}

/// The file of the tool's own parts, whose variables are those that others may not take.
pub(super) const PARTS_FILE: &str = "kind/parts.toml";

fn is_reserved(variable: &str) -> bool {
    variable.starts_with("E2E_") || RESERVED.contains(&variable)
}

/// Variables that mean something to the tool, to a suite or to every program.
const RESERVED: [&str; 12] = [
    e2e_env::DATABASE_URL,
    e2e_env::DATASTORAGE_URL,
    e2e_env::DATASTORAGE_TOKEN_FILE,
    e2e_env::KUBECONFIG,
    e2e_env::PGPASSWORD,
    e2e_env::fake::LISTEN_ADDRESS,
    "CA_CERT",
    "HOME",
    "NAMESPACE",
    "NODE",
    "PATH",
    "USER",
];

impl Part {
    /// Its place in its table, for people.
    pub fn place(&self) -> String {
        format!("{}, line {}", self.table, self.line)
    }

    /// All that no type can say about an entry of its own.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::from_iter(label("name", &self.name).err());
        let namespace = self.namespace.iter();
        faults.extend(namespace.filter_map(|name| label("namespace", name).err()));
        faults.extend(self.faults_of_fields());
        faults
    }

    /// All that no type can say about its fields.
    pub(super) fn faults_of_fields(&self) -> Vec<String> {
        let images = self.images.iter().filter_map(|image| image.check().err());
        let mut faults: Vec<String> = images.collect();
        let variables = self.publish.iter().map(|publish| &publish.env);
        let mut made: Vec<&String> = Vec::new();
        for name in variables.clone().chain(&self.passwords) {
            if made.contains(&name) {
                faults.push(format!("`{name}` is a variable of it twice"));
            } else if self.table != PARTS_FILE && is_reserved(name) {
                faults.push(format!(
                    "`{name}` is a variable of the tool or of the shell: take another"
                ));
            }
            made.push(name);
        }
        let names = variables.chain(&self.passwords).chain(self.env.keys());
        faults.extend(names.filter_map(|name| variable(name).err()));
        for source in &self.manifests {
            if matches!(source, Source::Output(output) if output.run.is_empty()) {
                faults.push("`run` of `manifests` is empty".to_owned());
            }
        }
        let known = |name: &str| self.publish.iter().any(|publish| publish.env == name);
        for ready in &self.ready {
            let on = match ready {
                Ready::Http(http) if self.publish.is_empty() && http.on.is_none() => Some(""),
                Ready::Http(http) => http.on.as_deref(),
                Ready::Tcp(tcp) => Some(&*tcp.tcp),
                _ => None,
            };
            if let Some(name) = on.filter(|name| !known(name)) {
                faults.push(format!(
                    "`ready` asks `{name}`, which is no variable of its `publish`"
                ));
            }
        }
        for mount in &self.mounts {
            if !mount.node.is_absolute() {
                let node = mount.node.display();
                faults.push(format!(
                    "the mount in the node, {node}, is no absolute path"
                ));
            }
        }
        faults
    }
}

/// Refuses what is no DNS label (RFC 1123), with room for what Kubernetes adds to it.
pub(super) fn label(field: &str, text: &str) -> Result<(), String> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=40).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        return Ok(());
    }
    Err(format!(
        "{field} must be lower-case letters, digits and dashes, 40 at most (RFC 1123)"
    ))
}

/// Refuses what no shell takes for a variable's name.
fn variable(name: &str) -> Result<(), String> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fits = !name.is_empty()
        && name.bytes().all(inside)
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if fits {
        return Ok(());
    }
    Err(format!(
        "`{name}` is no name of a variable: letters, digits and underscores"
    ))
}
