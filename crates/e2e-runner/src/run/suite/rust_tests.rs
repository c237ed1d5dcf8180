//! A module of this workspace's own tests, run by its test binary.

use std::path::Path;
use std::time::Instant;

use crate::exit::{Exit, Failure};
use crate::process::{Error, Status};
use crate::run::suite::libtest::Tally;
use crate::run::suite::running::SuiteRun;

/// The module in which the tests lie that need PostgreSQL to themselves.
const ALONE: &str = "alone::";

/// The module in which the tests lie that need several replicas of Data Storage; within [`ALONE`] those that need both.
const REPLICAS: &str = "replicas::";

/// Runs a module of a test binary, and one after the other the tests that need PostgreSQL to themselves or several replicas, where the
/// environment has that. Which of the latter are left out is told by name.
pub(super) fn run(
    suite: &SuiteRun<'_>,
    binary: &Path,
    module: &str,
    mut on_line: impl FnMut(&str),
) -> Result<String, Failure> {
    let began = Instant::now();
    let left = || suite.deadline.saturating_sub(began.elapsed());
    let failed = |error: Error| error.into_failure(Exit::TestsFailed, suite.runner.cancel());
    let module = format!("{module}::");
    let filter = [module.as_str(), "--skip", ALONE, "--skip", REPLICAS];
    let listed = |filter: &[&str]| {
        let list = suite.command(binary).args(filter);
        let list = list.args(["--list", "--format", "terse"]);
        list.deadline(left()).read().map_err(failed)
    };
    let mut tally = Tally::default();
    tally.list(&listed(&filter)?);
    if tally.names().is_empty() {
        // The harness would pass, and what needs the server to itself is not what makes a suite.
        return tally.judge(Status::SUCCESS, suite.service.suite()?.describe().as_str());
    }
    let own_server = suite.environment.contains_key(e2e_env::OWN_POSTGRES);
    let replicas = suite.environment.get(e2e_env::DATASTORAGE_REPLICAS);
    let several = replicas.is_some_and(|count| count != "1");
    let special = [format!("{ALONE}{module}"), format!("{REPLICAS}{module}")];
    let mut rest = Tally::default();
    let mut left_out = Vec::new();
    let special = listed(&[&special[0], &special[1]])?;
    for test in special.lines() {
        if test.contains(REPLICAS) && !several {
            left_out.extend(test.strip_suffix(": test"));
        } else if own_server || !test.starts_with(ALONE) {
            rest.list(test);
            tally.list(test);
        }
    }
    if !left_out.is_empty() {
        suite.report.note(&format!(
            "left out, for Data Storage has one replica here: {}",
            left_out.join(", ")
        ));
    }
    // With one thread the harness prints a test's name before it runs it: what the test's children print would come between.
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let threads = threads.max(2).to_string();
    let first = filter.map(str::to_owned).to_vec();
    let rest = rest
        .names()
        .into_iter()
        .map(|name| vec![name, "--exact".to_owned()]);
    let mut status = Ok(Status::SUCCESS);
    let mut leaked = false;
    for filter in std::iter::once(first).chain(rest) {
        let run = suite.command(binary).args(&filter).deadline(left());
        let run = run.args(["--show-output", "--test-threads", &threads]);
        let ended = run.stream(|line| {
            tally.line(line);
            on_line(line);
        });
        match (ended, &status) {
            (Ok(ended), Ok(worst)) => {
                leaked |= ended.leaked;
                if worst.is_success() {
                    status = Ok(ended);
                }
            }
            (Err(error), _) => {
                status = Err(error);
                break;
            }
            (Ok(_), Err(_)) => {}
        }
    }
    let how = match &status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    for test in tally.tests(&how) {
        suite.emit(test.name, test.outcome, None, test.text);
    }
    suite.note_leak(leaked);
    tally.judge(status.map_err(failed)?, &suite.service.suite()?.describe())
}
