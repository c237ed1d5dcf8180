//! `cargo xtask e2e`: the whole life of one run, of one service or of several at once.

use std::path::PathBuf;

use clap::Args;

use crate::commands::args::{Format, Keep, RepeatArgs, SuiteArgs, TargetArgs, Which};
use crate::commands::asked::Asked;
use crate::commands::{begin, ending, sharding, versions};
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::plan::{Until, plan};
use e2e_runner::run::repeat::Repeat;
use e2e_runner::run::{self, check, coverage};
use e2e_runner::shard::Shard;
use e2e_runner::state::KEPT_FOR;
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
    /// Run only the K-th of N parts of these services: in each of N jobs another one. Every job needs the same services and durations;
    /// `ci matrix --shards` instead hands each job its services by name
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
    /// How long the services' suites take, as `ci durations` writes it; without it --shard splits evenly by name
    #[arg(long, value_name = "FILE", requires = "shard")]
    pub durations: Option<PathBuf>,
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
    let which = (&*args.which.services, args.which.all);
    let mine = args.shard.map(|shard| {
        let durations = args.durations.as_deref();
        sharding::mine(table, which, shard, durations)
    });
    let mine = mine.transpose()?;
    let mut chosen = match &mine {
        Some(mine) if mine.services.is_empty() => {
            return Ok(sharding::nothing(&mine.label, args.format));
        }
        Some(mine) => table.choose(&mine.services, false)?,
        None => table.choose(which.0, which.1)?,
    };
    let asked = args.suites.asked();
    for service in &mut chosen.services {
        service.choose_suites(&asked)?;
    }
    let place = begin::place(runner, table, &args.place)?;
    let versions = begin::versions(runner, table, &place, &args.place)?;
    if versions.len() > 1 && args.keep != Keep::Never {
        let what =
            "--keep is for one environment, and several versions of Kubernetes are asked for";
        return Err(Failure::new(Exit::Usage, what)
            .hint("leave out --keep, or name one version: a run that fails says how it is run again and kept")
            .into());
    }
    let mut plan = plan(&chosen, place.target, Until::Done);
    if let Some(guest) = &place.guest {
        plan = plan.waiting_for_room(guest.wait_for_room);
    }
    check::services(&chosen, place.target, true)?;
    if args.coverage {
        coverage::check(&chosen, place.target)?;
        plan = plan.collecting_coverage();
    }
    let repeat = Repeat::from(args.repeat);
    let asked = Asked {
        runner,
        args: &args.place,
        coverage: args.coverage,
        chosen,
        place,
        lifetime: plan.longest(repeat.times) + KEPT_FOR,
        plan,
        repeat,
        shard: mine.map(|mine| mine.label),
        paths: Paths::find(runner)?,
    };
    if args.plan {
        asked.preview(&versions);
        return Ok(Exit::Passed);
    }
    check::buildable(&asked.chosen, asked.place.target, true, &asked.paths)?;
    if versions.len() > 1 {
        return versions::run(&asked, &versions, args.format);
    }
    for version in &versions {
        version.bring(runner)?;
    }
    let session = asked.begin(versions.into_iter().next(), &args.place)?;
    let ended = run::run(&session, &asked.plan, args.keep.into());
    ending::conclude(&session, ended, &ending::Output::of_e2e(args.format))
}
