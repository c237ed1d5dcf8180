//! A run's state file: who owns the run, until when, and every resource it may have made, written before it is made.
//!
//! All clean-up works from this file alone (D14), so that the run itself, `down` and `reap` do the same thing.

pub mod lock;
pub mod processes;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::process::record::started;
use lock::{Lock, Taken};

/// Something that must be gone after a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "resource", rename_all = "kebab-case")]
pub enum Resource {
    /// A Kind cluster: its container, its volume, its kubeconfig.
    Cluster {
        /// The cluster's name, which carries the run.
        name: String,
    },
    /// A prepared node in the making; a finished one is no run's.
    Node {
        /// What it is made from.
        key: String,
    },
    /// A prepared node that is being booted once; what is kept of it is no run's.
    BootedNode {
        /// The name of its cluster.
        name: String,
    },
    /// An embedded PostgreSQL server.
    Postgres {
        /// The directory that holds its data and its state.
        dir: PathBuf,
    },
    /// A database on a server that the user named.
    Database {
        /// Its name.
        name: String,
        /// The file that holds the server's URL with its password.
        url_file: PathBuf,
    },
    /// A namespace that was made in a cluster that others use too.
    Namespace {
        /// Its name, which carries the run.
        name: String,
    },
    /// What carries the run's label in a namespace that was given.
    Guest {
        /// The namespace, which stays.
        namespace: String,
    },
    /// An object of a whole cluster that others use too.
    ClusterObject {
        /// Its kind, with version and group as kubectl takes them: `customresourcedefinitions.v1.apiextensions.k8s.io`.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A container that a suite runs in.
    Container {
        /// Its name, which carries the run.
        name: String,
    },
    /// The processes in its record.
    Processes,
    /// A directory of the run's own.
    Directory {
        /// Its path.
        path: PathBuf,
    },
}

/// What the state file holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The run's identity.
    pub run: String,
    /// The services whose environment this is; what another version of the tool wrote is still released.
    #[serde(default)]
    pub services: Vec<String>,
    /// `kind`, `local` or `cluster`.
    pub target: String,
    /// Which cluster that others use too, and which namespaces were given there.
    #[serde(default)]
    pub place: Option<String>,
    /// The process that answers for the resources; none once they are meant to outlive it.
    pub owner: Option<Owner>,
    /// When the resources may be removed by anybody.
    pub expires: Timestamp,
    /// Everything that may exist, in the order it was made.
    pub resources: Vec<Resource>,
    /// What each layer of a kept environment was made from (D15): layer to fingerprint.
    #[serde(default)]
    pub fingerprints: BTreeMap<String, String>,
    /// The objects that each layer applied to the cluster, as they were then.
    #[serde(default)]
    pub applied: BTreeMap<String, Vec<Applied>>,
    /// What each service's suite is given, without secrets; empty until the environment stands.
    #[serde(default)]
    pub environments: BTreeMap<String, Environment>,
}

/// An object in the cluster, and which state of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Group and version of its kind.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; none for what belongs to the whole cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// What differs once anybody has changed it, or deleted and made it again.
    pub version: String,
    /// The labels of the pods that it makes, if it makes any.
    #[serde(default)]
    pub pods: BTreeMap<String, String>,
    /// How many of them it makes, as far as it says; at least one.
    #[serde(default)]
    pub count: u16,
}

impl Applied {
    /// Whether its kind is one of Kubernetes' own. Objects of other kinds are written by their controllers too, and what ends with one is
    /// not known.
    pub fn is_built_in(&self) -> bool {
        let group = self
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        (!group.contains('.') || group.ends_with(".k8s.io"))
            && self.kind != "CustomResourceDefinition"
    }

    /// Whether both are the same object, in whatever state.
    pub fn is(&self, other: &Self) -> bool {
        (&self.kind, &self.namespace, &self.name) == (&other.kind, &other.namespace, &other.name)
    }
}

/// Variables by name.
pub type Environment = BTreeMap<String, String>;

impl State {
    /// What the suite of a service is given.
    pub fn environment(&self, service: &str) -> Environment {
        self.environments.get(service).cloned().unwrap_or_default()
    }
}

/// A process, told apart from a later one with the same id by its start time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (proc(5), field 22), where the system tells it.
    pub started: Option<u64>,
}

impl Owner {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        Self {
            pid,
            started: started(pid.cast_signed()),
        }
    }

    /// Who runs this process, for others who use the same cluster: user and host, as the value of a label (Kubernetes, "Labels and
    /// Selectors").
    pub fn label() -> String {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
        let user = user.ok().flatten().map(|user| user.name);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
        let names = [user, host.ok().map(|host| host.trim().to_owned())];
        let names: Vec<String> = names.into_iter().flatten().collect();
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
        let label: String = names
            .join(".")
            .chars()
            .map(|letter| if allowed(letter) { letter } else { '-' })
            .take(63)
            .collect();
        let ends = |letter: char| !letter.is_ascii_alphanumeric();
        label.trim_matches(ends).to_owned()
    }

    /// Whether that very process still runs.
    pub fn lives(&self) -> bool {
        let Ok(pid) = i32::try_from(self.pid) else {
            return false;
        };
        let exists = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None)
            != Err(nix::errno::Errno::ESRCH);
        exists && (self.started.is_none() || started(pid) == self.started)
    }
}

/// A run's directory with its state file, kept in step.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    state: Mutex<State>,
    lock: Mutex<Option<Lock>>,
}

/// A state file that is there and cannot be read: of another version of the tool, or cut short.
#[derive(Debug)]
pub struct Unreadable {
    /// The run's directory.
    pub dir: PathBuf,
    /// Why, with the file's path.
    pub why: String,
}

/// Whether this process may work on a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Held {
    /// It may, until it ends or lets the run go.
    Ours,
    /// Another process works on it; its id.
    Busy(String),
    /// The run has been removed meanwhile.
    Gone,
}

impl Run {
    /// Makes the directory of a new run, private to its user, and writes its state.
    pub fn create(
        runs: &Path,
        services: &[String],
        target: &str,
        lifetime: Duration,
    ) -> anyhow::Result<Self> {
        let run = format!(
            "{}-{:06x}",
            label(services),
            rand::random::<u32>() & 0x00ff_ffff
        );
        let dir = runs.join(&run);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("cannot make the run's directory {}", dir.display()))?;
        let lock = match Lock::take(&dir)? {
            Taken::Ours(lock) => lock,
            Taken::Busy(pid) => anyhow::bail!("process {pid} already works on {run}"),
        };
        let state = State {
            run,
            services: services.to_vec(),
            target: target.to_owned(),
            place: None,
            owner: Some(Owner::this()),
            expires: Timestamp::now() + lifetime,
            resources: Vec::new(),
            fingerprints: BTreeMap::new(),
            applied: BTreeMap::new(),
            environments: BTreeMap::new(),
        };
        let run = Self {
            dir,
            state: Mutex::new(state),
            lock: Mutex::new(Some(lock)),
        };
        run.update(|_| {})?;
        Ok(run)
    }

    /// Takes over the kept environment of exactly these services, if there is one and nobody else takes it at the same time.
    pub fn adopt(
        runs: &Path,
        services: &[String],
        (target, place): (&str, Option<&str>),
        lifetime: Duration,
    ) -> anyhow::Result<Option<Self>> {
        let same = |state: &State| {
            state.services == services && state.target == target && state.place.as_deref() == place
        };
        let Some(run) = Self::kept_by(runs, same) else {
            return Ok(None);
        };
        // What another process works on is left to it, and what it has just ended is not there any more.
        if run.hold()? != Held::Ours || !run.is_kept() {
            return Ok(None);
        }
        run.update(|state| {
            state.owner = Some(Owner::this());
            state.expires = Timestamp::now() + lifetime;
        })?;
        Ok(Some(run))
    }

    /// Opens the run in `dir`.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            state: Mutex::new(read(dir)?),
            lock: Mutex::new(None),
        })
    }

    /// Every run that left a state file in `runs` which this version can read.
    pub fn list(runs: &Path) -> Vec<Self> {
        let dirs = directories(runs);
        dirs.iter().filter_map(|dir| Self::open(dir).ok()).collect()
    }

    /// The state files in `runs` that are there and cannot be read.
    pub fn unreadable(runs: &Path) -> Vec<Unreadable> {
        let failed = |dir: PathBuf| {
            let error = read(&dir).err()?;
            // Removed since the directory was read.
            dir.join(STATE).exists().then(|| Unreadable {
                why: format!("{error:#}"),
                dir,
            })
        };
        directories(runs).into_iter().filter_map(failed).collect()
    }

    /// Takes the run for this process, with its state as it is now.
    pub fn hold(&self) -> anyhow::Result<Held> {
        let mut held = lock(&self.lock);
        if let (None, false, Some(owner)) = (&*held, Lock::exists(&self.dir), self.state().owner)
            && owner.lives()
        {
            // A version that had no locks.
            return Ok(Held::Busy(owner.pid.to_string()));
        }
        if held.is_none() {
            match Lock::take(&self.dir).with_context(|| self.id())? {
                Taken::Busy(pid) => return Ok(Held::Busy(pid)),
                Taken::Ours(taken) => *held = Some(taken),
            }
        }
        if !self.dir.join(STATE).exists() {
            *held = None;
            return Ok(Held::Gone);
        }
        *self.lock() = read(&self.dir)?;
        Ok(Held::Ours)
    }

    /// The process that works on the run, if it is another than this one.
    pub fn busy(&self) -> Option<String> {
        if lock(&self.lock).is_some() {
            return None;
        }
        Lock::holder(&self.dir).unwrap_or_else(|_| {
            // Left by a version that had no locks.
            let owner = self.state().owner.filter(Owner::lives)?;
            Some(owner.pid.to_string())
        })
    }

    /// Whether nobody answers for the run any more: its process is gone, or its time is over.
    pub fn is_abandoned(&self) -> bool {
        let state = self.state();
        let over = state.owner.is_some() || state.expires < Timestamp::now();
        over && self.busy().is_none()
    }

    /// Whether the environment stands for whoever comes: set up, and not given up.
    pub fn is_up(&self) -> bool {
        !self.state().environments.is_empty() && !self.is_abandoned()
    }

    /// Whether it was left for whoever comes, and its time is not over.
    fn is_kept(&self) -> bool {
        let state = self.state();
        state.owner.is_none() && state.expires > Timestamp::now()
    }

    /// The run's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The run's identity.
    pub fn id(&self) -> String {
        self.state().run
    }

    /// A copy of the state.
    pub fn state(&self) -> State {
        self.lock().clone()
    }

    /// Changes the state and writes it before returning.
    pub fn update(&self, change: impl FnOnce(&mut State)) -> anyhow::Result<()> {
        let mut state = self.lock();
        change(&mut state);
        let text = serde_json::to_string_pretty(&*state)?;
        write_private(&self.dir.join(STATE), text.as_bytes())
    }

    /// Records a resource that is about to be made.
    pub fn will_make(&self, resource: Resource) -> anyhow::Result<()> {
        if self.state().resources.contains(&resource) {
            return Ok(());
        }
        self.update(|state| state.resources.push(resource))
    }

    /// Makes a directory of the run's own, recorded before it is made.
    pub fn make_directory(&self, path: &Path) -> anyhow::Result<()> {
        self.will_make(Resource::Directory {
            path: path.to_owned(),
        })?;
        std::fs::create_dir_all(path)
            .map_err(|error| anyhow::anyhow!("cannot make {}: {error}", path.display()))
    }

    /// Hands the run over to whoever comes next, until it expires. The password goes into a file of its own.
    pub fn keep(
        &self,
        environments: BTreeMap<String, Environment>,
        password: &str,
        lifetime: Duration,
    ) -> anyhow::Result<()> {
        write_private(&self.dir.join("password"), password.as_bytes())?;
        self.update(|state| {
            state.owner = None;
            state.expires = Timestamp::now() + lifetime;
            state.environments = environments;
        })
    }

    /// The password of a kept run's database.
    pub fn password(&self) -> anyhow::Result<String> {
        let path = self.dir.join("password");
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The namespaces that were given to it, in their order.
    pub fn given_namespaces(&self) -> Vec<String> {
        let resources = self.state().resources.into_iter();
        resources
            .filter_map(|resource| match resource {
                Resource::Guest { namespace } => Some(namespace),
                _ => None,
            })
            .collect()
    }

    /// The file of the token for this run's Data Storage.
    pub fn token_file(&self) -> PathBuf {
        self.dir.join(TOKEN)
    }

    /// The token for this run's Data Storage: that of its file, else a new one, which is kept there.
    pub fn token(&self, new: impl FnOnce() -> String) -> anyhow::Result<String> {
        let path = self.token_file();
        match std::fs::read_to_string(&path) {
            Ok(token) if !token.is_empty() => Ok(token),
            _ => {
                let token = new();
                write_private(&path, token.as_bytes())?;
                Ok(token)
            }
        }
    }

    /// The newest kept environment of these services together.
    pub fn kept_together(runs: &Path, services: &[String]) -> Option<Self> {
        Self::kept_by(runs, |state| state.services == services)
    }

    fn kept_by(runs: &Path, wanted: impl Fn(&State) -> bool) -> Option<Self> {
        let runs = Self::list(runs)
            .into_iter()
            .filter(|run| run.is_kept() && wanted(&run.state()));
        runs.max_by_key(|run| run.state().expires)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// The name, in a run's directory, of the file with the token for its Data Storage.
pub const TOKEN: &str = "datastorage-token";

/// The state file's name in a run's directory.
pub const STATE: &str = "state.json";

fn read(dir: &Path) -> anyhow::Result<State> {
    let path = dir.join(STATE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| {
        format!(
            "cannot read {}: it is not a state that this version of the tool knows",
            path.display()
        )
    })
}

/// What lies in the directory of runs, by name.
pub fn directories(runs: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let mut dirs: Vec<_> = entries.map(|entry| entry.path()).collect();
    dirs.sort();
    dirs
}

/// A panic elsewhere leaves a value as it was last written, which is what clean-up needs.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first part of a run's identity; with what is put around it, it stays below the 63 characters of a host name (RFC 1123).
pub fn label(services: &[String]) -> String {
    let first: String = services
        .first()
        .map(|name| name.chars().take(24).collect())
        .unwrap_or_default();
    match services.len() {
        0 | 1 => first,
        several => format!("{first}-and-{}", several - 1),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    // Of this process alone: two runs may write the same history at once.
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let write = || -> std::io::Result<()> {
        // A part file left by a killed run may carry other permissions.
        drop(std::fs::remove_file(&part));
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?
            .write_all(bytes)?;
        std::fs::rename(&part, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Does work while no other process does work on the same file, for a moment at most: the lock is a file beside it.
pub fn locked<T>(path: &Path, work: impl FnOnce() -> T) -> std::io::Result<T> {
    const TRIES: u32 = 200;
    let lock = File::create(path.with_extension("lock"))?;
    for _ in 0..TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(work()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(std::io::ErrorKind::WouldBlock.into())
}

/// How long a kept environment may stay before anybody's `reap` removes it.
pub const KEPT_FOR: Duration = Duration::from_hours(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_with_another_start_time_does_not() {
        assert!(Owner::this().lives());
        assert!(
            !Owner {
                started: Some(1),
                ..Owner::this()
            }
            .lives()
        );
    }
}
