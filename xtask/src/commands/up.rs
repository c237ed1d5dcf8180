//! `cargo xtask up`: every stage through the services ready, then their environments as text.

use crate::cli::{PortNumbers, Target, Up};
use crate::exit::{Exit, Failure};
use crate::lifecycle::plan::{Place, Until, plan};
use crate::lifecycle::{self, Keep};
use crate::paths::Paths;
use crate::process::Door;
use crate::report;
use crate::service::Table;
use crate::state::Run;

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
    lifecycle::run(&session, &plan, Keep::WhenReady)?;
    tell(&session.run);
    Ok(Exit::Passed)
}

/// Prints environments as lines that a shell can read; the password is in a file that only its user can read.
pub fn tell(run: &Run) {
    let state = run.state();
    for (service, environment) in &state.environments {
        let lines: Vec<_> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if state.environments.len() > 1 {
            report::print(&format!("\n# {service}"));
        }
        report::print(&lines.join("\n"));
    }
    let services = state.services.join(" ");
    report::say(&format!(
        "{} is in {}; `cargo xtask down {services}` ends it, and it expires {}",
        e2e_env::PGPASSWORD,
        run.dir().join("password").display(),
        state.expires
    ));
}
