//! `cargo xtask up`: every stage through the services ready, then their environments as text.

use crate::cli::{PortNumbers, Target, Up};
use crate::exit::{Exit, Failure};
use crate::paths::Paths;
use crate::process::Door;
use crate::run::plan::{Place, Until, plan};
use crate::run::{self, Keep};
use crate::table::Table;

/// Runs the verb. A failed set-up leaves nothing behind.
pub fn run(door: &Door, table: &Table, mut args: Up) -> anyhow::Result<Exit> {
    let services = table.choose(&args.which.services, args.which.all)?;
    let integration = args.ports == PortNumbers::Integration;
    if integration && (services.len() > 1 || args.place.target == Target::Kind) {
        let what = "--ports integration is for one service without a cluster";
        return Err(Failure::new(Exit::Usage, what)
            .next("name one service, and leave out --target kind")
            .into());
    }
    if integration {
        args.place.target = Target::Local;
    }
    let (place, why) = super::place(door, &args.place)?;
    let plan = plan(&services, place, Until::Ready);
    debug_assert!(!integration || place == Place::Local);
    let paths = Paths::find(door)?;
    let session = super::begin(door, services, (place, why), args.place, integration, paths)?;
    let ended = run::run(&session, &plan, Keep::WhenReady);
    super::ending::conclude(&session, ended)
}
