//! The verbs, one file each.
//!
//! Modules, each may import those after it: `diagnose`, `doctor`, `e2e`, `versions`, `up`, `test`, `tiers`, `attach`, `down`, `kill`, `migrate`, `services`, `node`, `ci`, `completions`, `flakes`, `dist`, `own`, `bench`, `workspace_tasks`, `reap`, `report`, `status`, `sharding`, `asked`, `begin`, `ending`, `environment`, `database`, `args`

pub mod args;
mod asked;
pub mod attach;
mod begin;
pub mod bench;
pub mod ci;
pub mod completions;
mod database;
pub mod diagnose;
pub mod dist;
pub mod doctor;
pub mod down;
pub mod e2e;
mod ending;
mod environment;
pub mod flakes;
pub mod kill;
pub mod migrate;
pub mod node;
pub mod own;
pub mod reap;
pub mod report;
pub mod services;
mod sharding;
pub mod status;
pub mod test;
pub mod tiers;
pub mod up;
mod versions;
pub mod workspace_tasks;
