//! A team's own suite: its exit code decides, and its JUnit files, where it writes some, tell the tests.

use std::collections::VecDeque;

use e2e_report::Outcome;

use crate::exit::{Exit, Failure};
use crate::names::{LITERAL, Seen, expand_command};
use crate::process::Status;
use crate::run::suite::attempt::{Attempt, no_match, some_of};
use crate::run::suite::container;
use crate::run::suite::job::Job;
use crate::run::suite::junit_file::{self, Files};
use crate::run::suite::running::SuiteRun;
use crate::table::suite::Place;

/// How many of a suite's last lines a failure repeats.
const TAIL: usize = 40;

/// Runs the command.
pub(super) fn run(suite: &SuiteRun<'_>, mut on_line: impl FnMut(&str)) -> Result<Attempt, Failure> {
    let entry = suite.suite;
    let dir = suite.service_run.service.root().join(&entry.dir);
    // What a Job writes comes from the node into a directory of its own.
    let results = match entry.place {
        Place::Job => suite.service_run.dir.join(entry.results()),
        _ => dir.clone(),
    };
    if entry.place == Place::Job {
        drop(std::fs::remove_dir_all(&results));
    }
    let files = entry.junit.as_ref();
    let files = files.map(|file| Files::before(&results, file));
    let seen = match entry.place {
        Place::Job => Seen::Pods,
        Place::Host | Place::Container => Seen::Here,
    };
    let value = |name: &str| suite.session.value(suite.service_run, seen, name);
    let words = expand_command(&entry.words(), &value).map_err(|unknown| {
        let what = format!("the suite's command: nothing is named ${{{}}}", unknown.0);
        Failure::new(Exit::Usage, what).hint(LITERAL)
    })?;
    let (program, args) = words
        .split_first()
        .ok_or_else(|| Failure::new(Exit::Usage, "the suite's command is empty"))?;
    let mut tail = VecDeque::with_capacity(TAIL);
    let mut watch = |line: &str| {
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
        on_line(line);
    };
    let ended = match (entry.place, &entry.image) {
        (Place::Job, Some(image)) => {
            let job = Job {
                name: &entry.name,
                image,
                words: &words,
                environment: &suite.environment,
                deadline: entry.deadline(),
                results: &results,
            };
            (suite.in_job)(&job, &mut watch)?
        }
        (Place::Container, Some(image)) => container::run(suite, image, &words, &dir, watch)?,
        _ => suite.command(program).args(args).dir(&dir).stream(watch),
    };
    let written = files.as_ref().map(Files::written).unwrap_or_default();
    let (tests, wrong) = junit_file::read(&written);
    let ran = tests.ran.clone();
    let status = match ended {
        Ok(status) => status,
        Err(error) => {
            return Ok(Attempt {
                tests: ran,
                verdict: Err(suite.failed(error)),
            });
        }
    };
    suite.note_leak(status.leaked);
    let pattern = entry.junit.as_ref().map(|file| file.display().to_string());
    let left = match (pattern, written.is_empty()) {
        (None, _) => Left::NoFile,
        (Some(pattern), true) => Left::NotWritten(pattern),
        (Some(_), false) if wrong.is_empty() => Left::Tests(tests),
        (Some(_), false) => Left::Unreadable(tests, wrong.join("\n")),
    };
    let ended = Ended {
        command: &in_a_line(&words),
        only: entry.only.as_deref(),
        status,
        tail: Vec::from(tail).join("\n"),
    };
    Ok(Attempt {
        tests: ran,
        verdict: judge(&ended, left),
    })
}

/// A command as one line, of a script its first.
fn in_a_line(words: &[String]) -> String {
    let line = words.join(" ");
    match line.split_once('\n') {
        Some((first, _)) => format!("{} …", first.trim_end()),
        None => line,
    }
}

/// A command that has ended.
struct Ended<'a> {
    command: &'a str,
    /// The text that the names of its tests had to hold.
    only: Option<&'a str>,
    status: Status,
    /// Its last lines.
    tail: String,
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

fn judge(ended: &Ended<'_>, left: Left) -> Result<String, Failure> {
    let Ended {
        command, status, ..
    } = ended;
    let red = |summary: String| Failure::new(Exit::TestsFailed, summary);
    let tail = || ended.tail.clone();
    let passed = status.is_success();
    match left {
        Left::NoFile if passed => Ok(format!("`{command}` passed")),
        Left::NoFile => Err(red(format!("`{command}` ended with {status}")).detail(tail())),
        Left::NotWritten(file) if passed => {
            Err(red(format!("`{command}` passed and wrote no {file}"))
                .detail(tail())
                .hint("correct `junit` of the suite in the table of services"))
        }
        Left::NotWritten(file) => Err(red(format!(
            "`{command}` ended with {status} before it wrote {file}"
        ))
        .detail(tail())),
        Left::Unreadable(tests, why) => {
            let what = format!("`{command}` ended with {status}, and a JUnit file cannot be read");
            // Failed tests of the others come first: they are the cause.
            let failed = judge_tests(ended, &tests).err();
            let failed =
                failed.filter(|_| tests.ran.iter().any(|test| test.outcome != Outcome::Ok));
            Err(match failed {
                Some(failure) => {
                    let detail = failure.detail.clone().unwrap_or_default();
                    failure.detail(format!("{detail}\n{what}: {why}"))
                }
                None => red(what).detail(format!("{why}\n{}", ended.tail)),
            })
        }
        Left::Tests(tests) => judge_tests(ended, &tests),
    }
}

fn judge_tests(ended: &Ended<'_>, tests: &junit_file::Tests) -> Result<String, Failure> {
    let Ended {
        command, status, ..
    } = ended;
    let red = |summary: String| Failure::new(Exit::TestsFailed, summary);
    let tail = || ended.tail.clone();
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
    if let (0, Some(text)) = (ran.len(), ended.only) {
        return Err(no_match(command, text).detail(tail()));
    }
    match (status.is_success(), ran.len(), skipped) {
        (true, 0, 0) => Err(red(format!("`{command}` passed and ran no test")).detail(tail())),
        (true, 0, skipped) => Err(red(format!(
            "`{command}` passed and ran no test: {skipped} skipped"
        ))
        .detail(tail())),
        (true, passed, 0) => Ok(format!("{passed} passed")),
        (true, passed, skipped) => Ok(format!("{passed} passed, {skipped} skipped")),
        (false, passed, _) => Err(red(format!(
            "`{command}` ended with {status} although none of its {passed} tests failed"
        ))
        .detail(tail())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::suite::attempt::Test;

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
        let judged = |status, tail: &str| {
            let ended = Ended {
                command: "go test",
                only: None,
                status,
                tail: tail.to_owned(),
            };
            judge(&ended, result()).unwrap_err()
        };
        let line = "./audit_test.go:17: undefined: dsClient".to_owned();
        let failure = judged(status(Some(2), None), &line);
        assert_eq!(
            failure.summary,
            "`go test` ended with exit 2 before it wrote junit.xml"
        );
        assert_eq!(failure.detail, Some(line));
        let failure = judged(status(None, Some(9)), "");
        assert!(failure.summary.contains("signal 9 (SIGKILL)"));
        let failure = judged(Status::SUCCESS, "");
        assert!(failure.summary.contains("passed and wrote no junit.xml"));
    }

    #[test]
    fn a_red_exit_code_is_red_whatever_the_file_says() {
        let tests = junit_file::Tests {
            ran: vec![Test {
                name: "a".to_owned(),
                outcome: Outcome::Ok,
                seconds: None,
                text: String::new(),
            }],
            skipped: 0,
        };
        let judged = |status| {
            let ended = Ended {
                command: "t",
                only: None,
                status,
                tail: "why".to_owned(),
            };
            judge(&ended, Left::Tests(tests.clone()))
        };
        let failure = judged(status(Some(1), None)).unwrap_err();
        assert!(
            failure
                .summary
                .contains("although none of its 1 tests failed")
        );
        assert_eq!(
            judged(Status::SUCCESS).map_err(|failure| failure.summary),
            Ok("1 passed".to_owned())
        );
    }
}
