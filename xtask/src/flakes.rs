//! How each test has fared on this machine, run after run: what both passes and fails is flaky.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::reports::Log;
use crate::state::write_private;

/// How many of the last attempts are remembered one by one.
const RECENT: usize = 40;

/// What is known of one test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Attempts so far.
    pub attempts: u64,
    /// Those that failed.
    pub failed: u64,
    /// The last attempts, the newest at the end: `.` passed, `F` failed.
    pub recent: String,
    /// When it failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
}

impl Record {
    /// Whether it both passed and failed lately: a test that was mended, or broken for good, is not flaky for ever.
    pub fn is_flaky(&self) -> bool {
        self.recent.contains('F') && self.recent.contains('.')
    }

    fn attempt(&mut self, passed: bool, now: Timestamp) {
        self.attempts += 1;
        if self.recent.len() >= RECENT {
            self.recent.remove(0);
        }
        self.recent.push(if passed { '.' } else { 'F' });
        if !passed {
            self.failed += 1;
            self.failed_at = Some(now);
        }
    }
}

/// Every test that ever ran here, by service and name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tests(BTreeMap<String, Record>);

impl Tests {
    /// What was learnt so far, beside the runs; nothing where the file is missing or damaged.
    pub fn load(runs: &Path) -> Self {
        let text = std::fs::read_to_string(file(runs)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Learns from the tests of a log and writes it down. Two runs at once may each lose the other's lesson.
    pub fn learn(mut self, log: &Log, runs: &Path) {
        if log.tests.is_empty() {
            return;
        }
        let now = Timestamp::now();
        for test in &log.tests {
            let name = format!("{} {}", test.service, test.name);
            let record = self.0.entry(name).or_default();
            for passed in &test.attempts {
                record.attempt(*passed, now);
            }
        }
        let text = serde_json::to_string_pretty(&self).unwrap_or_default();
        // No run fails for what is only remembered.
        drop(write_private(&file(runs), text.as_bytes()));
    }

    /// The flaky ones, those that failed most first.
    pub fn flaky(&self) -> Vec<(&str, &Record)> {
        let mut flaky: Vec<_> = self
            .0
            .iter()
            .filter(|(_, record)| record.is_flaky())
            .map(|(name, record)| (name.as_str(), record))
            .collect();
        flaky.sort_by_key(|(_, record)| std::cmp::Reverse(record.recent.matches('F').count()));
        flaky
    }

    /// How many tests are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

fn file(runs: &Path) -> PathBuf {
    runs.join("tests.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_flaky_while_its_last_attempts_differ() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = |outcome: &str| {
            let line = format!(
                "{{\"seconds\":1,\"event\":\"test\",\"service\":\"s\",\"name\":\"t\",\"outcome\":\"{outcome}\"}}"
            );
            Tests::load(dir.path()).learn(&Log::parse(&line), dir.path());
        };
        attempt("failed");
        assert_eq!(Tests::load(dir.path()).flaky(), []);
        attempt("ok");
        let tests = Tests::load(dir.path());
        let (name, record) = tests.flaky()[0];
        assert_eq!(
            (name, record.recent.as_str(), record.failed),
            ("s t", "F.", 1)
        );
        for _ in 0..RECENT {
            attempt("ok");
        }
        assert_eq!(Tests::load(dir.path()).flaky(), [], "mended long ago");
    }
}
