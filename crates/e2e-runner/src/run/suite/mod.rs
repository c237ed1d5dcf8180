//! Runs a suite against its environment and reads its result: this workspace's tests, or a team's own command.

pub mod junit_file;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use e2e_report::{Event, Outcome};

use crate::exit::{Exit, Failure};
use crate::process::{Command, Runner};
use crate::reporter::Reporter;
use crate::run::plan::Step;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::table::{Service, Suite, Tests};

/// The module in which the tests lie that need PostgreSQL to themselves.
const ALONE: &str = "alone::";

/// What the test harness said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Every test with how it ended.
    pub tests: Vec<(String, Outcome)>,
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
                Some((name, "ok")) => {
                    self.passed += 1;
                    self.tests.push((name.to_owned(), Outcome::Ok));
                }
                Some((name, "FAILED")) => {
                    self.failed.push(name.to_owned());
                    self.tests.push((name.to_owned(), Outcome::Failed));
                }
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

    /// Runs a test binary and takes what it says; returns its exit code.
    fn of(
        &mut self,
        command: &Command,
        runner: &Runner,
        on_line: &mut impl FnMut(&str),
    ) -> Result<i32, Failure> {
        let code = command.stream(|line| {
            self.line(line);
            on_line(line);
        });
        code.map_err(|error| error.into_failure(Exit::TestsFailed, runner.cancel()))
    }

    /// What follows from the tests and the exit code.
    fn judge(self, code: i32, passed_before: usize, suite: &Suite) -> Result<String, Failure> {
        match (code, self.passed, self.failed.len()) {
            (0, _, 0) if passed_before == 0 => {
                let what = format!("the suite `{}` ran no test", suite.describe());
                Err(Failure::new(Exit::TestsFailed, what)
                    .hint("look whether the package still has a module of that name"))
            }
            (0, passed, 0) => Ok(format!("{passed} passed")),
            (_, passed, failed) if failed > 0 => {
                let what = format!(
                    "{failed} of {} tests failed: {}",
                    passed + failed,
                    self.failed.join(", ")
                );
                Err(Failure::new(Exit::TestsFailed, what).detail(self.output))
            }
            (code, ..) => Err(Failure::new(
                Exit::TestsFailed,
                format!("the test binary exited with {code} and no test result was recognised"),
            )),
        }
    }
}

/// Runs the suite of a service of a session.
pub fn run(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let mut environment = session.environment(service_run);
    environment.insert(e2e_env::PGPASSWORD.to_owned(), session.password());
    let id = session.stage(Step::RunSuite, service_run);
    let mut log =
        std::fs::File::create(service_run.dir.join("suite.log")).map_err(Failure::setup)?;
    let mut show = session.lines(&id);
    let mut keep_and_show = |line: &str| {
        // The log is evidence: a full disk must not fail a suite that passes.
        drop(writeln!(log, "{line}"));
        show(line);
    };
    let binary = |package: &str| {
        let suites = session
            .artifacts
            .suites
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let none = || Failure::new(Exit::Setup, "the plan has no stage that built the suite");
        suites.get(package).cloned().ok_or_else(none)
    };
    let once = || {
        run_on(
            &session.runner,
            &session.report,
            &service_run.service,
            binary,
            &environment,
            deadline,
            &mut keep_and_show,
        )
    };
    let note = |text: &str| session.report.note(text);
    session.repeat.run(session.runner.cancel(), note, once)
}

/// Runs a service's suite with an environment. A suite that ran no test has failed.
pub fn run_on(
    runner: &Runner,
    report: &Reporter,
    service: &Service,
    binary: impl FnOnce(&str) -> Result<PathBuf, Failure>,
    environment: &BTreeMap<String, String>,
    deadline: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<String, Failure> {
    let suite = service.suite()?;
    let with_environment = |command: Command| {
        environment
            .iter()
            .fold(command.deadline(deadline), |command, (name, value)| {
                command.env(name, value)
            })
    };
    match suite.tests() {
        Tests::Cargo(package, module) => {
            let binary = binary(package)?;
            let tests = |filter: &[&str]| {
                with_environment(runner.command(&binary).args(filter).arg("--show-output"))
            };
            let module = format!("{module}::");
            let mut tally = Tally::default();
            let mut code = tally.of(&tests(&[&module, "--skip", ALONE]), runner, &mut on_line)?;
            let passed_before = tally.passed;
            if environment.contains_key(e2e_env::OWN_POSTGRES) {
                // What kills the server that all of them use runs when they are done, one test after the other.
                let alone = format!("{ALONE}{module}");
                code = code.max(tally.of(
                    &tests(&[&alone, "--test-threads", "1"]),
                    runner,
                    &mut on_line,
                )?);
            }
            for (name, outcome) in &tally.tests {
                let text = if *outcome == Outcome::Ok {
                    ""
                } else {
                    &tally.output
                };
                report.emit(Event::Test {
                    service: service.name.clone(),
                    name: name.clone(),
                    outcome: *outcome,
                    seconds: None,
                    text: text.to_owned(),
                });
            }
            tally.judge(code, passed_before, suite)
        }
        Tests::Command(command) => {
            own_command(runner, report, service, command, with_environment, on_line)
        }
    }
}

/// Runs a team's command: its exit code decides, and its JUnit file, where it writes one, tells the tests.
fn own_command(
    runner: &Runner,
    report: &Reporter,
    service: &Service,
    command: &[String],
    with_environment: impl Fn(Command) -> Command,
    mut on_line: impl FnMut(&str),
) -> Result<String, Failure> {
    let suite = service.suite()?;
    let dir = service.root.join(&suite.dir);
    let file = suite.junit.as_ref().map(|file| dir.join(file));
    if let Some(file) = &file {
        // One that an earlier run left would be taken for this one's.
        drop(std::fs::remove_file(file));
    }
    let (program, args) = command
        .split_first()
        .ok_or_else(|| Failure::new(Exit::Usage, "the suite's command is empty"))?;
    let mut said = Vec::new();
    let code = with_environment(runner.command(program).args(args).dir(&dir))
        .stream(|line| {
            said.push(line.to_owned());
            on_line(line);
        })
        .map_err(|error| error.into_failure(Exit::TestsFailed, runner.cancel()))?;
    let tests = match &file {
        Some(file) => junit_file::read(file)?,
        None => junit_file::Tests::default(),
    };
    let junit_file::Tests {
        ran: tests,
        skipped,
    } = tests;
    for test in &tests {
        let junit_file::Test {
            name,
            outcome,
            seconds,
            text,
        } = test;
        report.emit(Event::Test {
            service: service.name.clone(),
            name: name.clone(),
            outcome: *outcome,
            seconds: *seconds,
            text: text.clone(),
        });
    }
    let failed: Vec<_> = tests
        .iter()
        .filter(|test| test.outcome != Outcome::Ok)
        .collect();
    let names = failed
        .iter()
        .map(|test| test.name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let tail = said[said.len().saturating_sub(40)..].join("\n");
    match (code, failed.is_empty()) {
        (0, true) if file.is_some() && tests.is_empty() => Err(Failure::new(
            Exit::TestsFailed,
            format!("the suite of {} ran no test", service.name),
        )
        .detail(tail)),
        (0, true) if skipped > 0 => Ok(format!("{} passed, {skipped} skipped", tests.len())),
        (0, true) if file.is_some() => Ok(format!("{} passed", tests.len())),
        (0, true) => Ok(format!("`{}` passed", command.join(" "))),
        (_, false) => {
            let what = format!("{} of {} tests failed: {names}", failed.len(), tests.len());
            let told: Vec<_> = failed
                .iter()
                .map(|test| format!("---- {}\n{}", test.name, test.text))
                .collect();
            Err(Failure::new(Exit::TestsFailed, what).detail(told.join("\n")))
        }
        (code, true) => Err(Failure::new(
            Exit::TestsFailed,
            format!("`{}` ended with exit {code}", command.join(" ")),
        )
        .detail(tail)),
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
