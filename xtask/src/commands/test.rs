//! `cargo xtask test`: every test tier of this workspace, or one service's suite on the environment that `up` left.

use clap::Args;

use crate::commands::args::{Format, RepeatArgs, SuiteArgs};
use crate::commands::{ending, environment, tiers};
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::local::postgres;
use e2e_runner::run::plan::{Target, retest};
use e2e_runner::run::repeat::Repeat;
use e2e_runner::run::session::Session;
use e2e_runner::run::{self, Keep, check};
use e2e_runner::state::{Held, KEPT_FOR};
use e2e_runner::table::Table;
use e2e_runner::table::service::Service;
use e2e_runner::table::suite::Asked;

/// Flags of `test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The service whose suite is run; none runs every tier of this workspace
    #[arg(conflicts_with_all = ["require", "postgres"])]
    pub service: Option<String>,
    /// Fail with exit 3 if this tier cannot run
    #[arg(long, value_name = "TIER", value_delimiter = ',')]
    pub require: Vec<String>,
    /// PostgreSQL versions that the database tests run on, besides the default
    #[arg(long, value_name = "MAJOR", value_delimiter = ',')]
    pub postgres: Vec<u32>,
    #[command(flatten)]
    pub suites: SuiteArgs,
    #[command(flatten)]
    pub repeat: RepeatArgs,
    /// How the result of a service's suite is written to standard output
    #[arg(long, value_enum, default_value_t = Format::Human, requires = "service")]
    pub format: Format,
}

/// Runs the verb.
pub fn run(runner: &Runner, table: &Table, args: &Test) -> anyhow::Result<Exit> {
    let paths = Paths::find(runner)?;
    let repeat = Repeat::from(args.repeat);
    match &args.service {
        Some(name) => {
            let mut service = table.find(name)?.clone();
            service.choose_suites(&args.suites.asked())?;
            on_environment(runner, table, paths, &service, repeat, args.format)
        }
        None if repeat.times > 1 || args.suites.asked() != Asked::default() => {
            let what = "--repeat, --suite, --filter and --retries are for one service's suites";
            Err(Failure::new(Exit::Usage, what)
                .hint("name the service: cargo xtask test SERVICE")
                .into())
        }
        None => tiers::run(runner, table, &paths, &args.require, &args.postgres),
    }
}

/// A run of its own over the environment that is up: it holds it, reports as `e2e` does, and leaves it as it was.
fn on_environment(
    runner: &Runner,
    table: &Table,
    paths: Paths,
    service: &Service,
    repeat: Repeat,
    format: Format,
) -> anyhow::Result<Exit> {
    let run = environment::up(&paths, Some(&service.name))?;
    if let Held::Busy(pid) = run.hold()? {
        let what = format!("the environment {} is in use by process {pid}", run.id());
        return Err(Failure::new(Exit::Preflight, what)
            .hint("wait for that process, or set up another environment")
            .into());
    }
    let state = run.state();
    // Another process may have removed it, or taken it over, before it was held.
    if !run.is_up() {
        return Err(environment::none(Some(&service.name), &[]).into());
    }
    let services = state.services.iter().map(|name| match name {
        name if *name == service.name => Ok(service.clone()),
        name => table.find(name).cloned(),
    });
    let services = services.collect::<Result<Vec<_>, _>>()?;
    let place = Target::of_word(&state.target).unwrap_or(Target::Local);
    check::suites(service, place)?;
    let chosen = table.together(services);
    let plan = retest(&chosen.services, service, place);
    let lifetime = plan.longest(repeat.times) + KEPT_FOR;
    let watcher = Box::new(terminal::event);
    let session = Session::resume(run, chosen, runner, repeat, lifetime, paths, watcher)?;
    if place == Target::Local {
        postgres::prolong(&session)?;
    }
    let ended = run::run(&session, &plan, Keep::AsFound);
    ending::conclude(&session, ended, &ending::Output::of_test(format))
}
