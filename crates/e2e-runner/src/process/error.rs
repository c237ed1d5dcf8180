//! Why a command gave no result.

use std::path::PathBuf;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::process::cancel::Cancel;

/// Why a command gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there.
    #[error("`{program}` is required and not {place}")]
    NotFound {
        /// The name looked for.
        program: String,
        /// Where it was looked for, as in "on PATH".
        place: String,
    },
    /// The directory to run in is not there.
    #[error("`{command}` cannot run in {}: there is no such directory", dir.display())]
    NoDirectory {
        /// The command line.
        command: String,
        /// The directory.
        dir: PathBuf,
    },
    /// The command ended with another status than success.
    #[error("`{command}` ended with {status}{}", indented(tail))]
    Failed {
        /// The command line.
        command: String,
        /// Exit status or signal, in words.
        status: String,
        /// The end of its standard error, else of its standard output.
        tail: String,
    },
    /// The command ran longer than it may.
    #[error("`{command}` exceeded its deadline of {} s and was killed{}", deadline.as_secs_f32(), indented(tail))]
    TimedOut {
        /// The command line.
        command: String,
        /// Its bound.
        deadline: Duration,
        /// What it had printed by then.
        tail: String,
    },
    /// A signal asked the tool to stop.
    #[error("`{command}` was stopped by a signal")]
    Cancelled {
        /// The command line.
        command: String,
    },
    /// The operating system refused.
    #[error("`{command}` could not be run: {source}")]
    Io {
        /// The command line.
        command: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl Error {
    /// As a failure of a stage: signals and deadlines keep their own exit code, all else gets `exit`.
    pub fn into_failure(self, exit: Exit, cancel: &Cancel) -> Failure {
        match self {
            Self::Cancelled { .. } => cancel.failure(),
            Self::TimedOut { .. } => Failure::new(Exit::Deadline, self.to_string()),
            other => Failure::new(exit, other.to_string()),
        }
    }
}

fn indented(text: &str) -> String {
    text.trim()
        .lines()
        .fold(String::new(), |text, line| text + "\n    " + line)
}
