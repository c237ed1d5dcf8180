//! Reports of an end-to-end run, made from its log of events alone: a timeline in HTML, JUnit, a job summary for GitHub, flaky tests.
//!
//! Everything here is a function of its arguments: no clock, no file, no process, no terminal. An event is written and read back by
//! the same type, [`Event`]; a [`Log`] is what a run's events say together.
//!
//! Modules, each may import those after it: `versions`, `html`, `junit`, `github`, `flaky`, `services`, `critical_path`, `log`, `event`, `text`

pub mod critical_path;
pub mod event;
pub mod flaky;
pub mod github;
pub mod html;
pub mod junit;
pub mod log;
pub mod services;
pub mod text;
pub mod versions;

pub use event::{Event, Failed, Outcome, Record};
pub use log::Log;
