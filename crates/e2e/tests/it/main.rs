//! End-to-end suites, one module per service; xtask runs a module against an environment that it has set up.
//!
//! `gateway::` selects the gateway's suite with `alone::gateway::`, which needs a PostgreSQL server of its own; `--skip alone::` leaves that out.
//! `replicas::datastorage::` needs several replicas of Data Storage on Kind.
//! Each test makes its own correlation id, so tests need no order and no clean-up, and a suite can run again on the same environment. What each
//! suite asserts is in the README beside this crate's manifest.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]
#![expect(
    clippy::print_stdout,
    reason = "the report of a run shows what its tests measured"
)]

// What the suites share.
mod audit;
mod catalogue;
mod environment;
mod fault;
mod kubectl;
mod load;
mod service;
mod tool;
mod writer;

// The suites.
mod aianalysis;
mod alone;
mod datastorage;
mod gateway;
mod notification;
mod remediationorchestrator;
mod replicas;
mod signalprocessing;
mod workflowexecution;
