//! Causes that are made on real PostgreSQL, found and repaired.
//!
//! `E2E_POSTGRES_BIN` chooses the major version.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod diagnose;

use testkit::postgres::{run, value};
