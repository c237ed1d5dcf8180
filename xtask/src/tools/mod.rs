//! The programs that the tool drives, one file each.

pub mod cargo;
pub mod docker;
pub mod kind;
pub mod kubectl;
