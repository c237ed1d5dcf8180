//! `cargo xtask e2e`: the whole life of one service's run.

use crate::cli::E2e;
use crate::exit::Exit;
use crate::history::History;
use crate::lifecycle::plan::{Until, plan};
use crate::lifecycle::{self};
use crate::paths::Paths;
use crate::process::Door;
use crate::state::Run;
use crate::{report, service};

/// Runs the verb.
pub fn run(door: &Door, args: E2e) -> anyhow::Result<Exit> {
    let service = service::find(&args.service)?;
    let suite = service.suite()?.clone();
    let (place, why) = super::place(door, &args.place)?;
    let plan = plan(&service.name, place, Until::Done(suite.deadline()));
    let paths = Paths::find(door)?;
    if args.plan {
        report::print(&plan.table(&History::load(&paths.history())));
        if let Some(run) = Run::kept(&paths.runs(), &service.name).filter(|_| !args.place.fresh) {
            report::print(&format!(
                "{} is kept: what of it has not changed is used again",
                run.id()
            ));
        }
        return Ok(Exit::Passed);
    }
    let session = super::begin(door, service, (place, why), args.place, paths)?;
    lifecycle::run(&session, &plan, args.keep)?;
    if session.run.dir().join("state.json").exists() {
        super::up::tell(&session.run.state());
    }
    Ok(Exit::Passed)
}
