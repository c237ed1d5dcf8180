//! The fake as a process, with the real Data Storage behind it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]

mod process;
mod support;
mod usage;
