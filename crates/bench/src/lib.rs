//! What several benchmarks share.

pub mod goose;
