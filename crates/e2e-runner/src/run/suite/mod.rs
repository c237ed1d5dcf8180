//! Runs a suite against its environment and reads its result: this workspace's tests, or a team's own command.
//!
//! Modules, each may import those after it: `command`, `container`, `rust_tests`, `running`, `junit_file`, `libtest`, `attempt`, `job`

mod attempt;
mod command;
mod container;
pub mod job;
mod junit_file;
mod libtest;
mod running;
mod rust_tests;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::PoisonError;

use e2e_report::Event;

use crate::exit::{Exit, Failure};
use crate::run::plan::Id;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::table::suite::Tests;
use attempt::{Attempt, Test, some_of};
use job::InJob;
use running::SuiteRun;

/// Runs a suite of a service of a session; `ready_again` is called before each time but the first, since a suite may end while what it
/// has killed is still away.
pub fn run(
    session: &Session,
    service_run: &ServiceRun,
    id: &Id,
    ready_again: impl Fn() -> Result<(), Failure>,
    in_job: &InJob<'_>,
) -> Result<String, Failure> {
    let service = &service_run.service;
    let mut suites = service.suites.iter();
    let entry = suites.find(|suite| suite.part() == id.part.as_deref());
    let entry = entry
        .ok_or_else(|| Failure::new(Exit::Setup, "the plan has a suite that the table has not"))?;
    let mut environment = session.secret_environment(service_run);
    if let Some(text) = &entry.only {
        environment.insert(e2e_env::FILTER.to_owned(), text.clone());
    }
    let log = std::fs::File::create(service_run.dir.join(entry.log())).map_err(Failure::setup)?;
    let mut log = std::io::LineWriter::new(log);
    let mut show = session.lines(id);
    let secrets = session.report.secrets();
    let mut keep_and_show = |line: &str| {
        // The log is evidence: a full disk must not fail a suite that passes.
        drop(writeln!(log, "{}", secrets.clean(line)));
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
    let report = |test: &Test| {
        session.report.emit(Event::Test {
            service: service.name.clone(),
            suite: entry.part().map(str::to_owned),
            name: test.name.clone(),
            outcome: test.outcome,
            seconds: test.seconds,
            text: test.text.clone(),
        });
    };
    let note = |text: &str| session.report.note(text);
    let mut first = true;
    session.repeat.run(session.runner.cancel(), note, || {
        attempt::until_passed(&entry.name, entry.retries, report, |number, failed| {
            if !std::mem::take(&mut first) {
                ready_again()?;
            }
            if number > 1 {
                let names: Vec<_> = failed.iter().map(String::as_str).collect();
                let what = match entry.tests() {
                    Tests::Cargo(..) if !failed.is_empty() => some_of(&names),
                    _ => entry.name.clone(),
                };
                let most = 1 + entry.retries;
                note(&format!("attempt {number} of {most} at {what}"));
            }
            let mut environment = environment.clone();
            environment.insert(e2e_env::ATTEMPT.to_owned(), number.to_string());
            let suite = SuiteRun {
                session,
                service_run,
                in_job,
                suite: entry,
                environment,
            };
            run_once(&suite, failed, binary, &mut keep_and_show)
        })
    })
}

/// Runs a suite once, handing on each line that it prints. A suite that ran no test has failed.
fn run_once(
    suite: &SuiteRun<'_>,
    failed: &[String],
    binary: impl FnOnce(&str) -> Result<PathBuf, Failure>,
    on_line: impl FnMut(&str),
) -> Result<Attempt, Failure> {
    match suite.suite.tests() {
        Tests::Cargo(package, module) => {
            rust_tests::run(suite, &binary(package)?, module, failed, on_line)
        }
        Tests::Command(_) => command::run(suite, on_line),
    }
}
