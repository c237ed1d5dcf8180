//! A team's own suite: its exit code decides, and its JUnit files, where it writes some, tell the tests.

use std::collections::VecDeque;

use e2e_report::Outcome;

use crate::exit::{Exit, Failure};
use crate::process::Status;
use crate::run::suite::junit_file::{self, Files};
use crate::run::suite::running::SuiteRun;

/// How many of a suite's last lines a failure repeats.
const TAIL: usize = 40;

/// Runs the command.
pub(super) fn run(
    suite: &SuiteRun<'_>,
    words: &[String],
    mut on_line: impl FnMut(&str),
) -> Result<String, Failure> {
    let entry = suite.service.suite()?;
    let dir = suite.service.root().join(&entry.dir);
    let files = entry.junit.as_ref().map(|file| Files::before(&dir, file));
    let (program, args) = words
        .split_first()
        .ok_or_else(|| Failure::new(Exit::Usage, "the suite's command is empty"))?;
    let mut tail = VecDeque::with_capacity(TAIL);
    let ended = suite.command(program).args(args).dir(&dir).stream(|line| {
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
        on_line(line);
    });
    let written = files.as_ref().map(Files::written).unwrap_or_default();
    let (tests, wrong) = junit_file::read(&written);
    for test in &tests.ran {
        let (outcome, text) = (test.outcome, test.text.clone());
        suite.emit(test.name.clone(), outcome, test.seconds, text);
    }
    let status =
        ended.map_err(|error| error.into_failure(Exit::TestsFailed, suite.runner.cancel()))?;
    suite.note_leak(status.leaked);
    let tail = Vec::from(tail).join("\n");
    let pattern = entry.junit.as_ref().map(|file| file.display().to_string());
    let left = match (pattern, written.is_empty()) {
        (None, _) => Left::NoFile,
        (Some(pattern), true) => Left::NotWritten(pattern),
        (Some(_), false) if wrong.is_empty() => Left::Tests(tests),
        (Some(_), false) => Left::Unreadable(
            tests,
            wrong.join(
                "
",
            ),
        ),
    };
    judge(&words.join(" "), status, left, tail)
}

/// What a suite has left besides its status.
enum Left {
    /// It writes no file.
    NoFile,
    /// It has not written the file that the table names.
    NotWritten(String),
    /// Something that it wrote is no JUnit file; the tests of the others, and why.
    Unreadable(junit_file::Tests, String),
    /// Its tests.
    Tests(junit_file::Tests),
}

fn judge(command: &str, status: Status, left: Left, tail: String) -> Result<String, Failure> {
    let red = |summary: String| Failure::new(Exit::TestsFailed, summary);
    let passed = status.is_success();
    match left {
        Left::NoFile if passed => Ok(format!("`{command}` passed")),
        Left::NoFile => Err(red(format!("`{command}` ended with {status}")).detail(tail)),
        Left::NotWritten(file) if passed => {
            Err(red(format!("`{command}` passed and wrote no {file}"))
                .detail(tail)
                .hint("correct `junit` of the suite in the table of services"))
        }
        Left::NotWritten(file) => Err(red(format!(
            "`{command}` ended with {status} before it wrote {file}"
        ))
        .detail(tail)),
        Left::Unreadable(tests, why) => {
            let what = format!("`{command}` ended with {status}, and a JUnit file cannot be read");
            // Failed tests of the others come first: they are the cause.
            let failed = judge_tests(command, status, &tests, String::new()).err();
            let failed =
                failed.filter(|_| tests.ran.iter().any(|test| test.outcome != Outcome::Ok));
            Err(match failed {
                Some(failure) => {
                    let detail = failure.detail.clone().unwrap_or_default();
                    failure.detail(format!("{detail}\n{what}: {why}"))
                }
                None => red(what).detail(format!("{why}\n{tail}")),
            })
        }
        Left::Tests(tests) => judge_tests(command, status, &tests, tail),
    }
}

fn judge_tests(
    command: &str,
    status: Status,
    tests: &junit_file::Tests,
    tail: String,
) -> Result<String, Failure> {
    let red = |summary: String| Failure::new(Exit::TestsFailed, summary);
    let junit_file::Tests { ran, skipped } = tests;
    let failed: Vec<_> = ran
        .iter()
        .filter(|test| test.outcome != Outcome::Ok)
        .collect();
    if !failed.is_empty() {
        let names: Vec<_> = failed.iter().map(|test| test.name.as_str()).collect();
        let reasons: Vec<_> = failed
            .iter()
            .map(|test| format!("---- {}\n{}", test.name, test.text))
            .collect();
        let summary = format!(
            "{} of {} tests failed: {}",
            failed.len(),
            ran.len(),
            some_of(&names)
        );
        return Err(red(summary).detail(reasons.join("\n")));
    }
    match (status.is_success(), ran.len(), skipped) {
        (true, 0, 0) => Err(red(format!("`{command}` passed and ran no test")).detail(tail)),
        (true, 0, skipped) => Err(red(format!(
            "`{command}` passed and ran no test: {skipped} skipped"
        ))
        .detail(tail)),
        (true, passed, 0) => Ok(format!("{passed} passed")),
        (true, passed, skipped) => Ok(format!("{passed} passed, {skipped} skipped")),
        (false, passed, _) => Err(red(format!(
            "`{command}` ended with {status} although none of its {passed} tests failed"
        ))
        .detail(tail)),
    }
}

/// Names of failed tests, as many as a person reads.
pub(super) fn some_of(names: &[&str]) -> String {
    const READABLE: usize = 10;
    match names.len().checked_sub(READABLE) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..READABLE].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Option<i32>, signal: Option<i32>) -> Status {
        Status {
            code,
            signal,
            leaked: false,
        }
    }

    #[test]
    fn a_suite_that_dies_before_its_file_is_told_by_its_status_and_its_last_lines() {
        let result = || Left::NotWritten("junit.xml".to_owned());
        let line = "./audit_test.go:17: undefined: dsClient".to_owned();
        let failure = judge("go test", status(Some(2), None), result(), line.clone()).unwrap_err();
        assert_eq!(
            failure.summary,
            "`go test` ended with exit 2 before it wrote junit.xml"
        );
        assert_eq!(failure.detail, Some(line));
        let failure = judge("go test", status(None, Some(9)), result(), String::new()).unwrap_err();
        assert!(failure.summary.contains("signal 9 (SIGKILL)"));
        let failure = judge("go test", Status::SUCCESS, result(), String::new()).unwrap_err();
        assert!(failure.summary.contains("passed and wrote no junit.xml"));
    }

    #[test]
    fn a_red_exit_code_is_red_whatever_the_file_says() {
        let tests = junit_file::Tests {
            ran: vec![junit_file::Test {
                name: "a".to_owned(),
                outcome: Outcome::Ok,
                seconds: None,
                text: String::new(),
            }],
            skipped: 0,
        };
        let result = || Left::Tests(tests.clone());
        let failure = judge("t", status(Some(1), None), result(), "why".to_owned()).unwrap_err();
        assert!(
            failure
                .summary
                .contains("although none of its 1 tests failed")
        );
        assert_eq!(
            judge("t", Status::SUCCESS, result(), String::new()).map_err(|failure| failure.summary),
            Ok("1 passed".to_owned())
        );
    }
}
