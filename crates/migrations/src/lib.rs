//! The schema that Data Storage writes to, and the part of it that each service needs.
//!
//! ```no_run
//! # async fn example() -> Result<(), migrations::Error> {
//! use migrations::{Config, apply};
//!
//! let report = apply(&Config::new("postgres://slm_user@localhost/action_history").profile("gateway")).await?;
//! println!("{} applied", report.applied.len());
//! # Ok(())
//! # }
//! ```
//!
//! The files of `migrations/` are embedded; [`catalogue`] holds them with their profiles and recorded shapes. [`Config`] is a
//! [`migrator::Config`] for them, with this schema's names. Everything else is the engine, [`migrator`], which knows nothing of
//! this schema: what there is to know is here.
//!
//! Modules, each may import those after it: `config`, `embedded`

mod config;
mod embedded;

pub use config::Config;
pub use embedded::{ROLE, SOURCE, catalogue};
pub use migrator::{
    Adopt, Adopted, Applied, Blocker, ByteStream, Catalogue, CatalogueError, Comparison,
    DEFAULT_DEADLINE, Dialer, Difference, Encrypted, Encryptor, Error, Event, Finding, GooseReader,
    Holder, Lookup, Loss, LossKind, MONTHS_AHEAD, Migration, MigrationFailure, MigrationState,
    Mode, Month, MonthState, Object, ObjectKind, Plan, Planned, Reason, Report, Retirement, Revert,
    RevertPlan, Reverted, Selection, Status, StatusLine, Template, Trace, Verified, adopt, apply,
    baseline, clone_leased, create_database, create_leased, drift, drop_database, drop_expired,
    ensure_partitions, lint, plan, plan_revert, probe, record_shapes, renew_lease, retire,
    retire_plan, revert, status, template, trace, verify,
};

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
