//! Problem details: the body of every error (RFC 9457).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::FieldErrors;

/// Where the types of problems live unless a setting says otherwise (D27). Ends with a slash.
pub const DEFAULT_PROBLEM_BASE: &str = "https://kubernaut.io/problems/";

/// The kinds of problem that Data Storage reports: the last segment of the type's URI, the title and the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemType {
    /// The request breaks the contract.
    ValidationError,
    /// The call does not prove who makes it.
    Unauthorized,
    /// The server is not set up so that anybody may do this.
    Forbidden,
    /// A PATCH names a field that cannot change.
    ImmutableField,
    /// There is no such resource or path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The key is taken by other data.
    Conflict,
    /// The body is larger than the limit.
    PayloadTooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// The database refused what the contract allows, or lacks a part of the schema.
    DatabaseError,
    /// A defect of the server.
    InternalError,
    /// The server cannot take the request now; the same request may succeed later.
    ServiceUnavailable,
}

impl ProblemType {
    /// The last segment of the type's URI.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ValidationError => "validation-error",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::ImmutableField => "immutable-field-violation",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::RequestTimeout => "request-timeout",
            Self::Conflict => "conflict",
            Self::PayloadTooLarge => "payload-too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::DatabaseError => "database-error",
            Self::InternalError => "internal-error",
            Self::ServiceUnavailable => "service-unavailable",
        }
    }

    /// The title, the same for every occurrence (RFC 9457, 3.1.4).
    pub const fn title(self) -> &'static str {
        match self {
            Self::ValidationError => "Validation Error",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::ImmutableField => "Immutable Field Violation",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::Conflict => "Conflict",
            Self::PayloadTooLarge => "Payload Too Large",
            Self::UnsupportedMediaType => "Unsupported Media Type",
            Self::DatabaseError => "Database Error",
            Self::InternalError => "Internal Server Error",
            Self::ServiceUnavailable => "Service Unavailable",
        }
    }

    /// The HTTP status that usually goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::ValidationError | Self::ImmutableField => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::Conflict => 409,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::DatabaseError | Self::InternalError => 500,
            Self::ServiceUnavailable => 503,
        }
    }
}

/// What went wrong between the server and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseErrorKind {
    /// A table or view is missing (42P01): the migrations of a profile were not applied.
    RelationMissing,
    /// A table or view is missing (42P01), and the ledger says that its migration was applied and then reverted (D19).
    RelationReverted,
    /// No partition holds the event's date (23514).
    PartitionMissing,
    /// A column is missing (42703): an older schema.
    ColumnMissing,
    /// The role may not do this (42501).
    Permission,
    /// The user or its password is refused (28000, 28P01).
    Login,
    /// The database does not exist (3D000).
    DatabaseMissing,
    /// A key or check refuses the data (class 23).
    Constraint,
    /// The data does not fit the column (class 22).
    Type,
    /// The server cannot be reached, or closed the connection (class 08, 57P01 to 57P03).
    Connection,
    /// No connection became free in time, or PostgreSQL takes no more (53300).
    PoolExhausted,
    /// The statement took too long (57014) or a lock was not free in time (55P03).
    Timeout,
    /// Any other error of PostgreSQL.
    Other,
}

/// An RFC 9457 problem document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemDetails {
    /// URI of the problem type: the configured base and [`ProblemType::name`].
    #[serde(rename = "type")]
    pub type_uri: String,
    /// Title of the type.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong with this request and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The path that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Every violation, by field.
    #[serde(default, skip_serializing_if = "FieldErrors::is_empty")]
    pub field_errors: FieldErrors,
    /// What the database's part in it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DatabaseErrorKind>,
    /// PostgreSQL's error code, five characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// The table concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// Whether the same request may succeed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<bool>,
    /// Extension members beyond those above.
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
}

impl ProblemDetails {
    /// Media type of the document.
    pub const CONTENT_TYPE: &'static str = "application/problem+json";

    /// A problem of the given type under [`DEFAULT_PROBLEM_BASE`], with the type's own status.
    pub fn new(problem: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("{DEFAULT_PROBLEM_BASE}{}", problem.name()),
            title: problem.title().to_owned(),
            status: problem.status(),
            detail: Some(detail.into()),
            instance: None,
            field_errors: FieldErrors::default(),
            kind: None,
            sqlstate: None,
            relation: None,
            retry: None,
            extensions: Map::new(),
        }
    }

    /// Whether the one thing that is wrong is what `what` says of the time of one event, [`crate::time::AHEAD`] for example.
    pub fn is_only_of_time(&self, what: &str) -> bool {
        let mut errors = self.field_errors.iter();
        let first = errors.next().is_some_and(|(field, text)| {
            field.rsplit('.').next() == Some("event_timestamp")
                && text.contains(what)
                && !text.contains("; ")
        });
        first && errors.next().is_none()
    }

    /// The last segment of the type's URI, by which a client distinguishes problems whatever the base is.
    pub fn name(&self) -> &str {
        self.type_uri.rsplit('/').next().unwrap_or_default()
    }
}
