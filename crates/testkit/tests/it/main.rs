//! Tests of what other tests rely on.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]

mod altering;
mod events;
mod fake_tool;
mod postgres;
mod proxy;
mod wait;
