//! PostgreSQL migrations from plain SQL files, each applied once, by any number of processes at a time.
//!
//! ```no_run
//! use migrator::{Catalogue, Config, apply};
//!
//! # async fn example() -> Result<(), migrator::Error> {
//! let files = [
//!     ("0001_orders.up.sql", "-- provides: table orders\nCREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY);"),
//!     ("0001_orders.down.sql", "DROP TABLE IF EXISTS orders;"),
//! ];
//! let catalogue = Catalogue::from_files("shop", files, "")?;
//! let report = apply(&Config::new("postgres://shop@localhost/shop", catalogue)).await?;
//! println!("{} applied, {} were there", report.applied.len(), report.up_to_date);
//! # Ok(())
//! # }
//! ```
//!
//! - [`Catalogue`] is what there is: pairs of files `NNNN_<id>.up.sql` and `.down.sql` ([`Catalogue::from_files`]), or a directory in
//!   goose's format ([`Catalogue::from_goose_dir`], [`GooseReader`]). It knows no database.
//! - [`Selection`] is what a caller needs of it: profiles, groups or tables; what those require comes with them.
//! - [`Config`] says where, what, how long, and what the migrator's own things in the database are called: schema, ledger, the
//!   application's role, the class of its locks.
//! - [`apply`] does it and returns a [`Report`]. [`plan`], [`status`], [`verify`] and [`drift`] only read; [`trace`] shows the locks of a plan; [`revert`] reverts migrations;
//!   [`template`] makes databases with everything in them, cloned in milliseconds.
//! - [`Error`] has a case for each thing that can go wrong, each with its next move.
//!
//! # What holds
//!
//! A migration is one transaction with its row in the ledger: it is applied or it is not. One that PostgreSQL refuses in a transaction
//! (`-- transaction: none`) runs in steps, and the next run goes on where a killed one stopped. Runs on one database follow each
//! other, by a session advisory lock; a pooler in transaction mode, behind which that lock protects nothing, is refused. An applied
//! file never changes: its checksum is compared. Where shapes were recorded ([`record_shapes`]), what a migration leaves is compared
//! with them inside its transaction.
//!
//! The library starts no process and prints nothing. It links no TLS of its own: [`Config::tls`] takes what encrypts, and the URL's
//! `sslmode` says how much of it there must be.
//!
//! Modules, each may import those after it: `examine`, `trace`, `leases`, `template`, `record`, `lint`, `revert`, `loss`, `adopt`, `apply`, `foreign`, `inspect`, `made`, `database`, `steps`, `concurrent`, `message`, `view`, `retire`, `partitions`, `grants`, `shape`, `roles`, `lock`, `session`, `blocked`, `dial`, `config`, `target`, `plan`, `units`, `settings`, `ledger`, `goose`, `envsub`, `catalogue`, `selection`, `error`, `report`, `history`, `migration`, `rows`, `names`, `words`, `sql`

mod adopt;
mod apply;
mod blocked;
mod catalogue;
mod concurrent;
mod config;
mod database;
mod dial;
mod envsub;
mod error;
pub mod examine;
mod foreign;
mod goose;
mod grants;
mod history;
mod inspect;
mod leases;
mod ledger;
mod lint;
mod lock;
mod loss;
mod made;
mod message;
mod migration;
mod names;
mod partitions;
mod plan;
mod record;
mod report;
mod retire;
mod revert;
mod roles;
mod rows;
mod selection;
mod session;
mod settings;
mod shape;
mod sql;
mod steps;
mod target;
mod template;
mod trace;
mod units;
mod view;
mod words;

pub use adopt::{Adopt, Adopted, adopt, baseline};
pub use apply::apply;
pub use catalogue::Catalogue;
pub use config::{Config, DEFAULT_DEADLINE};
pub use database::{create_database, drop_database, probe};
pub use error::{CatalogueError, Error, MigrationFailure};
pub use goose::GooseReader;
pub use history::Difference;
pub use inspect::{
    Comparison, MigrationState, Status, StatusLine, Verified, drift, plan, status, verify,
};
pub use leases::{clone_leased, create_leased, drop_expired, renew_lease};
pub use lint::{Finding, lint};
pub use loss::{Loss, LossKind};
pub use migration::{Migration, Mode, Object, ObjectKind};
pub use partitions::{MONTHS_AHEAD, ensure_partitions};
pub use plan::{Plan, Planned, Reason};
pub use record::record_shapes;
pub use report::{Applied, Blocker, Event, Holder, Report};
pub use retire::{Month, MonthState, Retirement, retire, retire_plan};
pub use revert::{Revert, RevertPlan, Reverted, plan_revert, revert};
pub use selection::Selection;
pub use target::{ByteStream, Dialer, Encrypted, Encryptor, Lookup};
pub use template::{Template, template};
pub use trace::{Outcome, TableLock, Trace, TracedMigration, TracedStatement, trace};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
