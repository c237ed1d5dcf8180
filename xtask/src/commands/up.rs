//! `cargo xtask up`: every stage through Data Storage ready, then the environment as text.

use crate::cli::Up;
use crate::exit::Exit;
use crate::lifecycle::plan::{Until, plan};
use crate::lifecycle::{self, Keep};
use crate::paths::Paths;
use crate::process::Door;
use crate::state::State;
use crate::{report, service};

/// Runs the verb. A failed set-up leaves nothing behind.
pub fn run(door: &Door, args: Up) -> anyhow::Result<Exit> {
    let service = service::find(&args.service)?;
    let (place, why) = super::place(door, &args.place)?;
    let plan = plan(&service.name, place, Until::Ready);
    let paths = Paths::find(door)?;
    let session = super::begin(door, service, (place, why), args.place, paths)?;
    lifecycle::run(&session, &plan, Keep::WhenReady)?;
    tell(&session.run.state());
    Ok(Exit::Passed)
}

/// Prints an environment as lines that a shell can read; the password is in a file that only its user can read.
pub fn tell(state: &State) {
    let lines: Vec<_> = state
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    report::print(&lines.join("\n"));
    if let Some(dir) = state.environment.get(e2e_env::EVIDENCE_DIR) {
        report::say(&format!(
            "{} is in {dir}/password; `cargo xtask down {}` ends it, and it expires {}",
            e2e_env::PGPASSWORD,
            state.service,
            state.expires
        ));
    }
}
