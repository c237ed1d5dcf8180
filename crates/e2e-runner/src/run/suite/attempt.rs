//! Attempts at a suite: which of its tests failed, which are flaky, and what all attempts come to.

use std::collections::BTreeMap;

use e2e_report::Outcome;

use crate::exit::{Exit, Failure};

/// One test as it is reported.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    /// Its name.
    pub(super) name: String,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// Its duration in seconds, where the suite tells it.
    pub(super) seconds: Option<f64>,
    /// Why it failed.
    pub(super) text: String,
}

/// What one attempt at a suite came to.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The tests that ran.
    pub(super) tests: Vec<Test>,
    /// A few words on a suite that passed, or why it did not.
    pub(super) verdict: Result<String, Failure>,
}

impl Attempt {
    /// A suite that failed before any of its tests.
    pub(super) fn failed(failure: Failure) -> Self {
        Self {
            tests: Vec::new(),
            verdict: Err(failure),
        }
    }

    /// Whether it failed by something else than its tests.
    fn crashed(&self) -> bool {
        let failed = self.verdict.as_ref().err();
        failed.is_some_and(|failure| failure.exit == Exit::TestsFailed)
            && self.tests.iter().all(|test| test.outcome == Outcome::Ok)
    }
}

/// Makes attempts at a suite until one passes, or it has been tried again `retries` times.
///
/// `once` gets the number of the attempt and the names of the tests that failed in those before; none where the whole suite has to run.
/// Each test of each attempt goes to `report`, once. Only failed tests are a reason to try again: a deadline or a signal is none.
pub(super) fn until_passed(
    suite: &str,
    retries: u32,
    report: impl Fn(&Test),
    mut once: impl FnMut(u32, &[String]) -> Result<Attempt, Failure>,
) -> Result<String, Failure> {
    let mut so_far = SoFar::default();
    let mut again = Vec::new();
    let mut number = 1;
    loop {
        let mut attempt = once(number, &again)?;
        let crashed = attempt.crashed();
        if retries > 0 {
            // What fails outside of the tests has a name of its own, or nothing would show that it passed only later.
            so_far.add_outside(&mut attempt, crashed, suite);
        }
        attempt.tests = each_once(attempt.tests);
        attempt.tests.iter().for_each(&report);
        let is_red = |failure: &Failure| failure.exit == Exit::TestsFailed;
        match so_far.take(number, crashed, attempt) {
            Err(failure) if is_red(&failure) && number <= retries => {
                again = if crashed { Vec::new() } else { so_far.failed() };
                number += 1;
            }
            verdict => return verdict,
        }
    }
}

/// Tests of which each name is there once: one that failed and passed in the same attempt has failed.
fn each_once(tests: Vec<Test>) -> Vec<Test> {
    let mut at = BTreeMap::new();
    let mut once: Vec<Test> = Vec::new();
    for test in tests {
        let first = *at.entry(test.name.clone()).or_insert(once.len());
        let Some(known) = once.get_mut(first) else {
            once.push(test);
            continue;
        };
        known.seconds = match (known.seconds, test.seconds) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        if test.outcome != Outcome::Ok {
            known.outcome = test.outcome;
            if !known.text.is_empty() {
                known.text.push('\n');
            }
            known.text.push_str(&test.text);
        }
    }
    once
}

/// Where the tests stand after some attempts.
#[derive(Debug, Default)]
struct SoFar(BTreeMap<String, Standing>);

#[derive(Debug)]
struct Standing {
    /// The last attempt in which it ran.
    ran: u32,
    /// Whether it passed there.
    passed: bool,
    /// The first attempt in which it failed, and why.
    failed: Option<(u32, String)>,
    /// Why it failed last.
    text: String,
}

impl SoFar {
    fn add_outside(&self, attempt: &mut Attempt, crashed: bool, suite: &str) {
        let name = format!("{suite} (outside its tests)");
        let before = self.0.contains_key(&name);
        let (outcome, text) = match &attempt.verdict {
            Err(failure) if crashed => (Outcome::Failed, failure.to_string()),
            _ if before => (Outcome::Ok, String::new()),
            _ => return,
        };
        attempt.tests.push(Test {
            name,
            outcome,
            seconds: None,
            text,
        });
    }

    fn take(&mut self, number: u32, crashed: bool, attempt: Attempt) -> Result<String, Failure> {
        for test in attempt.tests {
            let passed = test.outcome == Outcome::Ok;
            let standing = self.0.entry(test.name).or_insert(Standing {
                ran: number,
                passed,
                failed: None,
                text: String::new(),
            });
            (standing.ran, standing.passed) = (number, passed);
            if !passed {
                standing.failed.get_or_insert((number, test.text.clone()));
                standing.text = test.text;
            }
        }
        if number == 1 {
            return attempt.verdict;
        }
        match attempt.verdict {
            Err(failure) if failure.exit != Exit::TestsFailed || crashed => Err(Failure {
                summary: format!("at attempt {number}: {}", failure.summary),
                ..failure
            }),
            verdict => match (self.failed().is_empty(), verdict) {
                (true, Ok(words)) => Ok(self.words().unwrap_or(words)),
                // Nothing failed by name, so what did is only here.
                (true, Err(failure)) => Err(failure),
                (false, _) => Err(self.failure(number)),
            },
        }
    }

    /// The names of the tests that failed when they ran last.
    fn failed(&self) -> Vec<String> {
        let failed = self.0.iter().filter(|(_, standing)| !standing.passed);
        failed.map(|(name, _)| name.clone()).collect()
    }

    fn failure(&self, number: u32) -> Failure {
        let failed = self.0.iter().filter(|(_, standing)| !standing.passed);
        let mut names = Vec::new();
        let mut told = Vec::new();
        for (name, standing) in failed {
            names.push(&**name);
            let mut text = standing.text.trim_end().to_owned();
            if standing.ran < number {
                text = format!(
                    "it did not run again at attempt {number}; at attempt {}: {text}",
                    standing.ran
                );
            }
            told.push(format!("---- {name}\n{text}"));
        }
        let summary = format!(
            "{} of {} tests failed, tried {number} times: {}",
            names.len(),
            self.0.len(),
            some_of(&names)
        );
        Failure::new(Exit::TestsFailed, summary).detail(told.join("\n"))
    }

    /// A few words on tests that all passed in the end; none where the suite tells of no test.
    fn words(&self) -> Option<String> {
        let flaky: Vec<_> = self
            .0
            .iter()
            .filter_map(|(name, standing)| {
                let (number, text) = standing.failed.as_ref()?;
                let line = first_line(text);
                Some(format!("{name} (at attempt {number}: {line})"))
            })
            .collect();
        let passed = self.0.len() - flaky.len();
        let names: Vec<_> = flaky.iter().map(String::as_str).collect();
        match flaky.len() {
            0 if passed == 0 => None,
            0 => Some(format!("{passed} passed")),
            count => Some(format!(
                "{passed} passed, {count} flaky: {}",
                some_of(&names)
            )),
        }
    }
}

/// The first line that says something.
fn first_line(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim);
    let said = |line: &&str| !line.is_empty() && !line.starts_with("thread '");
    lines.find(said).unwrap_or("failed")
}

/// A suite that runs only some tests, and found none of them.
pub(super) fn no_match(suite: &str, text: &str) -> Failure {
    let what = format!("`{suite}` ran no test that matches `{text}`");
    Failure::new(Exit::TestsFailed, what)
        .hint("correct `--filter`, or name the suite that has the test by `--suite`")
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
    use std::cell::RefCell;

    use super::*;

    fn test(name: &str, outcome: Outcome) -> Test {
        Test {
            name: name.to_owned(),
            outcome,
            seconds: None,
            text: if outcome == Outcome::Ok {
                String::new()
            } else {
                format!("\nwhy {name}")
            },
        }
    }

    fn attempt(passed: &[&str], failed: &[&str]) -> Attempt {
        let passed = passed.iter().map(|name| test(name, Outcome::Ok));
        let failed_tests = failed.iter().map(|name| test(name, Outcome::Failed));
        Attempt {
            tests: passed.chain(failed_tests).collect(),
            verdict: if failed.is_empty() {
                Ok("passed".to_owned())
            } else {
                Err(red("tests failed"))
            },
        }
    }

    fn red(what: &str) -> Failure {
        Failure::new(Exit::TestsFailed, what)
    }

    /// What attempts come to, the reported tests, and which names each attempt was asked for.
    type Run = (
        Result<String, String>,
        Vec<(String, bool)>,
        Vec<Vec<String>>,
    );

    fn run(retries: u32, attempts: Vec<Attempt>) -> Run {
        let mut attempts = attempts.into_iter();
        let reported = RefCell::new(Vec::new());
        let mut asked = Vec::new();
        let verdict = until_passed(
            "suite",
            retries,
            |test| {
                let passed = test.outcome == Outcome::Ok;
                reported.borrow_mut().push((test.name.clone(), passed));
            },
            |_, names| {
                asked.push(names.to_vec());
                Ok(attempts.next().expect("another attempt"))
            },
        );
        (
            verdict.map_err(|failure| failure.to_string()),
            reported.into_inner(),
            asked,
        )
    }

    #[test]
    fn a_test_that_fails_and_then_passes_is_flaky_and_its_suite_green() {
        let (verdict, reported, asked) =
            run(2, vec![attempt(&["a"], &["b"]), attempt(&["b"], &[])]);
        assert_eq!(
            verdict,
            Ok("1 passed, 1 flaky: b (at attempt 1: why b)".to_owned())
        );
        let told = |name: &str, passed| (name.to_owned(), passed);
        assert_eq!(
            reported,
            [told("a", true), told("b", false), told("b", true)]
        );
        assert_eq!(asked, [vec![], vec!["b".to_owned()]]);
    }

    #[test]
    fn a_test_that_fails_every_time_is_red_with_its_name() {
        let again = || attempt(&[], &["b"]);
        let (verdict, _, asked) = run(2, vec![attempt(&["a"], &["b"]), again(), again()]);
        let told = verdict.unwrap_err();
        assert!(
            told.contains("1 of 2 tests failed, tried 3 times: b") && told.contains("why b"),
            "{told}"
        );
        assert_eq!(asked.len(), 3);
    }

    #[test]
    fn a_failed_test_that_does_not_run_again_is_red() {
        let (verdict, ..) = run(1, vec![attempt(&["a"], &["b"]), attempt(&["a"], &[])]);
        let told = verdict.unwrap_err();
        assert!(
            told.contains("tried 2 times: b") && told.contains("did not run again at attempt 2"),
            "{told}"
        );
    }

    #[test]
    fn a_test_that_fails_only_later_is_red_unless_it_passes_once_more() {
        let (verdict, ..) = run(1, vec![attempt(&["a"], &["b"]), attempt(&["b"], &["a"])]);
        assert!(verdict.unwrap_err().contains("tried 2 times: a"));
        let attempts = vec![
            attempt(&["a"], &["b"]),
            attempt(&["b"], &["a"]),
            attempt(&["a", "b"], &[]),
        ];
        let (verdict, ..) = run(2, attempts);
        assert_eq!(
            verdict,
            Ok("0 passed, 2 flaky: a (at attempt 2: why a), b (at attempt 1: why b)".to_owned())
        );
    }

    #[test]
    fn a_suite_that_crashed_is_run_again_as_a_whole_and_told_as_flaky_or_red() {
        let crash = || Attempt::failed(red("ended with exit 2 before it wrote a.xml"));
        let (verdict, _, asked) = run(1, vec![crash(), attempt(&["a"], &[])]);
        assert_eq!(asked, [Vec::<String>::new(), vec![]]);
        let words = verdict.unwrap();
        assert!(
            words.starts_with("1 passed, 1 flaky: suite (outside its tests) (at attempt 1: ")
                && words.contains("exit 2"),
            "{words}"
        );
        let (verdict, ..) = run(1, vec![crash(), crash()]);
        let told = verdict.unwrap_err();
        assert!(told.contains("at attempt 2: ended with exit 2"), "{told}");
        let (verdict, ..) = run(1, vec![attempt(&["a"], &["b"]), crash()]);
        assert!(verdict.is_err(), "b did not run again");
    }

    #[test]
    fn without_retries_the_first_attempt_decides() {
        let (verdict, reported, _) = run(0, vec![attempt(&["a"], &["b"])]);
        assert!(verdict.unwrap_err().contains("tests failed"));
        assert_eq!(reported.len(), 2);
    }

    #[test]
    fn a_deadline_is_no_reason_to_try_again() {
        let late = Attempt::failed(Failure::new(Exit::Deadline, "took too long"));
        let (verdict, _, asked) = run(3, vec![late]);
        assert!(verdict.is_err());
        assert_eq!(asked.len(), 1);
    }

    #[test]
    fn of_two_tests_with_one_name_the_failed_one_counts() {
        let twice = Attempt {
            tests: vec![test("a", Outcome::Failed), test("a", Outcome::Ok)],
            verdict: Err(red("tests failed")),
        };
        let (_, reported, _) = run(0, vec![twice]);
        assert_eq!(reported, [("a".to_owned(), false)]);
    }
}
