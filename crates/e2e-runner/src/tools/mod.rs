//! The programs and libraries that a run drives, one file each.
//!
//! Modules, each may import those after it: `coverage`, `migrate`, `release`, `registry`, `cargo`, `go`, `compiler`, `health`, `kind`, `kubectl`, `api_server`, `daemon`, `docker`, `engine`, `elf`, `postgres`, `names`

pub mod api_server;
pub mod cargo;
pub mod compiler;
pub mod coverage;
pub mod daemon;
pub mod docker;
pub mod elf;
pub mod engine;
pub mod go;
pub mod health;
pub mod kind;
pub mod kubectl;
pub mod migrate;
pub mod names;
pub mod postgres;
pub mod registry;
pub mod release;
