//! A run without Docker: PostgreSQL, Data Storage and services as processes of this machine (D8).
//!
//! Modules, each may import those after it: `programs`, `parts`, `coverage`, `postgres`, `installation`, `launch`

pub mod coverage;
pub mod installation;
pub mod launch;
pub mod parts;
pub mod postgres;
pub mod programs;

/// Why runs without Docker cannot be had on a system, and what can.
pub fn refusal(system: &str) -> Option<(&'static str, &'static str)> {
    (system != "linux").then_some((
        "the local target needs Linux: it knows its processes by /proc",
        "run with --target kind",
    ))
}
