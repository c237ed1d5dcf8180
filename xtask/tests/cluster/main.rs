//! What only a cluster that others use too can show: runs are guests there, meet nobody, and leave nothing.
//!
//! A Kind cluster made for these tests stands for the one of others, a registry of this machine for theirs. Behind the feature `cluster`:
//! `cargo xtask test` turns it on where Docker, kind and docker-registry are.

mod guests;
mod place;
mod reaching;
mod refusals;
