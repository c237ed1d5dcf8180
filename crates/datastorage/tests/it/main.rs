//! The service against a real PostgreSQL, over HTTP.
//!
//! Multi-threaded tests: dropping a test's database blocks its thread, and an instance that is just logging in must be able to
//! go on meanwhile.

mod access;
mod clock;
mod commits;
mod contract;
mod exactly_once;
mod listener;
mod malformed;
mod metrics;
mod notifications;
mod outages;
mod process;
mod queries;
mod queue;
mod queue_file;
mod readiness;
mod replicas;
mod schema;
#[cfg(feature = "schemathesis")]
mod schemathesis;
mod slow_clients;
mod starvation;
mod support;
mod tls;
mod traces;
mod wire;
mod workflows;
mod writes;
