//! Data Storage: keeps the audit trail, the workflow catalogue and the notification log, and acknowledges only what it keeps.
//!
//! An audit event becomes a row in three steps: `datastorage_api` reads and checks it, `audit::Writer` commits it together with
//! what arrives at the same time, and where the database is away `queue::Queue` keeps it on the disk until it is back.
//!
//! ```no_run
//! use datastorage::{clock::Clock, config::Config, server::serve};
//!
//! # async fn example() -> anyhow::Result<()> {
//! // The settings of the README, here of this process's own environment.
//! let config = Config::load(&std::env::vars().collect())?;
//! serve(&config, Clock::system(), None, std::future::pending()).await
//! # }
//! ```
//!
//! **Invariants:** SQL is in `store` alone (D2). A 201 follows a commit, a 202 follows a sync (D28). The server never
//! migrates; it says what is missing (D10). Nothing waits without a bound.
//!
//! Modules, each may import those after it: `server`, `line`, `router`, `workers`, `workflows`, `notifications`, `traces`, `parked`, `health`, `audit`, `app`, `gate`, `body`, `memory`, `parameters`, `cursor`, `problem`, `metrics`, `connections`, `pace`, `process`, `outcome`, `queue`, `availability`, `store`, `config`, `credentials`, `profile`, `tables`, `clock`

mod app;
mod audit;
mod availability;
mod body;
pub mod clock;
pub mod config;
mod connections;
mod credentials;
mod cursor;
mod gate;
mod health;
mod line;
mod memory;
mod metrics;
mod notifications;
mod outcome;
mod pace;
mod parameters;
mod parked;
mod problem;
mod process;
mod profile;
mod queue;
mod router;
pub mod server;
mod store;
mod tables;
mod traces;
mod workers;
mod workflows;
