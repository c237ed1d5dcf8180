//! The two files by which a run and its tunnel's process speak: what is to be forwarded, and what is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::state::write_private;

/// What is to be forwarded; written by the run.
pub const SPEC: &str = "tunnel.json";
/// What is forwarded; written by the tunnel's process.
const STATUS: &str = "tunnel-status.json";

/// How the relay is reached, and what is forwarded through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The kubeconfig; only read.
    pub kubeconfig: PathBuf,
    /// The relay's namespace.
    pub namespace: String,
    /// The relay's pod.
    pub pod: String,
    /// The port on which the relay listens in its pod.
    pub relay_port: u16,
    /// For how many seconds connections outlive a lost transport, where not for the five minutes that the relay allows.
    #[serde(default)]
    pub away: Option<u64>,
    /// What is forwarded.
    #[serde(default)]
    pub forwards: Vec<Target>,
}

/// A port of this machine and where it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The port on 127.0.0.1.
    pub local: u16,
    /// The host, as the cluster knows it.
    pub host: String,
    /// The port there.
    pub port: u16,
}

/// What the tunnel's process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    /// Its process id.
    pub(super) pid: i32,
    /// Whether it has reached the relay, and not lost it since.
    pub(super) is_connected: bool,
    /// The ports on which it listens.
    pub(super) listening: Vec<u16>,
    /// Those on which it cannot, with the reason.
    pub(super) refused: BTreeMap<u16, String>,
    /// What has gone wrong last.
    pub(super) trouble: String,
    /// Why it has ended, where that was not a signal.
    pub(super) ended: Option<String>,
}

impl Spec {
    /// That of a run; none where the run has no tunnel.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        read(&dir.join(SPEC))
    }

    /// Writes it, whole.
    pub fn write(&self, dir: &Path) -> Result<(), Failure> {
        write(&dir.join(SPEC), self)
    }

    /// Where the relay is, in words.
    pub fn relay(&self) -> String {
        format!("relay pod {} in namespace {}", self.pod, self.namespace)
    }
}

impl Status {
    /// What was said last.
    pub(super) fn last(dir: &Path) -> Option<Self> {
        read(&dir.join(STATUS)).ok().flatten()
    }

    /// That of the process with this id; none where it has said nothing yet.
    pub(super) fn of(dir: &Path, pid: i32) -> Option<Self> {
        Self::last(dir).filter(|status| status.pid == pid)
    }

    /// Writes it, whole.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Failure> {
        write(&dir.join(STATUS), self)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(Failure::setup)?;
    write_private(path, text.as_bytes()).map_err(Failure::setup)
}
