//! The runner of processes, the only place that starts them: a command has a deadline unless it is interactive or outlives the call,
//! ends on a signal, is recorded while it runs, and is written to the run's log.
//!
//! Modules, each may import those after it: `piped`, `runner`, `error`, `output`, `record`, `cancel`

pub mod cancel;
mod error;
mod output;
mod piped;
pub mod record;
mod runner;

pub use error::Error;
pub use output::{Status, tail_of};
pub use runner::{Child, Command, Runner, become_program, is_of_our_package};
