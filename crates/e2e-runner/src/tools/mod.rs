//! The programs and libraries that a run drives, one file each.

pub mod cargo;
pub mod docker;
pub mod health;
pub mod kind;
pub mod kubectl;
pub mod migrate;
pub mod postgres_url;
