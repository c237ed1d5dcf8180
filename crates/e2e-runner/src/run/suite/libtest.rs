//! What the tests of a Rust test binary came to, from its list of tests, its lines, and its own totals.

use std::collections::BTreeMap;

use e2e_report::Outcome;

use crate::exit::{Exit, Failure};
use crate::process::Status;
use crate::run::suite::attempt::Test;

/// Tests of a binary, with what the harness printed about them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    tests: BTreeMap<String, Option<Ended>>,
    outputs: BTreeMap<String, String>,
    totals: Option<Totals>,
    section: Section,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Passed,
    Failed,
    Ignored,
}

/// The harness's own counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: usize,
    failed: usize,
    ignored: usize,
}

/// Where in the harness's output a line stands.
#[derive(Debug, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Tests,
    /// Behind `successes:` or `failures:`: blocks of output, then names.
    Outputs {
        of_failures: bool,
        test: Option<String>,
    },
}

impl Tally {
    /// Takes the names of the tests that are about to run.
    pub(super) fn expect(&mut self, names: impl IntoIterator<Item = String>) {
        self.tests
            .extend(names.into_iter().map(|name| (name, None)));
    }

    /// The names of the tests.
    pub(super) fn names(&self) -> Vec<String> {
        self.tests.keys().cloned().collect()
    }

    /// Takes one line of the harness's output.
    pub(super) fn line(&mut self, line: &str) {
        if let Some(totals) = line
            .strip_prefix("test result: ")
            .and_then(Totals::from_line)
        {
            let sum = self.totals.get_or_insert_default();
            sum.passed += totals.passed;
            sum.failed += totals.failed;
            sum.ignored += totals.ignored;
            self.section = Section::Tests;
            return;
        }
        match line {
            "successes:" | "failures:" => {
                self.section = Section::Outputs {
                    of_failures: line == "failures:",
                    test: None,
                };
                return;
            }
            _ => {}
        }
        match &mut self.section {
            Section::Tests => self.outcome(line),
            Section::Outputs { of_failures, test } => {
                let block = line
                    .strip_prefix("---- ")
                    .and_then(|line| line.strip_suffix(" ----"))
                    .and_then(|name| name.rsplit_once(' '))
                    .map(|(name, _stream)| name)
                    .filter(|name| self.tests.contains_key(*name));
                if let Some(name) = block {
                    *test = Some(name.to_owned());
                } else if let Some(name) = line
                    .strip_prefix("    ")
                    .filter(|name| test.is_none() && self.tests.contains_key(*name))
                {
                    // The list of names is what the harness says itself, whatever became of the line of the test.
                    let ended = if *of_failures {
                        Ended::Failed
                    } else {
                        Ended::Passed
                    };
                    self.tests.insert(name.to_owned(), Some(ended));
                } else if let Some(name) = test.as_ref().filter(|_| *of_failures) {
                    let output = self.outputs.entry(name.clone()).or_default();
                    output.push_str(line);
                    output.push('\n');
                }
            }
        }
    }

    /// A line such as `test NAME ... ok`; what a child process printed without a line break may stand before it.
    fn outcome(&mut self, line: &str) {
        let Some((before, word)) = line.rsplit_once(" ... ") else {
            return;
        };
        let ended = match word.split([',', ' ', '<']).next() {
            Some("ok") => Ended::Passed,
            Some("FAILED") => Ended::Failed,
            Some("ignored") => Ended::Ignored,
            _ => return,
        };
        let name = before.rsplit_once("test ").map_or("", |(_, name)| {
            name.split(" - should panic").next().unwrap_or(name)
        });
        if let Some(test) = self.tests.get_mut(name) {
            *test = Some(ended);
        }
    }

    /// Every test with how it ended. One without a line of its own passed if the harness came to its totals and does not name it
    /// among the failures; else it has no result, and failed.
    pub(super) fn tests(&self, status: &str) -> Vec<Test> {
        let of = |(name, ended): (&String, &Option<Ended>)| {
            let (outcome, text) = match (ended, self.totals) {
                (Some(Ended::Ignored), _) => return None,
                (Some(Ended::Passed), _) | (None, Some(_)) => (Outcome::Ok, String::new()),
                (Some(Ended::Failed), _) => (
                    Outcome::Failed,
                    self.outputs.get(name).cloned().unwrap_or_default(),
                ),
                (None, None) => {
                    let text = format!("no result: the test binary ended with {status}");
                    (Outcome::Failed, text)
                }
            };
            Some(Test {
                name: name.clone(),
                outcome,
                seconds: None,
                text,
            })
        };
        self.tests.iter().filter_map(of).collect()
    }

    /// What follows from the tests, the status of the binary and its own totals.
    pub(super) fn judge(&self, status: Status, suite: &str) -> Result<String, Failure> {
        let red = |summary: String| Failure::new(Exit::TestsFailed, summary);
        let tests = self.tests(&status.to_string());
        let failed: Vec<&Test> = tests
            .iter()
            .filter(|test| test.outcome != Outcome::Ok)
            .collect();
        let passed = tests.len() - failed.len();
        if !failed.is_empty() {
            let names: Vec<_> = failed.iter().map(|test| test.name.as_str()).collect();
            let reasons: Vec<_> = failed
                .iter()
                .map(|test| format!("---- {}\n{}", test.name, test.text.trim_end()))
                .collect();
            let summary = format!(
                "{} of {} tests failed: {}",
                failed.len(),
                tests.len(),
                names.join(", ")
            );
            return Err(red(summary).detail(reasons.join("\n")));
        }
        if !status.is_success() {
            return Err(red(format!(
                "the test binary ended with {status} although no test of it failed"
            )));
        }
        match self.totals {
            _ if tests.is_empty() => Err(red(format!("the suite `{suite}` ran no test"))
                .hint("check that the package still has a module of that name")),
            Some(totals) if totals.passed == passed => Ok(format!("{passed} passed")),
            Some(totals) => Err(red(format!(
                "the harness counts {} passed tests, its list has {passed}",
                totals.passed
            ))),
            None => Err(red("the test binary ended without its totals".to_owned())),
        }
    }
}

impl Totals {
    /// `ok. 3 passed; 0 failed; 1 ignored; …`
    fn from_line(line: &str) -> Option<Self> {
        let count = |what: &str| -> Option<usize> {
            let before = line.split_once(what)?.0.trim_end();
            before.rsplit([' ', '.']).next()?.parse().ok()
        };
        Some(Self {
            passed: count(" passed")?,
            failed: count(" failed")?,
            ignored: count(" ignored").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(list: &str, output: &str) -> Tally {
        let mut tally = Tally::default();
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        tally.expect(names.map(str::to_owned));
        output.lines().for_each(|line| tally.line(line));
        tally
    }

    fn failed(code: i32) -> Status {
        Status {
            code: Some(code),
            ..Status::SUCCESS
        }
    }

    const TWO: &str = "a::x: test\na::y: test\n\n2 tests, 0 benchmarks\n";

    #[test]
    fn each_failing_test_has_its_own_output() {
        let tally = tally(
            TWO,
            "running 2 tests\ntest a::x ... FAILED\ntest a::y ... FAILED\n\nfailures:\n\n---- a::x stdout ----\nleft: 1\n\n---- a::y stdout ----\n\
             left: 2\n\n\nfailures:\n    a::x\n    a::y\n\ntest result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 3 filtered out\n",
        );
        let tests = tally.tests("exit 101");
        assert_eq!(tests[0].text.trim(), "left: 1");
        assert_eq!(tests[1].text.trim(), "left: 2");
        let failure = tally.judge(failed(101), "s").unwrap_err();
        assert_eq!(failure.summary, "2 of 2 tests failed: a::x, a::y");
    }

    #[test]
    fn a_test_whose_line_a_child_process_broke_is_not_lost() {
        let passed = tally(
            TWO,
            "running 2 tests\ntest a::x ... child output\nok\nmoretest a::y ... ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n",
        );
        assert_eq!(passed.tests("exit 0").len(), 2);
        assert_eq!(
            passed
                .judge(Status::SUCCESS, "s")
                .map_err(|failure| failure.summary),
            Ok("2 passed".to_owned())
        );
        let red = tally(
            TWO,
            "test a::x ... child\nFAILED\ntest a::y ... ok\n\nfailures:\n\n---- a::x stdout ----\nwhy\n\n\nfailures:\n    a::x\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\n",
        );
        let failure = red.judge(failed(101), "s").unwrap_err();
        assert_eq!(failure.summary, "1 of 2 tests failed: a::x");
        assert!(failure.detail.unwrap().contains("why"));
    }

    #[test]
    fn counts_that_differ_from_the_harness_s_own_are_red() {
        let tally = tally(TWO, "test result: ok. 3 passed; 0 failed; 0 ignored\n");
        let failure = tally.judge(Status::SUCCESS, "s").unwrap_err();
        assert!(
            failure
                .summary
                .contains("counts 3 passed tests, its list has 2")
        );
    }

    #[test]
    fn tests_without_a_result_failed_when_the_binary_died() {
        let killed = Status {
            code: None,
            signal: Some(11),
            leaked: false,
        };
        let tally = tally(TWO, "running 2 tests\ntest a::x ... ok\n");
        let failure = tally.judge(killed, "s").unwrap_err();
        assert_eq!(failure.summary, "1 of 2 tests failed: a::y");
        assert!(failure.detail.unwrap().contains("signal 11 (SIGSEGV)"));
    }

    #[test]
    fn an_ignored_test_counts_for_nothing_and_a_run_of_no_test_is_red() {
        let tally = tally(
            TWO,
            "test a::x ... ignored, later\ntest a::y ... ignored\ntest result: ok. 0 passed; 0 failed; 2 ignored\n",
        );
        let failure = tally.judge(Status::SUCCESS, "e2e a").unwrap_err();
        assert_eq!(failure.summary, "the suite `e2e a` ran no test");
    }
}
