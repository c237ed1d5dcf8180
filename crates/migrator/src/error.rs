//! What can go wrong, each as its own case with SQLSTATE, cause and next move.
//!
//! No text here ever holds a password: addresses are host and port, and connection URLs are not repeated.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio_postgres::error::{DbError, SqlState};

use crate::history::Difference;
use crate::report::{Blocker, Holder};

/// Every failure of the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection URL or configuration cannot be used as it is.
    #[error(
        "cannot use the database URL: {reason}; write postgres://user@host:port/database and give the password in PGPASSWORD"
    )]
    InvalidUrl {
        /// What is wrong, without the URL itself.
        reason: String,
    },
    /// No server answered in time; `last` is what the last attempt saw.
    #[error("postgres is not ready at {address} after {}: {last}; start it, or correct host and port", seconds(.waited))]
    PostgresNotReady {
        /// Host and port.
        address: String,
        /// How long was tried.
        waited: Duration,
        /// The last attempt's failure.
        last: String,
    },
    /// The server had no free connection in time (SQLSTATE 53300).
    #[error("postgres at {address} had no free connection within {} (SQLSTATE 53300): {message}; close sessions that nobody needs, or raise max_connections", seconds(.waited))]
    ConnectionsExhausted {
        /// Host and port.
        address: String,
        /// How long was tried.
        waited: Duration,
        /// The server's message.
        message: String,
    },
    /// There is no TLS to the server, or it does not prove what `sslmode` asks for.
    #[error("postgres at {address} is refused by sslmode={ssl_mode}: {message}; {}", tls_move(.ssl_mode, .message))]
    TlsRefused {
        /// Host and port.
        address: String,
        /// The word of `sslmode`.
        ssl_mode: String,
        /// What the TLS library said.
        message: String,
    },
    /// The server refuses the user or the password, or there is none to give.
    #[error(
        "cannot log in to postgres at {address} as {user} (SQLSTATE {sqlstate}): {message}; {}", login_move(.message)
    )]
    AuthFailed {
        /// Host and port.
        address: String,
        /// User name.
        user: String,
        /// SQLSTATE of class 28.
        sqlstate: String,
        /// The server's message.
        message: String,
    },
    /// The server runs, the database does not exist (SQLSTATE 3D000).
    #[error(
        "database {database} does not exist at {address} (SQLSTATE 3D000); create it with `createdb {database}`, or correct the name"
    )]
    NoSuchDatabase {
        /// Host and port.
        address: String,
        /// Name asked for.
        database: String,
    },
    /// The user may log in but lacks a privilege (SQLSTATE 42501).
    #[error(
        "{stage}: no privilege (SQLSTATE 42501): {message}; run as the owner of the schema, or grant it"
    )]
    PermissionDenied {
        /// What was being done.
        stage: String,
        /// The server's message.
        message: String,
    },
    /// A pooler in transaction mode is between, behind which a session lock protects nothing.
    #[error(
        "{address} is a connection pooler in transaction mode ({evidence}); give the address of the PostgreSQL server itself"
    )]
    PoolerRefused {
        /// Host and port.
        address: String,
        /// How it was found out.
        evidence: String,
    },
    /// The session no longer held the lock when the run ended.
    #[error(
        "the migration lock was gone at the end of the run, so another run may have worked beside it: a file calls pg_advisory_unlock_all(), or a connection pooler in transaction mode is between; what was applied is recorded: look with `migrate status`, then take the call out, or give the server's own address"
    )]
    LockLost,
    /// Another run held the lock until the deadline.
    #[error("could not acquire the migration lock within {}: {}; wait for that run, or end it with pg_terminate_backend", seconds(.waited), Held(.holder.as_ref()))]
    LockTimeout {
        /// How long was waited.
        waited: Duration,
        /// Who held it last.
        holder: Option<Holder>,
    },
    /// A migration's SQL was refused; what was committed before it stays.
    #[error("{0}")]
    MigrationFailed(Box<MigrationFailure>),
    /// An applied migration's file has another text now.
    #[error(
        "migration '{migration}' was applied with checksum {} and {file} now has {}; applied files never change: restore it and write a new migration",
        short(.applied), short(.found)
    )]
    ChecksumMismatch {
        /// Migration.
        migration: String,
        /// Its file.
        file: String,
        /// Checksum in the ledger.
        applied: String,
        /// Checksum of the file.
        found: String,
    },
    /// A step that an earlier run did has another text now.
    #[error(
        "step {step} of migration '{migration}' is done and its text in {file} was changed since; restore the first {done} statements as they were applied: only the rest may be corrected"
    )]
    StepChanged {
        /// Migration.
        migration: String,
        /// Its file.
        file: String,
        /// The step, counted from 1.
        step: usize,
        /// How many steps are done.
        done: usize,
    },
    /// A statement that commits by itself was cut, and what it did is not known.
    #[error(
        "the statement at {file}:{line} of migration '{migration}' was begun by an earlier run and nobody saw its end: it may have committed a part of its work; look at what it did, then correct the statement, or run it once more as it is with `--again {migration}`"
    )]
    StepInDoubt {
        /// Migration.
        migration: String,
        /// Its file.
        file: String,
        /// Line of the statement, counted from 1.
        line: usize,
    },
    /// An earlier `down` was interrupted between two steps of the migration's Down.
    #[error(
        "migration '{migration}' is half reverted ({done} steps of its Down are done); finish that with `migrate down {migration}`, then apply again"
    )]
    HalfReverted {
        /// Migration.
        migration: String,
        /// How many steps of its Down are done.
        done: usize,
    },
    /// The ledger holds migrations that this program does not know.
    #[error("the ledger holds migrations unknown to this program: {}; use a build, or files, at least as new as those that applied them, or the `--source` that these files belong to", .ids.join(", "))]
    UnknownMigration {
        /// Their identities.
        ids: Vec<String>,
    },
    /// The files are in the ledger already, as another source.
    #[error(
        "these files are in the ledger already as source `{other}` ({rows} applied, {same} with the content of these files) and not as `{source_name}`: if the directory was moved or renamed, take the rows over with `migrate adopt --from {other}`, or go on with `--source {other}`; if it is another team's, say so with `--new-source`"
    )]
    OtherSource {
        /// Source of this run.
        source_name: String,
        /// Source in the ledger.
        other: String,
        /// How many of its migrations are applied.
        rows: usize,
        /// How many of those have the content of one of these files.
        same: usize,
    },
    /// goose applied the files to this database.
    #[error(
        "goose has applied {count} of these files to this database (table {table}) and the ledger none: take them over with `migrate adopt --from-goose={table}`; if goose applied other files than these, say so with `--new-source`"
    )]
    GooseDatabase {
        /// goose's table.
        table: String,
        /// How many of the files it has as applied.
        count: usize,
    },
    /// There is nothing to take over.
    #[error("nothing to adopt: {reason}; `migrate status` shows what is applied")]
    NothingToAdopt {
        /// What was looked for.
        reason: String,
    },
    /// A row cannot be taken over; nothing was changed.
    #[error(
        "cannot adopt: {reason}; give the directory whose files were applied, as they were then"
    )]
    CannotAdopt {
        /// The row and what is wrong with it.
        reason: String,
    },
    /// A file was renamed after it was applied.
    #[error(
        "the ledger holds '{id}', whose text is now in {file}: a renamed file is a new migration; give it its name back, or record the new one with `migrate adopt`"
    )]
    RenamedFile {
        /// Its name in the ledger.
        id: String,
        /// The file that has its text.
        file: String,
    },
    /// What is to be reverted is not applied.
    #[error("not applied, so it cannot be reverted: {}; `migrate status` shows what is", .ids.join(", "))]
    NotApplied {
        /// Identities asked for.
        ids: Vec<String>,
    },
    /// What is to be reverted is not part of the selection.
    #[error(
        "migration '{migration}' is not part of what is selected, so it is not reverted; select it too, or leave the selection out"
    )]
    NotSelected {
        /// Migration asked for.
        migration: String,
    },
    /// What is to be reverted is needed by an applied migration that must stay.
    #[error("{}", still_needed(.migration, .by, *.in_files))]
    StillNeeded {
        /// Migration to be reverted.
        migration: String,
        /// The applied migration that requires it.
        by: String,
        /// Whether the files hold `by`, outside the selection.
        in_files: bool,
    },
    /// The migration cannot be reverted.
    #[error(
        "migration '{migration}' cannot be reverted: {reason}; restore a backup, or write a new migration"
    )]
    Irreversible {
        /// Migration.
        migration: String,
        /// The declared reason.
        reason: String,
    },
    /// Objects exist with another shape than the migrations give them.
    #[error("{}", drift(.migration.as_deref(), .differences))]
    Drift {
        /// The migration that met it; `None` for a comparison on demand.
        migration: Option<String>,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// The schema was made by another tool, which kept no ledger.
    #[error(
        "{evidence} shows a schema without a ledger, made by another tool; recreate the database: `dropdb {database} && createdb {database}`, then migrate again"
    )]
    UnmanagedSchema {
        /// The object that gave it away.
        evidence: String,
        /// Name of the database.
        database: String,
    },
    /// A table that the selection needs is not there (SQLSTATE 42P01).
    #[error(
        "table {table} is missing (SQLSTATE 42P01): {reason}; {}", make_it(.again)
    )]
    MissingTable {
        /// Its name.
        table: String,
        /// Never applied, reverted, or gone in spite of the ledger.
        reason: String,
        /// Applied migrations that make it, to be run once more; empty if a plain run makes it.
        again: Vec<String>,
    },
    /// A migration of the selection is not applied.
    #[error(
        "migration '{migration}' is not in force: {reason}; run `migrate` with the same selection"
    )]
    Pending {
        /// Migration.
        migration: String,
        /// Never applied, reverted or interrupted.
        reason: String,
    },
    /// There is nothing that could be compared, which is no proof of anything.
    #[error("nothing was compared: {reason}")]
    NothingToCompare {
        /// Why, and what to do.
        reason: String,
    },
    /// No partition of a table covers a day (SQLSTATE 23514 on insert).
    #[error(
        "table {table} has no partition for {day} (an insert fails with SQLSTATE 23514); run `migrate partitions`"
    )]
    MissingPartition {
        /// Partitioned table.
        table: String,
        /// First uncovered UTC day, ISO 8601.
        day: String,
    },
    /// The caller cancelled; nothing half-done is left.
    #[error("cancelled while {stage}; what was committed stays, so run it again to go on")]
    Cancelled {
        /// What was being done.
        stage: String,
    },
    /// The run's deadline passed; nothing half-done is left.
    #[error("deadline of {} passed while {stage}{}", seconds(.deadline), late(.blocker.as_deref()))]
    DeadlineExceeded {
        /// The limit.
        deadline: Duration,
        /// What was being done.
        stage: String,
        /// Who was last seen to hold what it waited for.
        blocker: Option<Box<Blocker>>,
    },
    /// No profile or group has this name.
    #[error("no profile or group is called {name}; known are {}", .known.join(", "))]
    UnknownProfile {
        /// Name asked for.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// No migration provides a table of this name.
    #[error("no migration provides a table called {name}; known are {}", .known.join(", "))]
    UnknownTable {
        /// Name asked for.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// Migration files are not as they must be.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The plan that was approved is not the plan that would run now.
    #[error(
        "the plan is now {found}, not {expected}: the files, or what is applied, changed since it was shown; look at it again"
    )]
    PlanChanged {
        /// Hash given by the caller.
        expected: String,
        /// Hash of the plan as it is.
        found: String,
    },
    /// The connection broke and could not be had again in time.
    #[error(
        "the connection to {address} broke while {stage}: {message}; what was committed stays, so run it again"
    )]
    ConnectionLost {
        /// Host and port.
        address: String,
        /// What was being done.
        stage: String,
        /// What the system said.
        message: String,
    },
    /// Any other refusal of a statement of the engine itself.
    #[error("{stage}: {message} (SQLSTATE {sqlstate}); {}", engine_move(.sqlstate))]
    Database {
        /// What was being done.
        stage: String,
        /// SQLSTATE.
        sqlstate: String,
        /// The server's message.
        message: String,
    },
}

/// A migration that the server refused.
#[derive(Clone, Debug, Serialize)]
pub struct MigrationFailure {
    /// Identity of the migration.
    pub migration: String,
    /// Its file.
    pub file: String,
    /// Line of the file, counted from 1, where the failing statement or its error is.
    pub line: usize,
    /// SQLSTATE.
    pub sqlstate: String,
    /// The server's message, with its detail.
    pub cause: String,
    /// What to do about it.
    pub next_move: String,
}

impl fmt::Display for MigrationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            migration,
            file,
            line,
            sqlstate,
            cause,
            next_move,
        } = self;
        write!(
            f,
            "migration '{migration}' failed: {cause} (SQLSTATE {sqlstate}) at {file}:{line}; {next_move}"
        )
    }
}

/// A file that the catalogue cannot take.
#[derive(Clone, Debug, thiserror::Error)]
#[error("migrations: {file}: {reason}")]
pub struct CatalogueError {
    /// Name of the file.
    pub file: String,
    /// What is wrong and how to right it.
    pub reason: String,
}

impl CatalogueError {
    pub(crate) fn new(file: &str, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            reason: reason.into(),
        }
    }
}

impl Error {
    /// Stable name of the case, for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InvalidUrl { .. } => "invalid_url",
            Self::PostgresNotReady { .. } => "postgres_not_ready",
            Self::ConnectionsExhausted { .. } => "connections_exhausted",
            Self::TlsRefused { .. } => "tls_refused",
            Self::AuthFailed { .. } => "auth_failed",
            Self::NoSuchDatabase { .. } => "no_such_database",
            Self::PermissionDenied { .. } => "permission_denied",
            Self::PoolerRefused { .. } => "pooler_refused",
            Self::LockLost => "lock_lost",
            Self::LockTimeout { .. } => "lock_timeout",
            Self::MigrationFailed(_) => "migration_failed",
            Self::ChecksumMismatch { .. } => "checksum_mismatch",
            Self::UnknownMigration { .. } => "unknown_migration",
            Self::OtherSource { .. } => "other_source",
            Self::GooseDatabase { .. } => "goose_database",
            Self::NothingToAdopt { .. } => "nothing_to_adopt",
            Self::CannotAdopt { .. } => "cannot_adopt",
            Self::RenamedFile { .. } => "renamed_file",
            Self::StepChanged { .. } => "step_changed",
            Self::StepInDoubt { .. } => "step_in_doubt",
            Self::HalfReverted { .. } => "half_reverted",
            Self::NotSelected { .. } => "not_selected",
            Self::StillNeeded { .. } => "still_needed",
            Self::NotApplied { .. } => "not_applied",
            Self::Irreversible { .. } => "irreversible",
            Self::Drift { .. } => "drift",
            Self::UnmanagedSchema { .. } => "unmanaged_schema",
            Self::MissingTable { .. } => "missing_table",
            Self::Pending { .. } => "pending",
            Self::NothingToCompare { .. } => "nothing_to_compare",
            Self::MissingPartition { .. } => "missing_partition",
            Self::Cancelled { .. } => "cancelled",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::UnknownProfile { .. } => "unknown_profile",
            Self::UnknownTable { .. } => "unknown_table",
            Self::Catalogue(_) => "invalid_files",
            Self::PlanChanged { .. } => "plan_changed",
            Self::ConnectionLost { .. } => "connection_lost",
            Self::Database { .. } => "database",
        }
    }

    /// SQLSTATE behind the failure, where the server gave one or an insert would.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::AuthFailed { sqlstate, .. } | Self::Database { sqlstate, .. } => Some(sqlstate),
            Self::MigrationFailed(failure) => Some(&failure.sqlstate),
            Self::NoSuchDatabase { .. } => Some("3D000"),
            Self::ConnectionsExhausted { .. } => Some("53300"),
            Self::PermissionDenied { .. } => Some("42501"),
            Self::MissingTable { .. } => Some("42P01"),
            Self::MissingPartition { .. } => Some("23514"),
            Self::LockTimeout { .. } => Some("55P03"),
            _ => None,
        }
    }

    /// The same, with who was last seen to hold what a migration could not get.
    pub(crate) fn blocked_by(mut self, blocker: Option<&Blocker>) -> Self {
        if let (Self::MigrationFailed(failure), Some(blocker)) = (&mut self, blocker)
            && failure.sqlstate == SqlState::LOCK_NOT_AVAILABLE.code()
        {
            failure.cause = format!("{}: it waited for {blocker}", failure.cause);
            BLOCKED.clone_into(&mut failure.next_move);
        }
        self
    }

    /// The failure of a statement of the engine's own.
    pub(crate) fn from_server(error: &tokio_postgres::Error, stage: &str, address: &str) -> Self {
        let Some(server) = error.as_db_error() else {
            return Self::ConnectionLost {
                address: address.to_owned(),
                stage: stage.to_owned(),
                message: chain(error),
            };
        };
        let (stage, message) = (stage.to_owned(), server.message().to_owned());
        match server.code() {
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                Self::PermissionDenied { stage, message }
            }
            code if is_disconnect(code) => Self::ConnectionLost {
                address: address.to_owned(),
                stage,
                message,
            },
            code => Self::Database {
                stage,
                sqlstate: code.code().to_owned(),
                message,
            },
        }
    }
}

/// The server went, or ended this session: the outcome is in doubt and the ledger decides.
pub(crate) fn is_disconnect(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ]
    .contains(code)
        || code.code().starts_with("08")
}

/// Contention that a second attempt may not meet: lock timeout, deadlock, serialisation, and races on catalogue rows
/// that are shared between databases.
pub(crate) fn is_contention(code: &SqlState) -> bool {
    [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ]
    .contains(code)
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// What a person should do about a lock that somebody holds.
const BLOCKED: &str =
    "wait until that session ends, or end it with pg_terminate_backend, and run again";

/// What a person should do about an SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>) of a migration.
pub(crate) fn next_move(sqlstate: &str) -> &'static str {
    match sqlstate {
        "42P07" | "42701" | "42710" | "42723" => {
            "it exists outside the ledger: see `migrate drift`, or write the statement with IF NOT EXISTS"
        }
        "42P01" | "42703" | "42704" | "42883" | "3F000" => {
            "correct the name, or make what it names in an earlier migration"
        }
        "42601" => "correct the syntax at that place",
        "25001" => {
            "declare that the file runs outside a transaction: `-- transaction: none`, in goose's format `-- +goose NO TRANSACTION`"
        }
        "25006" => READ_ONLY,
        "55P04" => "use the new enum value in a migration of its own, after the one that adds it",
        "55P03" | "40P01" | "40001" => {
            "another session holds what it needs; find it in pg_stat_activity and run again"
        }
        "57014" => {
            "a statement took longer than statement_timeout allows, or was cancelled: raise the limit, or run again"
        }
        "0A000" | "58P01" => "the server lacks a feature or extension: use an image that has it",
        "42501" => "run as the owner of the schema, or grant the privilege",
        "2BP01" => "other objects depend on it: revert their migrations first",
        "53100" | "53200" => "the server is out of disk or memory: give it more, then run again",
        "53300" => {
            "the server has no free connection: close sessions that nobody needs, or raise max_connections"
        }
        code if code.starts_with("22") || code.starts_with("23") => {
            "rows in the table contradict the change: correct them, then run again"
        }
        _ => "check the server's log for the statement",
    }
}

/// What the server says of a failure, with its detail.
pub(crate) fn cause_of(server: &DbError) -> String {
    match server.detail() {
        Some(detail) => format!("{} ({detail})", server.message()),
        None => server.message().to_owned(),
    }
}

const READ_ONLY: &str = "the server is a standby, or set read-only: give the primary's address";

/// The same for a migration in `file`: only files of pairs declare what they require and whether they are a transaction.
pub(crate) fn next_move_in(file: &str, sqlstate: &str) -> &'static str {
    let declares = file.ends_with(".up.sql") || file.ends_with(".down.sql");
    match sqlstate {
        "42P01" | "42703" | "42704" | "42883" | "3F000" if declares => {
            "a `requires` is probably missing: name the migration that provides it"
        }
        "25001" | "2D000" if !declares => "put `-- +goose NO TRANSACTION` into the file",
        "42P07" | "42701" | "42710" | "42723" if !declares => {
            "it was made by something else: write the statement with IF NOT EXISTS, or remove what is there"
        }
        _ => next_move(sqlstate),
    }
}

/// The same for a statement of the engine's own.
fn engine_move(sqlstate: &str) -> &'static str {
    match sqlstate {
        "42P01" | "42703" | "42704" | "42883" | "42P07" | "42710" => {
            "an object of the ledger's name is another tool's: rename it, or keep the ledger under another name"
        }
        "3F000" => "create the schema that the ledger goes to, or name another with `--schema`",
        _ => next_move(sqlstate),
    }
}

fn login_move(message: &str) -> &'static str {
    if !message.contains("pg_hba.conf") {
        "set PGPASSWORD, or correct the user"
    } else if message.contains("no encryption") {
        "the server may ask for TLS: give sslmode=require, or have its pg_hba.conf allow this login"
    } else {
        "have its pg_hba.conf allow this user, database and address"
    }
}

fn tls_move(ssl_mode: &str, message: &str) -> String {
    if message.contains("does not support TLS") {
        "set `ssl = on` at the server, or give sslmode=prefer where the connection need not be encrypted".to_owned()
    } else if message.contains("not valid for") {
        "give the host by a name that the certificate holds, or sslmode=verify-ca where any name will do".to_owned()
    } else if ssl_mode.starts_with("verify") {
        "give the authority of the server's certificate in sslrootcert".to_owned()
    } else {
        "correct sslrootcert, or leave it out".to_owned()
    }
}

fn late(blocker: Option<&Blocker>) -> String {
    match blocker {
        Some(blocker) => format!(", waiting for {blocker}; {BLOCKED}"),
        None => "; what was committed stays: run it again, or allow more time".to_owned(),
    }
}

fn seconds(duration: &Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn short(checksum: &str) -> &str {
    checksum.get(..12).unwrap_or(checksum)
}

/// The holder of the lock, for a message.
struct Held<'a>(Option<&'a Holder>);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => write!(f, "held by {holder}"),
            None => f.write_str("other runs are waiting for it"),
        }
    }
}

fn make_it(again: &[String]) -> String {
    if again.is_empty() {
        "run `migrate` with a profile that has it".to_owned()
    } else {
        format!(
            "run the whole files that make it once more with `migrate --again {}` and the same selection",
            again.join(",")
        )
    }
}

fn still_needed(migration: &str, by: &str, in_files: bool) -> String {
    let hint = if in_files {
        format!(
            "`{by}` is not part of what is selected: `migrate down {migration}` without a selection reverts both"
        )
    } else {
        format!(
            "these files do not hold `{by}`: restore its file, or revert it with the files that hold it"
        )
    };
    format!(
        "migration '{migration}' is not reverted: the applied migration '{by}' needs it; {hint}"
    )
}

fn drift(migration: Option<&str>, differences: &[Difference]) -> String {
    let mut text = match migration {
        Some(id) => format!("migration '{id}' failed: drift"),
        None => "drift".to_owned(),
    };
    for difference in differences {
        text.push_str("\n  ");
        text.push_str(&difference.to_string());
    }
    text.push_str(
        "\nput the objects back as the migrations make them, or write a migration for the change",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_move_is_one_that_the_file_can_make() {
        let requires = |file: &str| next_move_in(file, "42P01").contains("requires");
        assert!(requires("0001_t.up.sql") && requires("0001_t.down.sql"));
        assert!(!requires("1_t.sql") && !engine_move("42P01").contains("requires"));
        assert!(next_move_in("1_t.sql", "25001").contains("+goose NO TRANSACTION"));
        assert!(next_move_in("0001_t.up.sql", "25001").contains("transaction: none"));
        assert!(!next_move_in("1_t.sql", "42P07").contains("migrate drift"));
        for file in ["0001_t.up.sql", "1_t.sql"] {
            assert!(next_move_in(file, "25006").contains("primary"));
        }
    }

    #[test]
    fn a_refused_login_is_told_from_a_rule_that_lets_nobody_in() {
        let move_after = |message: &str| {
            Error::AuthFailed {
                address: "db.test:5432".to_owned(),
                user: "app".to_owned(),
                sqlstate: "28000".to_owned(),
                message: message.to_owned(),
            }
            .to_string()
        };
        let plain = "no pg_hba.conf entry for host \"10.0.0.1\", user \"app\", database \"d\", no encryption";
        assert!(move_after(plain).contains("sslmode=require"));
        let encrypted = plain.replace("no encryption", "SSL encryption");
        assert!(move_after(&encrypted).contains("have its pg_hba.conf allow"));
        assert!(move_after("password authentication failed").contains("PGPASSWORD"));
    }
}
