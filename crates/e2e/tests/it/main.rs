//! End-to-end suites, one module per service; xtask runs a module against an environment that it has set up.
//!
//! Each test makes its own correlation id, so tests need no order and no clean-up, and a suite can run again on the same
//! environment.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]
#![expect(
    clippy::print_stdout,
    reason = "the report of a run shows what its tests measured"
)]

mod audit;
mod environment;
mod workflowexecution;
