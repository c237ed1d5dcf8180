//! What can go wrong between the server and PostgreSQL, by what to do about it.

use std::time::Duration;

use datastorage_api::DatabaseErrorKind as Kind;
use deadpool_postgres::{HookError, PoolError};
use tokio_postgres::error::SqlState;

use super::transaction::ends_connection;

/// A failed call to the database. Its text holds no secret, no SQL, and nothing of the data but what PostgreSQL's primary
/// message quotes.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct StoreError {
    /// What kind of failure.
    pub(crate) kind: Kind,
    /// PostgreSQL's code, when it answered.
    pub(crate) sqlstate: Option<String>,
    /// The table concerned.
    pub(crate) relation: String,
    /// One sentence for people.
    pub(crate) message: String,
    passing: Passing,
    serialization: bool,
    /// The schema is not the one that this server writes to.
    drift: bool,
    /// Whether a write may be committed all the same, because its commit was sent and the answer is missing.
    pub(super) in_doubt: bool,
}

/// Whether the same write may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passing {
    /// As far as this error shows, it may not.
    No,
    /// It may; other writes may succeed now.
    Transient,
    /// It may, when the database is back.
    Away,
}

impl StoreError {
    /// Whether the database as a whole cannot be used now: the data goes into the queue (D28).
    pub(crate) fn is_away(&self) -> bool {
        self.passing == Passing::Away
    }

    /// Whether this write failed for a cause that passes, while others may succeed: it is queued, and says nothing of the
    /// database as a whole.
    pub(crate) fn is_transient(&self) -> bool {
        self.passing == Passing::Transient
    }

    /// Whether the write may be committed all the same: the commit was sent and no answer was read. Only a search for the
    /// data's keys shows it; writing it again under the same keys is safe.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Whether the schema or the account lacks something that an operator must supply (D28): not a fault of the data.
    pub(crate) fn is_schema(&self) -> bool {
        self.drift
            || matches!(
                self.kind,
                Kind::RelationMissing
                    | Kind::RelationReverted
                    | Kind::PartitionMissing
                    | Kind::ColumnMissing
                    | Kind::Permission
                    | Kind::Login
                    | Kind::DatabaseMissing
            )
    }

    /// Whether the same statement may succeed at once: a deadlock, a serialisation failure, or a stale plan.
    pub(super) fn is_serialization_failure(&self) -> bool {
        self.serialization
    }

    fn new(kind: Kind, relation: &str, message: String) -> Self {
        let passing = match kind {
            Kind::Connection | Kind::PoolExhausted | Kind::Timeout => Passing::Away,
            _ => Passing::No,
        };
        Self {
            kind,
            sqlstate: None,
            relation: relation.to_owned(),
            message,
            passing,
            serialization: false,
            drift: false,
            in_doubt: false,
        }
    }

    /// Nobody knows how far a statement got that was given up.
    pub(super) fn timeout(relation: &str, after: Duration) -> Self {
        let message = format!("the database did not answer within {after:?}");
        let mut error = Self::new(Kind::Timeout, relation, message);
        error.in_doubt = true;
        error
    }

    pub(super) fn pool(error: PoolError, relation: &str) -> Self {
        use deadpool_postgres::TimeoutType;
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                Self::postgres(&error, relation)
            }
            PoolError::Timeout(TimeoutType::Wait) => Self::new(
                Kind::PoolExhausted,
                relation,
                "no connection became free in time".to_owned(),
            ),
            PoolError::Timeout(_) => Self::new(
                Kind::Connection,
                relation,
                "the database could not be reached in time".to_owned(),
            ),
            PoolError::PostCreateHook(HookError::Message(what)) => {
                Self::new(Kind::Connection, relation, what.into_owned())
            }
            other => Self::new(
                Kind::Connection,
                relation,
                format!("no connection: {other}"),
            ),
        }
    }

    pub(super) fn postgres(error: &tokio_postgres::Error, relation: &str) -> Self {
        let Some(database) = error.as_db_error() else {
            let text = error.to_string();
            // The driver reports a value that does not fit its parameter or column like this; everything else is the connection.
            let kind = if text.starts_with("error serializing")
                || text.starts_with("error deserializing")
            {
                Kind::Type
            } else {
                Kind::Connection
            };
            return Self::new(
                kind,
                relation,
                format!("connection to the database failed: {}", chain(error)),
            );
        };
        let code = database.code();
        // A missing relation is named in the message alone.
        let named = || {
            let missing = *code == SqlState::UNDEFINED_TABLE;
            missing.then(|| database.message().split('"').nth(1))?
        };
        let relation = database.table().or_else(named).unwrap_or(relation);
        let mut failure = Self::new(
            kind_of(code, database.constraint()),
            relation,
            database.message().to_owned(),
        );
        failure.sqlstate = Some(code.code().to_owned());
        // The statements are fixed and the data is checked: a statement that PostgreSQL does not understand (class 42), a column
        // that reads its value in another form or takes none at all are another schema, not another event.
        // A pooler in between ends a connection with the code of a protocol violation, for reasons of its own.
        let other_form = matches!(
            *code,
            SqlState::PROTOCOL_VIOLATION | SqlState::INVALID_BINARY_REPRESENTATION
        ) && !ends_connection(database);
        if other_form {
            failure.kind = Kind::Type;
            failure.passing = Passing::No;
        }
        failure.drift =
            other_form || *code == SqlState::NOT_NULL_VIOLATION || code.code().starts_with("42");
        // A standby takes no writes, and a backend that ends with its error takes nothing either.
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION
            || (failure.kind == Kind::Other && ends_connection(database))
        {
            failure.passing = Passing::Away;
        }
        failure.serialization = matches!(
            *code,
            SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE
        ) || (*code == SqlState::FEATURE_NOT_SUPPORTED
            && database.routine() == Some("RevalidateCachedQuery"));
        // Nor is it the data's fault when disk or memory is full (class 53), a file cannot be read or written (58), or the server
        // finds itself in disorder (XX); but it may be one row's alone, on a damaged page for example.
        if failure.passing == Passing::No
            && (failure.serialization || ["53", "58", "XX"].contains(&&code.code()[..2]))
        {
            failure.passing = Passing::Transient;
        }
        failure
    }
}

fn kind_of(code: &SqlState, constraint: Option<&str>) -> Kind {
    match *code {
        SqlState::UNDEFINED_TABLE => Kind::RelationMissing,
        SqlState::UNDEFINED_COLUMN => Kind::ColumnMissing,
        // A row that no partition takes is a check violation without a constraint (ExecFindPartition).
        SqlState::CHECK_VIOLATION if constraint.is_none() => Kind::PartitionMissing,
        SqlState::INSUFFICIENT_PRIVILEGE => Kind::Permission,
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Kind::Login,
        SqlState::INVALID_CATALOG_NAME => Kind::DatabaseMissing,
        SqlState::TOO_MANY_CONNECTIONS => Kind::PoolExhausted,
        SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => Kind::Timeout,
        ref other => match &other.code()[..2] {
            "08" | "57" => Kind::Connection,
            "22" => Kind::Type,
            "23" => Kind::Constraint,
            _ => Kind::Other,
        },
    }
}

/// The error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
