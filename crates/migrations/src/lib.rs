//! Applies the schema's migrations: the ones that a service needs, each once, by any number of processes at a time.
//!
//! ```text
//! let report = migrations::apply(&Config::new(url).profile("gateway")).await?;
//! ```
//!
//! - [`Catalogue`] is what there is: the files of `migrations/`, embedded, or a team's own.
//! - [`Selection`] is what a caller needs of it: profiles, groups or tables (D17).
//! - [`Config`] says where, what, and how long; [`apply`] does it and returns a [`Report`].
//! - [`Error`] has a case for each thing that can go wrong, each with its next move (D22).
//!
//! The crate depends on no other of the workspace, starts no process and prints nothing (D1).
//!
//! Modules, each may import those after it: `diagnose`, `template`, `record`, `lint`, `undo`, `apply`, `inspect`, `database`, `steps`, `message`, `view`, `partitions`, `shape`, `roles`, `lock`, `session`, `config`, `plan`, `ledger`, `goose`, `catalogue`, `selection`, `error`, `report`, `history`, `migration`, `rows`, `embedded`, `sql`

mod apply;
mod catalogue;
mod config;
mod database;
pub mod diagnose;
mod embedded;
mod error;
mod goose;
mod history;
mod inspect;
mod ledger;
mod lint;
mod lock;
mod message;
mod migration;
mod partitions;
mod plan;
mod record;
mod report;
mod roles;
mod rows;
mod selection;
mod session;
mod shape;
mod sql;
mod steps;
mod template;
mod undo;
mod view;

pub use apply::apply;
pub use catalogue::Catalogue;
pub use config::{ByteStream, Config, DEFAULT_DEADLINE, Dialer};
pub use database::{create_database, drop_database, probe};
pub use embedded::SOURCE;
pub use error::{CatalogueError, Error, MigrationFailure};
pub use history::Difference;
pub use inspect::{
    Comparison, Standing, Status, StatusLine, Verified, drift, plan, status, verify,
};
pub use lint::{Finding, lint};
pub use migration::{Migration, Mode, Object, ObjectKind};
pub use partitions::{MONTHS_AHEAD, ensure_partitions};
pub use plan::{Plan, Planned, Reason};
pub use record::record_shapes;
pub use report::{Applied, Event, Holder, Report};
pub use selection::Selection;
pub use template::{Template, template};
pub use undo::{Undo, Undone, down};

/// Applies the tables of audit events and nothing else; short for [`apply`] with the group `audit`.
///
/// # Errors
/// As [`apply`].
pub async fn apply_audit(config: &Config) -> Result<Report, Error> {
    apply(&config.clone().profile("audit")).await
}

/// Applies the whole schema; short for [`apply`] with everything selected.
///
/// # Errors
/// As [`apply`].
pub async fn apply_all(config: &Config) -> Result<Report, Error> {
    apply(&config.clone().select(Selection::all())).await
}
