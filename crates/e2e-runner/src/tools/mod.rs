//! The programs and libraries that a run drives, one file each.
//!
//! Modules, each may import those after it: `coverage`, `migrate`, `release`, `registry`, `cargo`, `go`, `compiler`, `elf`, `health`, `kind`, `kubectl`, `daemon`, `docker`, `postgres`, `names`

pub mod cargo;
pub mod compiler;
pub mod coverage;
pub mod daemon;
pub mod docker;
pub mod elf;
pub mod go;
pub mod health;
pub mod kind;
pub mod kubectl;
pub mod migrate;
pub mod names;
pub mod postgres;
pub mod registry;
pub mod release;
