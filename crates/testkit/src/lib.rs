//! What the tests of this workspace share: databases, waiting, events, a fault proxy, fake tools.
//!
//! A dev-dependency only. Functions panic where a test could do nothing else, and the panic says what is missing.
//!
//! ```no_run
//! # async fn example() {
//! // A database with the tables of a profile and a Data Storage on it; both are gone with their handles.
//! let database = testkit::postgres::database("gateway").await;
//! let service = testkit::datastorage::Service::serving("gateway", &database).await;
//! println!("{}", service.url());
//! # }
//! ```
//!
//! Modules, each may import those after it: `faults`, `load`, `datastorage`, `tls`, `postgres`, `altering`, `migration_files`, `catalogue`, `events`, `fake_tool`, `proxy`, `wait`

#![expect(
    clippy::missing_panics_doc,
    reason = "every function here panics when the test cannot go on"
)]

#[cfg(feature = "altering")]
pub mod altering;
pub mod catalogue;
#[cfg(feature = "postgres")]
pub mod datastorage;
pub mod events;
pub mod fake_tool;
#[cfg(feature = "postgres")]
pub mod faults;
#[cfg(feature = "postgres")]
pub mod load;
#[cfg(feature = "postgres")]
pub mod migration_files;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod proxy;
#[cfg(feature = "tls")]
pub mod tls;
pub mod wait;
