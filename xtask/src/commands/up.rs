//! `cargo xtask up`: every stage through the services ready, then their environments as text.

use clap::{Args, ValueEnum};

use crate::commands::args::{TargetArgs, TargetChoice, Which};
use crate::commands::environment::Variables;
use crate::commands::{begin, ending};
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::plan::{Target, Until, plan};
use e2e_runner::run::repeat::Repeat;
use e2e_runner::run::{self, Keep, check};
use e2e_runner::state::KEPT_FOR;
use e2e_runner::table::Table;

/// Flags of `up`.
#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub place: TargetArgs,
    /// Which port numbers to use
    #[arg(long, value_enum, default_value_t = PortNumbers::E2e)]
    pub ports: PortNumbers,
    /// How the variables of the environment are written to standard output
    #[arg(long, value_enum, default_value_t = Variables::Shell)]
    pub format: Variables,
}

/// Whose port numbers an environment uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PortNumbers {
    /// Those of end-to-end tests, where they are free
    E2e,
    /// Those that the integration suites find in their compose files; local only
    Integration,
}

/// Runs the verb. A failed set-up leaves nothing behind.
pub fn run(runner: &Runner, table: &Table, mut args: Up) -> anyhow::Result<Exit> {
    let chosen = table.choose(&args.which.services, args.which.all)?;
    let integration = args.ports == PortNumbers::Integration;
    let cluster = [TargetChoice::Kind, TargetChoice::Cluster].contains(&args.place.target);
    if integration && (chosen.services.len() > 1 || cluster) {
        let what = "--ports integration is for one service without a cluster";
        return Err(Failure::new(Exit::Usage, what)
            .hint("name one service, and leave out --target")
            .into());
    }
    if integration {
        args.place.target = TargetChoice::Local;
    }
    let place = begin::place(runner, table, &args.place)?;
    let versions = begin::versions(runner, table, &place, &args.place)?;
    if versions.len() > 1 {
        let what = "`up` sets up one environment, and several versions of Kubernetes are asked for";
        return Err(Failure::new(Exit::Usage, what)
            .hint("name one version, or run them all by `cargo xtask e2e`")
            .into());
    }
    for version in &versions {
        version.bring(runner)?;
    }
    let mut plan = plan(&chosen, place.target, Until::Ready);
    if let Some(guest) = &place.guest {
        plan = plan.waiting_for_room(guest.wait_for_room);
    }
    debug_assert!(!integration || place.target == Target::Local);
    let paths = Paths::find(runner)?;
    check::services(&chosen, place.target, false)?;
    check::buildable(&chosen, place.target, false, &paths)?;
    let lifetime = plan.longest(1) + KEPT_FOR;
    let session = begin::begin(
        runner,
        chosen,
        place,
        &args.place,
        integration,
        (Repeat::default(), lifetime, None),
        paths,
    )?
    .on_kubernetes(versions.into_iter().next());
    let ended = run::run(&session, &plan, Keep::WhenReady);
    ending::conclude(&session, ended, &ending::Output::of_up(args.format))
}
