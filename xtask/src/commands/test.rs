//! `cargo xtask test`: every test tier of this workspace, or one service's suite on the environment that `up` left.

use std::time::Duration;

use e2e_report::Log;

use clap::Args;

use crate::commands::args::RepeatArgs;
use crate::commands::{environment, tiers};
use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::reporter::Reporter;
use e2e_runner::reports::{self, EVENTS};
use e2e_runner::run::plan::Step;
use e2e_runner::run::repeat::Repeat;
use e2e_runner::run::suite;
use e2e_runner::table::{Service, Table};
use e2e_runner::tools::cargo::build_tests;

/// Flags of `test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The service whose suite is run; none runs every tier of this workspace
    pub service: Option<String>,
    /// A tier that must run: without it the command fails with exit 3
    #[arg(long, value_name = "TIER", value_delimiter = ',')]
    pub require: Vec<String>,
    /// PostgreSQL versions that the database tests run on, besides the default
    #[arg(long, value_name = "MAJOR", value_delimiter = ',')]
    pub postgres: Vec<u32>,
    #[command(flatten)]
    pub repeat: RepeatArgs,
}

/// Runs the verb.
pub fn run(runner: &Runner, table: &Table, args: &Test) -> anyhow::Result<Exit> {
    let paths = Paths::find(runner)?;
    match &args.service {
        Some(name) => on_environment(runner, &paths, table.find(name)?, args.repeat.into()),
        None => tiers::run(runner, table, &paths, &args.require, &args.postgres),
    }
}

fn on_environment(
    runner: &Runner,
    paths: &Paths,
    service: &Service,
    repeat: Repeat,
) -> anyhow::Result<Exit> {
    let suite = service.suite()?;
    let run = environment::up(paths, Some(&service.name))?;
    let state = run.state();
    let mut environment = state.environment(&service.name);
    environment.insert(e2e_env::PGPASSWORD.to_owned(), run.password()?);
    let show = |line: &str| terminal::message(&format!("    {line}"));
    let binary = |package: &str| build_tests(runner, paths, package, Duration::from_mins(10), show);
    let events = Reporter::logging_to(&run.dir().join(EVENTS), Box::new(terminal::event))?;
    let log = run.dir().join(EVENTS);
    let before = std::fs::read_to_string(&log).unwrap_or_default().len();
    let outcome = repeat.run(runner.cancel(), terminal::message, || {
        suite::run_on(
            runner,
            &events,
            service,
            binary,
            &environment,
            suite.deadline(),
            show,
        )
    });
    // What this command added to the run's log, and no earlier test once more.
    let log = std::fs::read_to_string(&log).unwrap_or_default();
    let added = Log::parse(log.get(before..).unwrap_or_default());
    reports::learn(&added, &paths.runs());
    let passed = outcome?;
    terminal::message(&format!(
        "{} on {}: {passed}",
        Step::RunSuite.name(),
        state.run
    ));
    Ok(Exit::Passed)
}
