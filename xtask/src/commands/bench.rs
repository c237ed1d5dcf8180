//! `cargo xtask bench`: programs of a package of their own, so that this tool stays quick to build (D1).

use std::time::Duration;

use clap::ValueEnum;

use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::{Command, Runner};
use e2e_runner::settings::cargo;

/// What `bench` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Topic {
    /// Every row of the README's table, one after the other; `--at-rest` refuses on a busy machine
    All,
    /// A clean copy of the checkout, an empty target directory and empty caches to the first green
    FirstRun,
    /// Cold, warm and hot runs beside plain kind, kubectl and psql
    Lifecycle,
    /// The migration engine beside psql
    Migrations,
    /// Data Storage's write and read paths beside COPY
    Datastorage,
    /// Storing an audit event
    AuditStore,
    /// Memory by part, bytes on disk after a week of runs, and growth with the number of services
    Footprint,
    /// Acknowledged events that are lost or doubled while Data Storage or PostgreSQL fails
    Faults,
}

impl Topic {
    /// The benchmark's program in the package `bench`.
    pub const fn program(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::FirstRun => "first_run",
            Self::Lifecycle => "lifecycle",
            Self::Migrations => "migrations",
            // The server's own binary has the plain name.
            Self::Datastorage => "bench-datastorage",
            Self::AuditStore => "audit_store",
            Self::Footprint => "footprint",
            Self::Faults => "faults",
        }
    }

    /// How long it may take, its build included.
    const fn deadline(self) -> Duration {
        match self {
            Self::All => Duration::from_hours(4),
            _ => Duration::from_hours(1),
        }
    }
}

/// Tells a benchmark of the lifecycle which tool to measure.
const TOOL: &str = "E2E_XTASK";

/// Runs a benchmark in release form.
pub fn bench(runner: &Runner, topic: Topic, args: &[String]) -> anyhow::Result<Exit> {
    let program = [
        "run",
        "--release",
        "--quiet",
        "--package",
        "bench",
        "--bin",
        topic.program(),
        "--",
    ];
    run(runner, |command| {
        command.args(program).args(args).deadline(topic.deadline())
    })
}

fn run(runner: &Runner, program: impl FnOnce(Command) -> Command) -> anyhow::Result<Exit> {
    let paths = Paths::find(runner)?;
    paths.has_checkout()?;
    let command = runner
        .command(cargo())
        .dir(&paths.source)
        .env(TOOL, std::env::current_exe()?);
    match program(command).stream(terminal::print)? {
        status if status.is_success() => Ok(Exit::Passed),
        status => Err(Failure::new(Exit::Setup, format!("the program ended with {status}")).into()),
    }
}
