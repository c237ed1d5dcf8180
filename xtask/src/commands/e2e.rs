//! `cargo xtask e2e`: the whole life of one run, of one service or of several at once.

use crate::cli::E2e;
use crate::exit::Exit;
use crate::history::History;
use crate::lifecycle::plan::{Until, plan};
use crate::lifecycle::{self, decide};
use crate::paths::Paths;
use crate::process::Door;
use crate::report;
use crate::service::Table;
use crate::state::Run;

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
        report::print(&plan.table(&History::load(&paths.history())));
        let kept = Run::kept_together(&paths.runs(), &plan.services).filter(|_| !args.place.fresh);
        report::print(&decide::table(door, kept.as_ref(), place, &services));
        return Ok(Exit::Passed);
    }
    let mut session = super::begin(door, services, (place, why), args.place, false, paths)?;
    session.repeat = args.repeat;
    lifecycle::run(&session, &plan, args.keep)?;
    if session.run.dir().join("state.json").exists() {
        super::up::tell(&session.run);
    }
    Ok(Exit::Passed)
}
