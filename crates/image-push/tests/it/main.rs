//! The program against real registries, processes of Debian's `docker-registry`, and against fakes of what those do not do.
//!
//! Behind the feature `registry`, for machines that have the program: `cargo xtask test` turns it on there.

mod fake;
mod program;
mod registry;
mod server;
