//! What can go wrong between looking for PostgreSQL and its first answer.

use std::path::PathBuf;
use std::time::Duration;

/// A failure to find, prepare, start or stop a private PostgreSQL server.
///
/// Each text names the thing and the next move; those that end in `log` carry the last lines of the server's own log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable installation in any place that [`crate::locate()`] may look in.
    #[error(
        "no PostgreSQL {wanted} found; looked at {looked}. Run `postgres-fetch` (in a checkout `cargo run -p postgres-fetch`), set {variable} to a directory \
         that holds initdb and postgres, or install PostgreSQL 15 or newer",
        variable = e2e_env::POSTGRES_BIN
    )]
    NotFound {
        /// Version asked for.
        wanted: String,
        /// Places looked at, for people.
        looked: String,
    },
    /// A directory of binaries exists but its `postgres` cannot be run or used.
    #[error("the PostgreSQL binaries in {} cannot be used: {detail}", bin.display())]
    Unusable {
        /// Directory of the binaries.
        bin: PathBuf,
        /// What was seen, and the next move.
        detail: String,
    },
    /// Root, and no account to run the server as.
    #[error(
        "PostgreSQL does not run as root and neither `postgres` nor `nobody` exists; create one of them or run as a normal user"
    )]
    NoAccount,
    /// The account that runs the server cannot get to a path.
    #[error(
        "the account `{account}`, which runs PostgreSQL for root, cannot reach {}: {} is closed to it; set {variable} to a \
         directory that others may enter, for example under /var/tmp",
        path.display(), closed.display(), variable = e2e_env::CACHE_DIR
    )]
    Unreachable {
        /// Account that runs the server.
        account: String,
        /// Path it needs.
        path: PathBuf,
        /// First directory on the way without search permission.
        closed: PathBuf,
    },
    /// A directory that should be ours belongs to somebody else or is open to others.
    #[error("{} is not safe to use: {detail}; remove it or set {variable} to another directory", path.display(), variable = e2e_env::CACHE_DIR)]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Why it is not trusted.
        detail: String,
    },
    /// An option has a value that PostgreSQL or this crate cannot take.
    #[error("option {name} of the embedded PostgreSQL: {detail}")]
    Option {
        /// Name of the option.
        name: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Verb, for people.
        action: &'static str,
        /// Path it was done to.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another process held a lock for too long.
    #[error("waited {} s for {}, held by process {holder}; end that process or wait for it", waited.as_secs(), path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Time waited.
        waited: Duration,
        /// Process id written in the file, or `unknown`.
        holder: String,
    },
    /// The cluster that all servers are copied from could not be created.
    #[error("{program} could not make the template cluster: {detail}")]
    Cluster {
        /// Program that failed.
        program: PathBuf,
        /// Its status and last output.
        detail: String,
    },
    /// Somebody else listens on the port.
    #[error(
        "PostgreSQL cannot listen on 127.0.0.1:{port}: {detail}; free the port or ask for any free one"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// The line of the server log that says so.
        detail: String,
    },
    /// The server ended before it answered.
    #[error("PostgreSQL ended at start ({status}); its log ends:\n{log}")]
    Exited {
        /// Exit status.
        status: String,
        /// Last lines of the server's log.
        log: String,
    },
    /// The server did not answer within the deadline.
    #[error("PostgreSQL did not answer within {} s, last seen: {last}; its log ends:\n{log}", waited.as_secs())]
    NotReady {
        /// Time waited.
        waited: Duration,
        /// What the last attempt to connect said.
        last: String,
        /// Last lines of the server's log.
        log: String,
    },
    /// The server is up but refused to be set up.
    #[error("PostgreSQL refused to {action}: {source}")]
    Sql {
        /// What was tried.
        action: &'static str,
        /// The server's answer.
        source: tokio_postgres::Error,
    },
    /// The processes of a server that was asked to end are still there.
    #[error("process {pid} of PostgreSQL is still there {} s after it was asked to end; inspect it with `ps -fp {pid}`", waited.as_secs())]
    Lingers {
        /// Process id.
        pid: i32,
        /// Time waited.
        waited: Duration,
    },
    /// There is no detached server in the directory.
    #[error("{} holds no detached PostgreSQL server: {detail}; start a new one", directory.display())]
    NotDetached {
        /// The directory.
        directory: PathBuf,
        /// What was seen.
        detail: String,
    },
}

impl Error {
    /// Returns a closure that turns an [`std::io::Error`] into [`Error::Io`].
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
