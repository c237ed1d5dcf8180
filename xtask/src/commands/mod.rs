//! The verbs, one file each.

pub mod args;
pub mod attach;
mod begin;
pub mod ci;
pub mod completions;
pub mod diagnose;
pub mod doctor;
pub mod down;
pub mod e2e;
mod ending;
mod environment;
pub mod flakes;
pub mod kill;
pub mod migrate;
pub mod programs;
pub mod reap;
pub mod report;
pub mod services;
pub mod status;
pub mod test;
pub mod up;
