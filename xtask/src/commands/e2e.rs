//! `cargo xtask e2e`: the whole life of one run, of one service or of several at once.

use clap::Args;

use crate::commands::args::{Format, Keep, RepeatArgs, SuiteArgs, TargetArgs, Which};
use crate::commands::environment::quoted;
use crate::commands::{begin, ending};
use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::history::History;
use e2e_runner::run::plan::{Until, plan};
use e2e_runner::run::repeat::Repeat;
use e2e_runner::run::{self, check, coverage, preview};
use e2e_runner::state::{KEPT_FOR, Run};
use e2e_runner::table::Table;

/// Flags of `e2e`.
#[derive(Debug, Args)]
pub struct E2e {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub place: TargetArgs,
    /// When the environment is kept after the tests
    #[arg(long, value_enum, default_value_t = Keep::Never)]
    pub keep: Keep,
    /// Build the services' Go and Rust programs with coverage, and collect what they and those of Dockerfiles wrote into the run's
    /// directory. Programs write when they end by themselves: they get SIGTERM after the suites
    #[arg(long)]
    pub coverage: bool,
    /// Print the plan and do nothing
    #[arg(long)]
    pub plan: bool,
    #[command(flatten)]
    pub suites: SuiteArgs,
    #[command(flatten)]
    pub repeat: RepeatArgs,
    /// How the result is written to standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Runs the verb.
pub fn run(runner: &Runner, table: &Table, args: &E2e) -> anyhow::Result<Exit> {
    let mut chosen = table.choose(&args.which.services, args.which.all)?;
    let asked = args.suites.asked();
    for service in &mut chosen.services {
        service.choose_suites(&asked)?;
    }
    let (place, why) = begin::place(runner, &args.place)?;
    let mut plan = plan(&chosen, place, Until::Done);
    check::services(&chosen, place, true)?;
    if args.coverage {
        coverage::check(&chosen, place)?;
        plan = plan.collecting_coverage();
    }
    let repeat = Repeat::from(args.repeat);
    let lifetime = plan.longest(repeat.times) + KEPT_FOR;
    let paths = Paths::find(runner)?;
    if args.plan {
        terminal::print(&preview::plan_table(
            &plan,
            &History::load(&paths.history()),
        ));
        if let Some(told) = preview::programs() {
            terminal::print(&told);
        }
        let kept = Run::kept_together(&paths.runs(), &plan.services).filter(|_| !args.place.fresh);
        terminal::print(&preview::reuse_table(runner, kept.as_ref(), place, &chosen));
        return Ok(Exit::Passed);
    }
    check::buildable(&chosen, place, true, &paths)?;
    let session = begin::begin(
        runner,
        chosen,
        (place, why),
        &args.place,
        false,
        (repeat, lifetime, Some(again())),
        paths,
    )?
    .with_coverage(args.coverage);
    let ended = run::run(&session, &plan, args.keep.into());
    ending::conclude(&session, ended, &ending::Output::of_e2e(args.format))
}

/// The command line as the user typed it, with the environment of a failure kept.
fn again() -> String {
    let mut words = vec!["cargo xtask".to_owned()];
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--keep" => drop(args.next()),
            arg if arg.starts_with("--keep=") => {}
            arg => words.push(quoted(arg)),
        }
    }
    words.push("--keep on-failure".to_owned());
    words.join(" ")
}
