//! Runs a suite against its environment and reads its result: this workspace's tests, or a team's own command.
//!
//! Modules, each may import those after it: `command`, `rust_tests`, `running`, `junit_file`, `libtest`

mod command;
mod junit_file;
mod libtest;
mod running;
mod rust_tests;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::run::plan::Step;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::table::suite::Tests;
use running::SuiteRun;

/// Runs the suite of a service of a session; `ready_again` is called before each time but the first, since a suite may end while what it
/// has killed is still away.
pub fn run(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
    ready_again: impl Fn() -> Result<(), Failure>,
) -> Result<String, Failure> {
    let environment = session.secret_environment(service_run);
    let id = session.stage(Step::RunSuite, service_run);
    let log = std::fs::File::create(service_run.dir.join("suite.log")).map_err(Failure::setup)?;
    let mut log = std::io::LineWriter::new(log);
    let mut show = session.lines(&id);
    let secrets = session.report.secrets();
    let mut keep_and_show = |line: &str| {
        // The log is evidence: a full disk must not fail a suite that passes.
        drop(writeln!(log, "{}", secrets.clean(line)));
        show(line);
    };
    let suite = SuiteRun {
        runner: &session.runner,
        report: &session.report,
        service: &service_run.service,
        environment: &environment,
        deadline,
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
    let note = |text: &str| session.report.note(text);
    let mut first = true;
    session.repeat.run(session.runner.cancel(), note, || {
        if !std::mem::take(&mut first) {
            ready_again()?;
        }
        run_once(&suite, binary, &mut keep_and_show)
    })
}

/// Runs a suite once, handing on each line that it prints. A suite that ran no test has failed.
fn run_once(
    suite: &SuiteRun<'_>,
    binary: impl FnOnce(&str) -> Result<PathBuf, Failure>,
    on_line: impl FnMut(&str),
) -> Result<String, Failure> {
    match suite.service.suite()?.tests() {
        Tests::Cargo(package, module) => rust_tests::run(suite, &binary(package)?, module, on_line),
        Tests::Command(words) => command::run(suite, words, on_line),
    }
}
