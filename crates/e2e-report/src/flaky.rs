//! How each test has fared on this machine, run after run: what both passes and fails is flaky.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::log::Log;

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
    /// Whether it both passed and failed lately: a test that was fixed, or broken for good, is not flaky for ever.
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
    /// What was learnt so far, from the text of its file; nothing where that is missing or damaged.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Learns from the tests of a log that ended now.
    pub fn learn(&mut self, log: &Log, now: Timestamp) {
        for test in &log.tests {
            let name = format!("{} {}", test.suite_name(), test.name);
            let record = self.0.entry(name).or_default();
            for passed in &test.attempts {
                record.attempt(*passed, now);
            }
        }
    }

    /// The text of its file.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
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
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_flaky_while_its_last_attempts_differ() {
        let mut tests = Tests::default();
        let attempt = |tests: &mut Tests, outcome: &str| {
            let line = format!(
                "{{\"seconds\":1,\"event\":\"test\",\"service\":\"s\",\"name\":\"t\",\"outcome\":\"{outcome}\"}}"
            );
            tests.learn(&Log::parse(&line), Timestamp::UNIX_EPOCH);
            *tests = Tests::parse(&tests.text());
        };
        attempt(&mut tests, "failed");
        assert_eq!(tests.flaky(), []);
        attempt(&mut tests, "ok");
        let (name, record) = tests.flaky()[0];
        assert_eq!(
            (name, record.recent.as_str(), record.failed),
            ("s t", "F.", 1)
        );
        for _ in 0..RECENT {
            attempt(&mut tests, "ok");
        }
        assert_eq!(tests.flaky(), [], "fixed long ago");
    }
}
