//! `cargo xtask e2e`: the whole life of one run, of one service or of several at once.

use crate::cli::E2e;
use crate::exit::Exit;
use crate::paths::Paths;
use crate::process::Door;
use crate::run::history::History;
use crate::run::plan::{Until, plan};
use crate::run::{self, preview};
use crate::state::Run;
use crate::table::Table;
use crate::terminal;

/// Runs the verb.
pub fn run(door: &Door, table: &Table, args: E2e) -> anyhow::Result<Exit> {
    let services = table.choose(&args.which.services, args.which.all)?;
    for service in &services {
        service.suite()?;
    }
    let (place, why) = super::place(door, &args.place)?;
    let plan = plan(&services, place, Until::Done);
    let paths = Paths::find(door)?;
    if args.plan {
        terminal::print(&preview::plan_table(
            &plan,
            &History::load(&paths.history()),
        ));
        let kept = Run::kept_together(&paths.runs(), &plan.services).filter(|_| !args.place.fresh);
        terminal::print(&preview::reuse_table(door, kept.as_ref(), place, &services));
        return Ok(Exit::Passed);
    }
    let mut session = super::begin(door, services, (place, why), args.place, false, paths)?;
    session.repeat = args.repeat;
    let ended = run::run(&session, &plan, args.keep);
    super::ending::conclude(&session, ended)
}
