//! Finds out why audit events do not reach a database: connects, reads what is there, and writes a probe that is rolled back.
//!
//! [`diagnose`] gives each cause its name, the evidence that shows it, and the steps that repair it; nothing is changed until
//! [`repair`], which makes, grants and migrates. What would drop or rewrite something is a person's to decide ([`Repair::Person`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), migrator::Error> {
//! let config = migrations::Config::new("postgres://slm_user@localhost/action_history").profile("gateway");
//! for finding in diagnose::diagnose(&config, &[]).await?.findings {
//!     println!("{}: {}", finding.cause.words(), finding.summary);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Modules, each may import those after it: `examine`, `repair`, `probe`, `activity`, `schema`, `difference`, `examination`, `diagnosis`, `cause`

mod activity;
mod cause;
mod diagnosis;
mod difference;
mod examination;
mod examine;
mod probe;
mod repair;
mod schema;

pub use cause::{Cause, Finding, Repair};
pub use diagnosis::{Check, Diagnosis, Verdict};
pub use examine::diagnose;
pub use repair::repair;
