//! An existing cluster that runs may use, by the name of its context: `[clusters."NAME"]` (D37).

use postgres_url::PostgresUrl;
use serde::Deserialize;

use crate::table::part::label;

/// What an entry may say.
pub(super) const FIELDS: [&str; 7] = [
    "registry",
    "insecure_registry",
    "pull_secret",
    "namespaces",
    "creator_becomes_admin",
    "postgres_url",
    "wait_for_room_seconds",
];
/// The longest that a run may wait for room.
const LONGEST_WAIT: u64 = 24 * 60 * 60;

/// A cluster that runs may use. What it leaves out is said elsewhere, or is not wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Where a run's images are pushed, as `HOST[:PORT][/PATH]`.
    pub registry: Option<String>,
    /// Whether that registry is reached without TLS.
    pub insecure_registry: Option<bool>,
    /// Whether pods pull by a Secret that is made of this machine's credentials for that registry.
    pub pull_secret: Option<bool>,
    /// The namespaces that runs use instead of making some.
    pub namespaces: Option<Vec<String>>,
    /// Whether the cluster makes who has made a namespace its administrator, as some do by an operator of theirs.
    pub creator_becomes_admin: Option<bool>,
    /// A PostgreSQL server that runs use instead of deploying one; its password is not written down here.
    pub postgres_url: Option<String>,
    /// How long a run waits for quotas and nodes that are full.
    pub wait_for_room_seconds: Option<u64>,
    /// The name of the context in a kubeconfig.
    #[serde(skip)]
    pub context: String,
    /// The file that it is from, as it was named.
    #[serde(skip)]
    pub file: String,
    /// The line of that file on which it begins.
    #[serde(skip)]
    pub line: usize,
}

impl Cluster {
    /// Where it stands.
    pub fn place(&self) -> String {
        format!("{}, line {}", self.file, self.line)
    }

    /// The same with what it leaves out taken from another entry for the same context.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            registry: self.registry.or(other.registry),
            insecure_registry: self.insecure_registry.or(other.insecure_registry),
            pull_secret: self.pull_secret.or(other.pull_secret),
            namespaces: self.namespaces.or(other.namespaces),
            creator_becomes_admin: self.creator_becomes_admin.or(other.creator_becomes_admin),
            postgres_url: self.postgres_url.or(other.postgres_url),
            wait_for_room_seconds: self.wait_for_room_seconds.or(other.wait_for_room_seconds),
            ..self
        }
    }

    /// What is wrong with it, each in a line.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.context.trim().is_empty() {
            faults.push("a context has a name".to_owned());
        }
        faults.extend(
            self.registry
                .as_deref()
                .and_then(|text| registry(text).err()),
        );
        let namespaces = self.namespaces.iter();
        faults.extend(namespaces.filter_map(|names| namespaces_given(names).err()));
        faults.extend(
            self.postgres_url
                .as_deref()
                .and_then(|url| server(url).err()),
        );
        if self
            .wait_for_room_seconds
            .is_some_and(|seconds| seconds > LONGEST_WAIT)
        {
            faults.push(format!(
                "wait_for_room_seconds is {LONGEST_WAIT} at most, which is a day"
            ));
        }
        faults
    }
}

/// Refuses what is no registry to push to.
pub fn registry(text: &str) -> Result<(), String> {
    let host = text.split('/').next().unwrap_or_default();
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:/[]".contains(&byte);
    if text.contains("://") || host.is_empty() || text.ends_with('/') || !text.bytes().all(inside) {
        return Err(format!(
            "the registry `{text}` is not HOST[:PORT][/PATH], without a scheme, a tag or a name and password"
        ));
    }
    Ok(())
}

/// Refuses names that are no namespaces for a run.
pub fn namespaces_given(names: &[String]) -> Result<(), String> {
    if names.is_empty() {
        return Err("no namespace is named: name one, or leave `namespaces` out".to_owned());
    }
    for (at, name) in names.iter().enumerate() {
        label(&format!("the namespace `{name}`"), name)?;
        if name.starts_with("kube-") {
            return Err(format!(
                "the namespace `{name}` is the cluster's own, and no run's"
            ));
        }
        if names[..at].contains(name) {
            return Err(format!("the namespace `{name}` is named twice"));
        }
    }
    Ok(())
}

/// Refuses a server's URL that could not be used, or that holds the password.
fn server(text: &str) -> Result<(), String> {
    let url: PostgresUrl = text
        .parse()
        .map_err(|error| format!("postgres_url: {error}"))?;
    if url.password().is_some() {
        return Err(
            "postgres_url holds a password: take it out, and give it in PGPASSWORD".to_owned(),
        );
    }
    Ok(())
}
