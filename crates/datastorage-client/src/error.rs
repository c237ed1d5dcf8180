//! Why a call failed, so that a caller can tell its own fault from the network's and from the database's.

use std::{fmt, time::Duration};

use datastorage_api::ProblemDetails;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base URL cannot be used.
    #[error(
        "cannot use `{url}` as the base URL of Data Storage: {reason}; give it as http://host:port"
    )]
    BaseUrl {
        /// The URL as given, its user and password masked.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is to prove who calls, or who is trusted, cannot be used. Never says what a token is.
    #[error("access to Data Storage: {0}")]
    Access(String),
    /// The server answered with an error.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The server was not reached, or the connection broke. Whether a write took effect is not known: repeat it with the same `event_id`.
    #[error("cannot reach Data Storage for {call}: {cause}; check that it runs at this address")]
    Transport {
        /// Method and URL.
        call: String,
        /// What the system, the TLS or the HTTP library says.
        cause: String,
    },
    /// No answer within the client's deadline. Whether a write took effect is not known: repeat it with the same `event_id`.
    #[error(
        "no answer from Data Storage to {call} within {deadline:?}; check its load and its log, or give the client a longer deadline"
    )]
    Timeout {
        /// Method and URL.
        call: String,
        /// The deadline that passed.
        deadline: Duration,
    },
    /// The answer is not one of Data Storage's contract: another program answers at this address, or another version.
    #[error(
        "Data Storage answered {call} with status {status} and a body that its contract does not have ({reason}): {excerpt}"
    )]
    Decode {
        /// Method and URL.
        call: String,
        /// HTTP status.
        status: u16,
        /// Why the body could not be read.
        reason: String,
        /// The start of the body.
        excerpt: String,
    },
    /// The arguments do not serialise; nothing was sent.
    #[error("cannot serialise the arguments of {call}: {reason}")]
    Encode {
        /// Method and URL.
        call: String,
        /// What the serialiser says.
        reason: String,
    },
}

/// An RFC 9457 problem that the server answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Method and URL.
    pub call: String,
    /// HTTP status.
    pub status: u16,
    /// When the server says that another try makes sense.
    pub retry_after: Option<Duration>,
    /// The document: type, title, detail, instance, field errors, the database's part in it, extensions.
    pub details: ProblemDetails,
}

impl Error {
    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Decode { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The problem that the server reported, if it did.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call,
            status,
            details,
            ..
        } = self;
        write!(
            f,
            "Data Storage answered {call} with {status} {}",
            details.name()
        )?;
        if let Some(detail) = &details.detail {
            write!(f, ": {detail}")?;
        }
        for (field, what) in details.field_errors.iter() {
            write!(f, "; {field}: {what}")?;
        }
        let named = [
            ("relation", &details.relation),
            ("SQLSTATE", &details.sqlstate),
        ];
        let database: Vec<_> = named
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)))
            .collect();
        if !database.is_empty() {
            write!(f, " ({})", database.join(", "))?;
        }
        if *status == 401 {
            let files = "DATASTORAGE_TOKEN_FILE, or DATASTORAGE_CLIENT_CERT_FILE and DATASTORAGE_CLIENT_KEY_FILE";
            write!(f, " (the client's files: {files})")?;
        }
        Ok(())
    }
}
