//! A run without Docker: PostgreSQL, Data Storage and services as processes of this machine (D8).
//!
//! Modules, each may import those after it: `programs`, `parts`, `coverage`, `postgres`, `installation`, `launch`

pub mod coverage;
pub mod installation;
pub mod launch;
pub mod parts;
pub mod postgres;
pub mod programs;
