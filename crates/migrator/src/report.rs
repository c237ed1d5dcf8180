//! What a run reports: events while it goes on, a report at its end. Both are data; the edges decide how they look.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::migration::Object;

/// What `apply` did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Migrations applied by this run, in order.
    pub applied: Vec<Applied>,
    /// Migrations of the selection that were applied before.
    pub up_to_date: usize,
    /// Partitions that this run created, by name.
    pub partitions: Vec<String>,
    /// What people should know, one sentence each.
    pub warnings: Vec<String>,
    /// How long other runs were waited for.
    #[serde(rename = "waited_ms", serialize_with = "milliseconds")]
    pub waited: Duration,
}

impl Report {
    /// Whether this run applied the migration.
    pub(crate) fn has_applied(&self, id: &str) -> bool {
        self.applied.iter().any(|applied| applied.id == id)
    }
}

/// One migration that a run applied or reverted.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    /// Identity in the ledger.
    pub id: String,
    /// Objects that it provides.
    pub provides: Vec<Object>,
    /// Time in the server.
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub duration: Duration,
}

/// Something that happened during a run; its display is one line for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The server is not ready yet.
    WaitingForServer {
        /// Host and port.
        address: String,
        /// What the last attempt saw.
        last: String,
    },
    /// Another run holds the lock.
    WaitingForLock {
        /// Who, if it could be seen.
        holder: Option<Holder>,
    },
    /// Another session holds what a statement waits for.
    WaitingForTable(Blocker),
    /// A migration is committed.
    Applied(Applied),
    /// A migration is reverted.
    Reverted(Applied),
    /// An interrupted step left something that was put right.
    Repaired {
        /// What was done.
        what: String,
    },
    /// A partition was created.
    Partition {
        /// Its name.
        name: String,
    },
    /// The run goes on, and people should know.
    Warning {
        /// One sentence.
        text: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitingForServer { address, last } => {
                write!(f, "waiting for postgres at {address}: {last}")
            }
            Self::WaitingForLock {
                holder: Some(holder),
            } => write!(f, "waiting for the migration lock, held by {holder}"),
            Self::WaitingForLock { holder: None } => f.write_str("waiting for the migration lock"),
            Self::WaitingForTable(blocker) => write!(f, "waiting for {blocker}"),
            Self::Applied(applied) => write!(f, "applied {applied}"),
            Self::Reverted(reverted) => write!(f, "reverted {reverted}"),
            Self::Repaired { what } => write!(f, "repaired: {what}"),
            Self::Partition { name } => write!(f, "created partition {name}"),
            Self::Warning { text } => write!(f, "warning: {text}"),
        }
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in {:.1} ms",
            self.id,
            self.duration.as_secs_f64() * 1e3
        )?;
        let objects: Vec<String> = self.provides.iter().map(ToString::to_string).collect();
        if objects.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", objects.join(", "))
        }
    }
}

/// Milliseconds with three digits after the point.
pub(crate) fn milliseconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

/// The session that holds the lock, as other sessions see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Process id in the server.
    pub pid: i32,
    /// `application_name`.
    pub application: String,
    /// Client address, or `local`.
    pub client: String,
    /// Seconds since its statement began.
    pub seconds: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            application,
            client,
            seconds,
        } = self;
        write!(f, "pid {pid} ({application}, from {client}, {seconds} s)")
    }
}

/// What a statement waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocker {
    /// The table whose lock it needs; `None` where it waits for a transaction to end.
    pub table: Option<String>,
    /// Who holds it; `seconds` are those of its transaction.
    pub holder: Holder,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Some(table) => write!(f, "a lock on {table}, held by {}", self.holder),
            None => write!(f, "the end of the transaction of {}", self.holder),
        }
    }
}
