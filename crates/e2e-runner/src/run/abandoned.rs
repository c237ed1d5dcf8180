//! Runs that nobody answers for any more, removed before another begins.

use crate::paths::Paths;
use crate::process::Door;
use crate::run::teardown::release;
use crate::state::{Run, State};

/// The runs whose owner is gone, or whose time is over.
pub fn abandoned(paths: &Paths) -> impl Iterator<Item = Run> {
    let runs = Run::list(&paths.runs());
    runs.into_iter()
        .filter(|run| State::is_abandoned(&run.state()))
}

/// Removes them. A failure is only told: it must not keep a new run from starting.
pub fn remove_all(door: &Door, paths: &Paths, say: impl Fn(&str)) {
    for run in abandoned(paths) {
        match release(&run, door) {
            Ok(what) => say(&format!("removed what {} had left: {what}", run.id())),
            Err(failure) => say(&format!(
                "what {} left cannot be removed: {failure}",
                run.id()
            )),
        }
    }
}
