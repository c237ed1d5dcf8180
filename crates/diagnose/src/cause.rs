//! The causes by name, and how a server's answer is classified as one of them.

use std::fmt;

use migrator::examine::identifier;
use migrator::{Config, Error};
use serde::Serialize;
use tokio_postgres::error::DbError;

/// Why audit events do not arrive, in the order in which one explains another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// No server answers at the address.
    Connection,
    /// The server takes no more connections (SQLSTATE 53300).
    ConnectionsExhausted,
    /// The server refuses the user or the password (class 28).
    Login,
    /// The server has no such database (3D000).
    NoSuchDatabase,
    /// The database takes no writes: a standby, or set so (25006).
    ReadOnly,
    /// Data Storage does not answer.
    DataStorage,
    /// Data Storage writes to another database than the one looked at.
    OtherDatabase,
    /// The schema was made by a tool that kept no ledger (D19).
    UnmanagedSchema,
    /// A migration of the profile was never applied.
    MigrationNotApplied,
    /// A migration was applied and then reverted.
    MigrationReverted,
    /// The ledger and this program disagree on a migration.
    Ledger,
    /// A table is gone although its migration is applied (42P01).
    MissingTable,
    /// A column is missing (42703).
    MissingColumn,
    /// A column has another type than the migrations give it (class 22, 42804).
    TypeMismatch,
    /// A constraint that the migrations do not make, or one that they make and that is missing (class 23).
    Constraint,
    /// No partition holds today's rows (23514).
    NoPartition,
    /// The role may not do what it must (42501).
    Permission,
    /// Another session holds a lock (55P03).
    Blocked,
    /// No connection of Data Storage's pool becomes free.
    PoolExhausted,
    /// Anything else that differs from what the migrations make.
    Drift,
    /// Anything else that the server refuses.
    Refused,
}

impl Cause {
    /// Its name in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Connection => "cannot connect",
            Self::ConnectionsExhausted => "connections exhausted",
            Self::Login => "login refused",
            Self::NoSuchDatabase => "no such database",
            Self::ReadOnly => "read-only database",
            Self::DataStorage => "Data Storage does not answer",
            Self::OtherDatabase => "another database",
            Self::UnmanagedSchema => "schema of another tool",
            Self::MigrationNotApplied => "migration not applied",
            Self::MigrationReverted => "migration reverted",
            Self::Ledger => "ledger disagrees",
            Self::MissingTable => "missing table",
            Self::MissingColumn => "missing column",
            Self::TypeMismatch => "type mismatch",
            Self::Constraint => "constraint",
            Self::NoPartition => "no partition",
            Self::Permission => "permission denied",
            Self::Blocked => "blocked by a lock",
            Self::PoolExhausted => "pool exhausted",
            Self::Drift => "drift",
            Self::Refused => "refused",
        }
    }

    /// Whether `other` is what one sees of this cause from elsewhere.
    pub fn explains(self, other: Self) -> bool {
        use Cause as C;
        let unmade = matches!(
            self,
            C::MigrationNotApplied | C::MigrationReverted | C::UnmanagedSchema
        );
        match other {
            C::MissingTable | C::NoPartition => unmade || self == C::MissingTable,
            C::MissingColumn => unmade,
            C::Connection => matches!(
                self,
                C::ConnectionsExhausted
                    | C::Login
                    | C::NoSuchDatabase
                    | C::ReadOnly
                    | C::Blocked
                    | C::PoolExhausted
            ),
            C::PoolExhausted => self == C::ConnectionsExhausted,
            _ => false,
        }
    }

    /// The cause that an SQLSTATE means (<https://www.postgresql.org/docs/current/errcodes-appendix.html>), for one that a
    /// statement on an event's table failed with.
    pub fn of_sqlstate(code: &str, message: &str) -> Self {
        match code {
            "53300" => Self::ConnectionsExhausted,
            "3D000" => Self::NoSuchDatabase,
            "25006" => Self::ReadOnly,
            "42P01" => Self::MissingTable,
            "42703" => Self::MissingColumn,
            "42804" => Self::TypeMismatch,
            "23514" if message.starts_with("no partition") => Self::NoPartition,
            "42501" => Self::Permission,
            "55P03" | "57014" | "40P01" => Self::Blocked,
            code if code.starts_with("08") || code.starts_with("57P") => Self::Connection,
            code if code.starts_with("28") => Self::Login,
            code if code.starts_with("22") => Self::TypeMismatch,
            code if code.starts_with("23") => Self::Constraint,
            _ => Self::Refused,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub cause: Cause,
    /// What it is about, such as `table audit_events`; empty where it is about the whole.
    pub object: String,
    /// One sentence.
    pub summary: String,
    /// What shows it.
    pub evidence: Vec<String>,
    /// What puts it right, in order.
    pub repair: Vec<Repair>,
}

/// One step that puts something right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", content = "what", rename_all = "kebab-case")]
pub enum Repair {
    /// Apply the migrations of the profile.
    Migrate,
    /// Create the monthly partitions.
    Partitions,
    /// Run these files of `migrations/` again: each of their statements is idempotent (D18).
    Files(Vec<String>),
    /// Run this statement, which makes or grants something and takes nothing away.
    Sql(String),
    /// Something that only a person can do.
    Manual(String),
    /// Decide whether to run this statement, which removes or rewrites what somebody else may need: data, columns, constraints,
    /// sessions (D42).
    Person(String),
}

impl Finding {
    /// A finding with nothing but its sentence.
    pub fn new(cause: Cause, object: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            cause,
            object: object.into(),
            summary: summary.into(),
            evidence: Vec::new(),
            repair: Vec::new(),
        }
    }

    /// Adds what shows it; an empty text adds nothing.
    #[must_use]
    pub fn evidence(mut self, evidence: impl Into<String>) -> Self {
        let evidence = evidence.into();
        if !evidence.trim().is_empty() {
            self.evidence.push(evidence);
        }
        self
    }

    /// Adds a step that puts it right. What follows a step that a person decides is that person's as well.
    #[must_use]
    pub fn repair(mut self, step: Repair) -> Self {
        let decided = |step: &Repair| matches!(step, Repair::Person(_));
        self.repair.push(match step {
            Repair::Sql(sql) if self.repair.iter().any(decided) => Repair::Person(sql),
            step => step,
        });
        self
    }

    /// Adds something for a person to do.
    #[must_use]
    pub fn manual_step(self, what: impl Into<String>) -> Self {
        self.repair(Repair::Manual(what.into()))
    }
}

/// Why no session could be had, and what was said about it.
pub(crate) fn unreachable(config: &Config, error: &Error) -> (Finding, String) {
    let (address, user, database) = (config.address(), config.user(), config.database());
    let (finding, said) = match error {
        Error::ConnectionsExhausted { message, .. } => (exhausted(&address), message.clone()),
        Error::NoSuchDatabase { .. } => {
            let summary = format!("database {database} does not exist at {address}");
            let finding = Finding::new(Cause::NoSuchDatabase, "", &summary).manual_step(format!(
                "create it with `createdb {database}`, or correct the name"
            ));
            (finding, summary)
        }
        Error::AuthFailed { message, .. } => {
            let summary = format!("the server at {address} refuses {user}");
            let finding = Finding::new(Cause::Login, "", summary)
                .manual_step("set PGPASSWORD, or correct the user");
            (finding, message.clone())
        }
        Error::TlsRefused { message, .. } => {
            let summary = format!("there is no TLS to {address} as sslmode asks for");
            let finding = Finding::new(Cause::Connection, "", summary)
                .evidence(error.to_string())
                .manual_step("correct host, sslmode or sslrootcert of the URL");
            (finding, message.clone())
        }
        other => {
            let summary = format!("no PostgreSQL answers at {address}");
            let finding = Finding::new(Cause::Connection, "", summary)
                .manual_step("start the server, or correct host and port");
            let said = match other {
                Error::PostgresNotReady { last, .. } => last.clone(),
                other => other.to_string(),
            };
            (finding, said)
        }
    };
    let evidence = match error.sqlstate() {
        Some(code) => format!("{said} (SQLSTATE {code})"),
        None => said.clone(),
    };
    (finding.evidence(evidence), said)
}

/// The server takes no more connections.
pub(crate) fn exhausted(address: &str) -> Finding {
    let summary = format!("the server at {address} has no free connection");
    Finding::new(Cause::ConnectionsExhausted, "", summary)
        .manual_step("close sessions that nobody needs, lower `database.max_open_conns` of the Data Storage instances, or raise max_connections")
}

/// An examination that the server cut short.
pub(crate) fn failed(error: &Error) -> Finding {
    let cause = match error {
        Error::ConnectionLost { .. } => Cause::Connection,
        other => other
            .sqlstate()
            .map_or(Cause::Refused, |code| Cause::of_sqlstate(code, "")),
    };
    Finding::new(cause, "", "the server cut the examination short")
        .evidence(error.to_string())
        .manual_step("check the server's log")
}

/// A statement that the server refused, as PostgreSQL reported it.
pub(crate) fn refused(error: &DbError, what: &str, table: &str) -> Finding {
    let (code, message) = (error.code().code(), error.message());
    let table = error.table().unwrap_or(table);
    let cause = Cause::of_sqlstate(code, message);
    let finding = Finding::new(
        cause,
        format!("table {table}"),
        format!("{what} is refused"),
    )
    .evidence(format!("{what}: {message} (SQLSTATE {code})"));
    match (cause, error.constraint(), error.column()) {
        (Cause::Constraint, Some(constraint), _) => finding.repair(Repair::Person(format!(
            "ALTER TABLE {} DROP CONSTRAINT {}",
            quoted(table),
            quoted(constraint)
        ))),
        (Cause::Constraint, None, Some(column)) => finding.repair(Repair::Person(format!(
            "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL",
            quoted(table),
            quoted(column)
        ))),
        (Cause::NoPartition, ..) => finding.repair(Repair::Partitions),
        (Cause::Permission, ..) => {
            finding.manual_step("grant the privilege, or give Data Storage the owner's login")
        }
        (Cause::ReadOnly, ..) => finding.manual_step("give the address of the primary server"),
        (Cause::Blocked, ..) => {
            finding.manual_step("wait for the session that holds the lock, or end it")
        }
        _ => finding.manual_step("check the server's log for the statement"),
    }
}

/// An identifier, quoted only where PostgreSQL needs it.
pub(crate) fn quoted(name: &str) -> String {
    let plain = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if plain {
        name.to_owned()
    } else {
        identifier(name)
    }
}
