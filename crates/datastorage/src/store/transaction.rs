//! The ends of a transaction, so that a commit is believed only when PostgreSQL says so.

use deadpool_postgres::Object;

/// Begins a transaction whose statements each see what was committed before them, whatever the role's default: a repeat, and the
/// fate of a commit that was not answered, are looked for behind a lock that waits for others.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// A statement failed, and whether PostgreSQL may have committed nevertheless.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: tokio_postgres::Error,
    /// The commit was sent, and no answer to it was read: only the data's keys show what became of it.
    pub(super) in_doubt: bool,
}

impl Failure {
    /// The error of something that was under way when COMMIT had been sent.
    pub(super) fn at_commit(error: tokio_postgres::Error) -> Self {
        let in_doubt = error.as_db_error().is_none_or(ends_connection);
        Self { error, in_doubt }
    }
}

/// An error before the commit was sent: nothing is stored.
impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self {
            error,
            in_doubt: false,
        }
    }
}

/// Ends the transaction that `client` is in. Ok means that it is committed, if every statement before was answered without an
/// error: PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK and no error (PostgreSQL manual, COMMIT,
/// "Outputs"), and the driver does not show which of the two it was.
pub(super) async fn commit(client: &Object) -> Result<(), Failure> {
    client
        .batch_execute("COMMIT")
        .await
        .map_err(Failure::at_commit)
}

/// Ends the transaction that `client` is in without its effects, failed or not.
pub(super) async fn roll_back(client: &Object) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("ROLLBACK").await
}

/// Whether the backend ended with this error, be it after the commit record was written (PostgreSQL manual, "Message Severity
/// Levels").
pub(super) fn ends_connection(error: &tokio_postgres::error::DbError) -> bool {
    use tokio_postgres::error::Severity;
    matches!(
        error.parsed_severity(),
        Some(Severity::Fatal | Severity::Panic)
    )
}
