//! Runs a suite's test binary against the environment and reads its result.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::lifecycle::plan::Step;
use crate::lifecycle::session::Session;
use crate::process::Door;
use crate::service::Suite;

/// What the test harness said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: usize,
    /// Names of the tests that failed.
    pub failed: Vec<String>,
    /// What they printed.
    pub output: String,
    in_output: bool,
}

impl Tally {
    /// Takes one line of libtest's output.
    pub fn line(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix("test ") {
            match test.rsplit_once(" ... ") {
                Some((_, "ok")) => self.passed += 1,
                Some((name, "FAILED")) => self.failed.push(name.to_owned()),
                _ => {}
            }
        }
        match line {
            "failures:" => self.in_output = self.output.is_empty(),
            _ if line.starts_with("test result:") => self.in_output = false,
            _ if self.in_output => {
                self.output.push_str(line);
                self.output.push('\n');
            }
            _ => {}
        }
    }
}

/// Runs the suite of a session.
pub fn run(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let binary = Session::made(&session.made.suite, "the suite")?;
    let mut environment = session.environment();
    environment.insert(e2e_env::PGPASSWORD.to_owned(), session.password());
    let mut log =
        std::fs::File::create(session.run.dir().join("suite.log")).map_err(Failure::setup)?;
    let mut show = session.lines(Step::RunSuite);
    let keep_and_show = |line: &str| {
        // The log is evidence: a full disk must not fail a suite that passes.
        drop(writeln!(log, "{line}"));
        show(line);
    };
    run_binary(
        &session.door,
        binary,
        session.service.suite()?,
        &environment,
        deadline,
        keep_and_show,
    )
}

/// Runs a suite with an environment. A suite that ran no test has failed.
pub fn run_binary(
    door: &Door,
    binary: &Path,
    suite: &Suite,
    environment: &BTreeMap<String, String>,
    deadline: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<String, Failure> {
    let mut command = door
        .cmd(binary)
        .arg(format!("{}::", suite.module))
        .arg("--show-output")
        .deadline(deadline);
    for (name, value) in environment {
        command = command.env(name, value);
    }
    let mut tally = Tally::default();
    let code = command
        .stream(|line| {
            tally.line(line);
            on_line(line);
        })
        .map_err(|error| error.into_failure(Exit::TestsFailed, door.cancel()))?;
    match (code, tally.passed, tally.failed.len()) {
        (0, 0, 0) => Err(Failure::new(
            Exit::TestsFailed,
            format!("the suite `{}` ran no test", suite.module),
        )
        .next(format!(
            "look whether package {} still has a module of that name",
            suite.package
        ))),
        (0, passed, 0) => Ok(format!("{passed} passed")),
        (_, passed, failed) if failed > 0 => Err(Failure::new(
            Exit::TestsFailed,
            format!(
                "{failed} of {} tests failed: {}",
                passed + failed,
                tally.failed.join(", ")
            ),
        )
        .seen(tally.output)),
        (code, ..) => Err(Failure::new(
            Exit::TestsFailed,
            format!("the suite ended with exit {code} without a result"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        tally
    }

    #[test]
    fn a_failing_test_is_named_with_what_it_said() {
        let tally = tally(
            "running 2 tests\ntest a::x ... ok\ntest a::y ... FAILED\n\nfailures:\n\n---- a::y stdout ----\nleft: 1\n\n\nfailures:\n    a::y\n\n\
             test result: FAILED. 1 passed; 1 failed\n",
        );
        assert_eq!(
            (tally.passed, tally.failed.as_slice()),
            (1, ["a::y".to_owned()].as_slice())
        );
        assert!(tally.output.contains("left: 1"));
    }

    #[test]
    fn an_empty_run_counts_nothing() {
        assert_eq!(
            tally("running 0 tests\n\ntest result: ok. 0 passed; 0 failed\n"),
            Tally::default()
        );
    }
}
