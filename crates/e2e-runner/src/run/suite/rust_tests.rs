//! A module of this workspace's own tests, run by its test binary.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::exit::Failure;
use crate::process::{Error, Status};
use crate::run::suite::attempt::{Attempt, no_match};
use crate::run::suite::libtest::Tally;
use crate::run::suite::running::SuiteRun;

/// The module in which the tests lie that need PostgreSQL to themselves.
const ALONE: &str = "alone::";

/// The module in which the tests lie that need several replicas of Data Storage; within [`ALONE`] those that need both.
const REPLICAS: &str = "replicas::";

/// Runs a module of a test binary, and one after the other the tests that need PostgreSQL to themselves or several replicas, where the
/// environment has that. Which of the latter are left out is told by name. Where tests have failed before, only those run.
pub(super) fn run(
    suite: &SuiteRun<'_>,
    binary: &Path,
    module: &str,
    failed: &[String],
    on_line: impl FnMut(&str),
) -> Result<Attempt, Failure> {
    let began = Instant::now();
    let (together, alone) = match failed {
        [] => chosen(suite, binary, module, began)?,
        // One after the other: they may have disturbed each other.
        failed => (Vec::new(), failed.to_vec()),
    };
    let mut tally = Tally::default();
    tally.expect(together.iter().chain(&alone).cloned());
    let name = suite.suite.describe();
    if let (true, Some(text)) = (tally.names().is_empty(), &suite.suite.only) {
        return Ok(Attempt::failed(no_match(&name, text)));
    }
    if together.is_empty() && failed.is_empty() && suite.suite.only.is_none() {
        // The harness would pass, and what needs the server to itself is not what makes a suite.
        return Ok(Attempt {
            tests: Vec::new(),
            verdict: Tally::default().judge(Status::SUCCESS, &name),
        });
    }
    let (status, leaked) = perform(suite, binary, &together, &alone, began, &mut tally, on_line);
    suite.note_leak(leaked);
    let how = match &status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let tests = tally.tests(&how);
    let verdict = match status {
        Ok(status) => tally.judge(status, &name),
        Err(error) => Err(suite.failed(error)),
    };
    Ok(Attempt { tests, verdict })
}

/// The tests of a module that this environment can run, and of those the ones that run one after the other.
fn chosen(
    suite: &SuiteRun<'_>,
    binary: &Path,
    module: &str,
    began: Instant,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let module = format!("{module}::");
    let listed = |filter: &[&str]| {
        let list = suite.command(binary).args(filter);
        let list = list.args(["--list", "--format", "terse"]);
        let list = list.deadline(left(suite, began)).read();
        let list = list.map_err(|error| suite.failed(error))?;
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        let asked = |name: &&str| {
            let only = suite.suite.only.as_ref();
            only.is_none_or(|text| name.contains(text.as_str()))
        };
        Ok(names.filter(asked).map(str::to_owned).collect::<Vec<_>>())
    };
    let together = listed(&[&module, "--skip", ALONE, "--skip", REPLICAS])?;
    let own_server = suite.environment.contains_key(e2e_env::OWN_POSTGRES);
    let replicas = suite.environment.get(e2e_env::DATASTORAGE_REPLICAS);
    let several = replicas.is_some_and(|count| count != "1");
    let special = [format!("{ALONE}{module}"), format!("{REPLICAS}{module}")];
    let special = listed(&[&special[0], &special[1]])?;
    let (mut alone, mut left_out) = (Vec::new(), Vec::new());
    for test in special {
        if test.contains(REPLICAS) && !several {
            left_out.push(test);
        } else if own_server || !test.starts_with(ALONE) {
            alone.push(test);
        }
    }
    if !left_out.is_empty() {
        suite.session.report.note(&format!(
            "left out, for Data Storage has one replica here: {}",
            left_out.join(", ")
        ));
    }
    Ok((together, alone))
}

fn left(suite: &SuiteRun<'_>, began: Instant) -> Duration {
    suite.suite.deadline().saturating_sub(began.elapsed())
}

/// Runs tests by their exact names: some at once, then the others one after the other. The worst of how the binary ended, and whether
/// it left a process behind.
fn perform(
    suite: &SuiteRun<'_>,
    binary: &Path,
    together: &[String],
    alone: &[String],
    began: Instant,
    tally: &mut Tally,
    mut on_line: impl FnMut(&str),
) -> (Result<Status, Error>, bool) {
    // With one thread the harness prints a test's name before it runs it: what the test's children print would come between.
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let threads = threads.max(2).to_string();
    let (mut worst, mut leaked) = (Status::SUCCESS, false);
    let groups = std::iter::once(together).chain(alone.chunks(1));
    for names in groups.filter(|names| !names.is_empty()) {
        let run = suite.command(binary).args(names).arg("--exact");
        let run = run.deadline(left(suite, began));
        let run = run.args(["--show-output", "--test-threads", &threads]);
        let ended = run.stream(|line| {
            tally.line(line);
            on_line(line);
        });
        match ended {
            Ok(ended) => {
                leaked |= ended.leaked;
                if worst.is_success() {
                    worst = ended;
                }
            }
            Err(error) => return (Err(error), leaked),
        }
    }
    (Ok(worst), leaked)
}
