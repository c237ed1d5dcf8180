//! A run of `bench all` with all that its figures depend on, and the file that has a line for each.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::row::{Row, append};

/// A run and its rows.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Run {
    /// When it began.
    pub at: Timestamp,
    /// What was measured, shortened as git does.
    pub commit: String,
    /// Whether files were changed and not committed.
    pub is_changed: bool,
    /// Where.
    pub machine: Machine,
    /// Whether it was seen that nothing else ran at the beginning.
    pub at_rest: bool,
    /// The load of the last minute, before and after.
    pub load: [f64; 2],
    /// What was found.
    pub rows: Vec<Row>,
}

/// What the figures of a machine depend on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// The name of its processor.
    pub processor: String,
    /// How many of them this program may use.
    pub cores: usize,
    /// In MiB.
    pub memory: u64,
    /// The kernel and its release.
    pub kernel: String,
}

/// The runs of a file, and how many of its lines are none: a line that an earlier form of this program wrote, or half a line.
#[derive(Debug, Default, PartialEq)]
pub struct History {
    /// The oldest first.
    pub runs: Vec<Run>,
    /// Lines that were passed over.
    pub unread: usize,
}

impl History {
    /// Adds a run to the file, which is made where it is missing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append(file: &Path, run: &Run) -> std::io::Result<()> {
        append(file, run)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(file: &Path) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let mut history = Self::default();
        for line in text.lines() {
            match serde_json::from_str(line) {
                Ok(run) => history.runs.push(run),
                Err(_) => history.unread += 1,
            }
        }
        Ok(history)
    }
}

/// A run for tests of what is made of runs.
#[cfg(test)]
pub(crate) fn example(commit: &str, rows: Vec<Row>) -> Run {
    Run {
        at: "2026-01-02T03:04:05Z".parse().expect("a time"),
        commit: commit.to_owned(),
        is_changed: false,
        machine: Machine {
            processor: "A Processor".to_owned(),
            cores: 2,
            memory: 8192,
            kernel: "Linux 6.1".to_owned(),
        },
        at_rest: true,
        load: [0.1, 1.25],
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_as_it_was_written_and_a_line_that_is_none_is_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("history.jsonl");
        let runs = ["one", "two"].map(|commit| example(commit, Vec::new()));
        History::append(&file, &runs[0]).expect("a line");
        let mut text = std::fs::read_to_string(&file).expect("text");
        text.push_str("{\"at\": half\n");
        std::fs::write(&file, text).expect("a file");
        History::append(&file, &runs[1]).expect("a line");
        let history = History::read(&file).expect("a history");
        assert_eq!(history.runs, runs);
        assert_eq!(history.unread, 1);
    }
}
