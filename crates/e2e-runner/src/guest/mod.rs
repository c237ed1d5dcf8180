//! A run as a guest of an existing cluster: which one, by whose leave, and what is missing there before anything is made (D37).
//!
//! Modules, each may import those after it: `allowed`, `kubeconfig`, `role`, `reviews`, `rights`, `server`

pub mod allowed;
pub mod kubeconfig;
pub mod reviews;
pub mod rights;
pub mod role;
pub mod server;

use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::process::{Command, Runner};
use crate::table::cluster::{self, Cluster};
use crate::table::{Chosen, Table};
use allowed::Allowed;
use kubeconfig::{Kubeconfig, Seen};
use rights::{Needed, Right, Uses};

/// How long a run waits for room where nothing says it.
const WAIT_FOR_ROOM: Duration = Duration::from_mins(10);

/// What the command line says of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The context.
    pub context: String,
    /// The kubeconfig that has it.
    pub kubeconfig: Option<PathBuf>,
    /// Namespaces to use.
    pub namespaces: Vec<String>,
    /// The registry to push to.
    pub registry: Option<String>,
    /// Whether pods pull by a Secret of this machine's credentials.
    pub pull_secret: bool,
    /// A PostgreSQL server to use.
    pub postgres_url: Option<String>,
}

/// An existing cluster as a run uses it.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The context's name.
    pub context: String,
    /// The user's kubeconfig.
    pub kubeconfig: Kubeconfig,
    /// The address of its API server, for messages.
    pub server: String,
    /// Namespaces that are used instead of making some.
    pub namespaces: Vec<String>,
    /// Whether the cluster makes who makes a namespace its administrator.
    pub creator_becomes_admin: bool,
    /// Where images are pushed.
    pub registry: Option<String>,
    /// Whether that is reached without TLS.
    pub insecure_registry: bool,
    /// Whether pods pull by a Secret of this machine's credentials.
    pub pull_secret: bool,
    /// A PostgreSQL server that is used instead of deploying one, without its password.
    pub postgres_url: Option<String>,
    /// How long a run waits for quotas and nodes that are full.
    pub wait_for_room: Duration,
    /// Where it is said that runs may use it.
    pub allowed_by: Vec<String>,
    /// What should be known of the kubeconfig, each with what puts it right.
    pub notes: Vec<(String, String)>,
}

impl Guest {
    /// The cluster that the command line names, if runs may use it. The API server is not asked yet.
    pub fn choose(runner: &Runner, table: &Table, wanted: &Wanted) -> Result<Self, Failure> {
        let (said, allowed_by) = Allowed::of(table)?.find(&wanted.context)?;
        let seen = Self::look(runner, wanted)?;
        Self::of(wanted, said, allowed_by, seen)
    }

    /// What the kubeconfig says of the context.
    pub fn look(runner: &Runner, wanted: &Wanted) -> Result<(Kubeconfig, Seen), Failure> {
        let kubeconfig = Kubeconfig::find(wanted.kubeconfig.as_deref())?;
        let seen = kubeconfig.look(runner, &wanted.context)?;
        Ok((kubeconfig, seen))
    }

    /// The cluster of a context: what the command line says of it wins over what is written down.
    pub fn of(
        wanted: &Wanted,
        said: Cluster,
        allowed_by: Vec<String>,
        (kubeconfig, seen): (Kubeconfig, Seen),
    ) -> Result<Self, Failure> {
        let wrong = |flag: &str, why: String| {
            let what = format!("{flag}: {why}");
            Err(Failure::new(Exit::Usage, what).hint(format!("correct {flag}")))
        };
        if !wanted.namespaces.is_empty()
            && let Err(why) = cluster::namespaces_given(&wanted.namespaces)
        {
            return wrong("--namespace", why);
        }
        if let Some(registry) = &wanted.registry
            && let Err(why) = cluster::registry(registry)
        {
            return wrong("--registry", why);
        }
        let namespaces = match wanted.namespaces.as_slice() {
            [] => said.namespaces.unwrap_or_default(),
            given => given.to_vec(),
        };
        let wait = said.wait_for_room_seconds.map(Duration::from_secs);
        let guest = Self {
            context: wanted.context.clone(),
            kubeconfig,
            server: seen.server,
            namespaces,
            creator_becomes_admin: said.creator_becomes_admin.unwrap_or_default(),
            registry: wanted.registry.clone().or(said.registry),
            insecure_registry: said.insecure_registry.unwrap_or_default(),
            pull_secret: wanted.pull_secret || said.pull_secret.unwrap_or_default(),
            postgres_url: wanted.postgres_url.clone().or(said.postgres_url),
            wait_for_room: wait.unwrap_or(WAIT_FOR_ROOM),
            allowed_by,
            notes: seen.notes,
        };
        if guest.pull_secret && guest.registry.is_none() {
            let what = "a pull Secret is wanted, and no registry is named that it could be for";
            return Err(Failure::new(Exit::Usage, what)
                .hint("name it: --registry HOST/PATH, or `registry` of the cluster's entry"));
        }
        Ok(guest)
    }

    /// Why a run takes place there, in a line.
    pub fn why(&self) -> String {
        format!(
            "--context {} at {}, allowed by {}",
            self.context,
            self.server,
            self.allowed_by.join(" and ")
        )
    }

    /// What an environment there is told apart by from one elsewhere.
    pub fn place(&self) -> String {
        let words = [from_ref(&self.context), &self.namespaces[..]].concat();
        words.join(" ")
    }

    /// kubectl with the user's kubeconfig and this context, for questions before a run has a copy.
    pub fn kubectl(&self, runner: &Runner) -> Command {
        let context = ["--context", &self.context, "--request-timeout", "10s"];
        self.kubeconfig.kubectl(runner).args(context)
    }

    /// Writes a kubeconfig with this context alone, as its current one, for the run and nobody else. Its secrets are those of
    /// [`kubeconfig::secrets_of`] the file.
    pub fn kubeconfig_into(&self, runner: &Runner, path: &Path) -> Result<(), Failure> {
        self.kubeconfig.copy(runner, &self.context, path)
    }

    /// The rights that a run of these services needs there.
    pub fn needs(&self, chosen: &Chosen, uses: Uses) -> Needed {
        let uses = Uses {
            creator_becomes_admin: self.creator_becomes_admin,
            ..uses
        };
        rights::needed(chosen, &self.namespaces, uses)
    }

    /// Fails where something is missing that a run of these services needs, before anything is made. `kubectl` is one that reaches the
    /// cluster. Returns what should be known.
    pub fn preflight(
        &self,
        kubectl: &Command,
        chosen: &Chosen,
        uses: Uses,
    ) -> Result<Vec<String>, Failure> {
        let told = |failure: Failure| Failure {
            summary: format!(
                "{} of the context `{}`: {}",
                self.server, self.context, failure.summary
            ),
            ..failure
        };
        server::versions(kubectl).map_err(told)?;
        let mut notes: Vec<String> = self.notes.iter().map(|(what, _)| what.clone()).collect();
        for name in &self.namespaces {
            let found = server::namespace(kubectl, name)?;
            notes.extend(
                found
                    .full
                    .iter()
                    .map(|full| format!("namespace {name}: {full}")),
            );
        }
        let needed = self.needs(chosen, uses);
        let missing = reviews::missing(kubectl, &needed.rights).map_err(told)?;
        let unread = needed.unread.iter();
        notes.extend(
            unread.map(|what| format!("not known beforehand which rights it needs: {what}")),
        );
        match self.lacks(&missing, chosen) {
            Some(failure) => Err(failure),
            None => Ok(notes),
        }
    }

    /// The failure of rights that are missing.
    pub fn lacks(&self, missing: &[Right], chosen: &Chosen) -> Option<Failure> {
        if missing.is_empty() {
            return None;
        }
        let count = missing.len();
        let (rights, are) = if count == 1 {
            ("right", "is")
        } else {
            ("rights", "are")
        };
        let what = format!(
            "{count} {rights} that a run needs on the context `{}` {are} missing",
            self.context
        );
        let services = chosen.services.iter().map(|service| &*service.name);
        let services: Vec<&str> = services.collect();
        Some(
            Failure::new(Exit::Preflight, what)
                .detail(rights::lines(missing).join("\n"))
                .hint(self.next(&services)),
        )
    }

    /// What can be done about rights that are missing.
    pub fn next(&self, services: &[&str]) -> String {
        let kubeconfig = self.kubeconfig.flag();
        let named = |before: &str, names: &[&str]| {
            let words = names.iter().flat_map(|name| [before, *name]);
            words.collect::<String>()
        };
        let namespaces: Vec<&str> = self.namespaces.iter().map(String::as_str).collect();
        let namespaces = named(" --namespace ", &namespaces);
        let services = named(" ", services);
        let role = format!(
            "let an administrator apply what `cargo xtask doctor{services} --target cluster --context {}{kubeconfig}{namespaces} --print-role` prints",
            self.context
        );
        if self.namespaces.is_empty() {
            format!("{role}, or use a namespace in which you are administrator: --namespace NAME")
        } else {
            format!("{role}, or give another namespace: --namespace NAME")
        }
    }
}
