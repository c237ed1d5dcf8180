//! Turns problem details into responses.

use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use datastorage_api::{
    DEFAULT_PROBLEM_BASE, DatabaseErrorKind, FieldErrors, ProblemDetails, ProblemType,
    SubmissionError,
};

use crate::metrics::Metrics;
use crate::store::StoreError;

/// Seconds after which a client may try again.
const RETRY_AFTER_SECONDS: u16 = 1;

/// A problem that becomes the response; [`finish`] adds base URI and path.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<ProblemDetails>);

impl Problem {
    pub(crate) fn new(problem: ProblemType, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemDetails::new(problem, detail)))
    }

    /// One field breaks the contract.
    pub(crate) fn field(field: &str, what: &str) -> Self {
        let mut errors = FieldErrors::default();
        errors.add(field, what);
        Self::new(ProblemType::ValidationError, what).with_fields(errors)
    }

    /// The server cannot take it now.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(ProblemType::ServiceUnavailable, detail);
        problem.0.retry = Some(true);
        problem
    }

    pub(crate) fn with_fields(mut self, errors: FieldErrors) -> Self {
        self.0.field_errors = errors;
        self
    }

    /// Has another title than its type, as the existing service has it.
    pub(crate) fn titled(mut self, title: &str) -> Self {
        title.clone_into(&mut self.0.title);
        self
    }

    /// Says which field of which resource is taken, in the members that existing clients read.
    pub(crate) fn taken(mut self, resource: &str, field: &str, value: &str) -> Self {
        for (member, text) in [("resource", resource), ("field", field), ("value", value)] {
            self.0.extensions.insert(member.to_owned(), text.into());
        }
        self
    }

    /// Names the table concerned and what is wrong with it.
    pub(crate) fn about(mut self, kind: DatabaseErrorKind, relation: &str) -> Self {
        self.0.kind = Some(kind);
        self.0.relation = Some(relation.to_owned());
        self
    }

    /// A body breaks the contract: every violation, each counted.
    pub(crate) fn submission(metrics: &Metrics, error: SubmissionError) -> Self {
        let problem = Self::new(ProblemType::ValidationError, error.to_string());
        match error {
            SubmissionError::Body(_) => {
                metrics.validation_failure("body");
                problem
            }
            SubmissionError::Fields { errors, .. } => {
                for (field, _) in errors.iter() {
                    metrics.validation_failure(member(field));
                }
                problem.with_fields(errors)
            }
        }
    }

    /// The database failed: 503 where waiting or a migration helps, else 500 (D28).
    pub(crate) fn store(error: &StoreError) -> Self {
        let mut problem = Self::new(ProblemType::DatabaseError, store_detail(error));
        let details = &mut problem.0;
        let passes = error.is_away() || error.is_transient() || error.is_schema();
        details.status = if passes { 503 } else { 500 };
        details.kind = Some(error.kind);
        details.sqlstate.clone_from(&error.sqlstate);
        details.relation = Some(error.relation.clone());
        details.retry = Some(passes);
        tracing::warn!(detail = details.detail, kind = ?error.kind, sqlstate = error.sqlstate, "a request fails at the database");
        problem
    }

    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        self.0.detail.as_deref().unwrap_or_default()
    }
}

/// The member of the body that a path begins with: one of the contract's names, whatever the client calls what is in it.
fn member(path: &str) -> &str {
    let in_item = path.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let path = in_item.map_or(path, |(_, rest)| rest.trim_start_matches('.'));
    match path.split(['.', '[']).next() {
        None | Some("") => "event",
        Some(member) => member,
    }
}

/// What happened and the next move, by kind.
fn store_detail(error: &StoreError) -> String {
    use DatabaseErrorKind as Kind;
    let StoreError {
        kind,
        relation,
        message,
        ..
    } = error;
    match kind {
        Kind::RelationMissing | Kind::ColumnMissing => {
            format!(
                "the schema is incomplete: {message}; apply the migrations of the profile that this instance serves (/health/ready lists what is missing)"
            )
        }
        Kind::RelationReverted => format!(
            "the schema is incomplete: {message}; its migration was applied and then reverted: apply the migrations again, and do not revert them"
        ),
        Kind::PartitionMissing => format!(
            "{relation} has no partition for the date of an event; run `migrate partitions`, or let ensure_audit_events_partitions() make it"
        ),
        Kind::Permission | Kind::Login | Kind::DatabaseMissing => {
            format!("the database refuses this server: {message}; check its account and grants")
        }
        Kind::Constraint | Kind::Type | Kind::Other if error.is_schema() => format!(
            "{relation} is not as this server writes to it: {message}; apply the migrations of this version (/health/ready lists what differs)"
        ),
        Kind::Constraint | Kind::Type => {
            format!("the database refuses the data for {relation}: {message}")
        }
        _ if error.is_in_doubt() => format!(
            "the database went away before it said whether the write is committed: {message}; query it, or send it again under the same keys"
        ),
        Kind::Connection => format!("the database is away: {message}; try again later"),
        Kind::PoolExhausted => {
            format!("the database takes no more at once: {message}; try again later")
        }
        Kind::Timeout => format!(
            "the database took too long for {relation}: {message}; try again later, and ask for less (since, until, a smaller limit) if it was a read"
        ),
        Kind::Other => format!("the database failed on {relation}: {message}"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a problem, whose type begins with `base` and whose instance is the path.
pub(crate) fn finish(base: &str, uri: &Uri, mut response: Response) -> Response {
    let Some(Problem(mut details)) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    if let Some(name) = details.type_uri.strip_prefix(DEFAULT_PROBLEM_BASE) {
        details.type_uri = format!("{base}{name}");
    }
    details.instance = Some(uri.path().to_owned());
    let (mut parts, _) = response.into_parts();
    // The router's, of the body that was empty until now.
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(ProblemDetails::CONTENT_TYPE),
    );
    if details.retry == Some(true) {
        parts
            .headers
            .insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    let body = serde_json::to_vec(&details).unwrap_or_default();
    Response::from_parts(parts, body.into())
}

#[cfg(test)]
mod tests {
    use super::member;

    #[test]
    fn a_violation_is_counted_under_a_name_of_the_contract() {
        for (path, expected) in [
            ("", "event"),
            ("[3]", "event"),
            ("[3].event_type", "event_type"),
            ("labels.severity", "labels"),
            ("custom_labels.made up", "custom_labels"),
            ("custom_labels.x].y", "custom_labels"),
            ("filters.custom_labels.a[0]", "filters"),
        ] {
            assert_eq!(member(path), expected, "{path}");
        }
    }
}
