//! A run of end-to-end suites: planned, set up on a target, tested, explained where it fails, torn down.
//!
//! Everything of a run but its command line and its terminal. Nothing here prints: a run's events go to its log and to a watcher
//! ([`reporter::Watcher`]), and what a run comes to is a value ([`run::Ended`]). Processes start in [`process`] only.
//!
//! Modules, each may import those after it: `doctor`, `run`, `guest`, `tools`, `table`, `kubernetes_version`, `names`, `paths`, `bundle`, `cargo_settings`, `inputs`, `shard`, `durations`, `reports`, `state`, `wait`, `process`, `reporter`, `secrets`, `settings`, `exit`, `fingerprint`

pub mod bundle;
pub mod cargo_settings;
pub mod doctor;
pub mod durations;
pub mod exit;
pub mod fingerprint;
pub mod guest;
pub mod inputs;
pub mod kubernetes_version;
pub mod names;
pub mod paths;
pub mod process;
pub mod reporter;
pub mod reports;
pub mod run;
pub mod secrets;
pub mod settings;
pub mod shard;
pub mod state;
pub mod table;
pub mod tools;
pub mod wait;
