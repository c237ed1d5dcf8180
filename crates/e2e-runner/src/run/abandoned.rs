//! Runs that nobody answers for any more, removed by `reap` and before another run begins.

use std::path::PathBuf;

use crate::exit::{Exit, Failure};
use crate::paths::Paths;
use crate::process::Runner;
use crate::run::teardown::release;
use crate::state::{Held, Run};

/// Removes them, whatever cannot be removed, and returns how many went. What is left behind is one failure, by run; what another process
/// removes at the same time is left to it.
pub fn remove_all(runner: &Runner, paths: &Paths, say: impl Fn(&str)) -> (usize, Option<Failure>) {
    let (mut removed, mut left) = (0, Vec::new());
    for run in Run::list(&paths.runs()) {
        if !run.is_abandoned() {
            continue;
        }
        match run.hold() {
            Ok(Held::Busy(_) | Held::Gone) => {}
            // Taken over meanwhile by a process that has let it go again.
            Ok(Held::Ours) if !run.is_abandoned() => {}
            Ok(Held::Ours) => match release(&run, runner) {
                Ok(what) => {
                    removed += 1;
                    say(&format!("removed what {} had left: {what}", run.id()));
                }
                Err(failure) => left.push(failure),
            },
            Err(error) => left.push(Failure::new(Exit::LeftBehind, format!("{error:#}"))),
        }
    }
    left.extend(unreadable(paths).map(|(_, failure)| failure));
    (removed, together(left))
}

/// The state files that this version cannot read, each with its directory, as a failure: what they stand for may still be there.
pub fn unreadable(paths: &Paths) -> impl Iterator<Item = (PathBuf, Failure)> {
    Run::unreadable(&paths.runs())
        .into_iter()
        .map(|unreadable| {
            let hint = format!(
                "use the version of the tool that wrote it; if nothing of it is left, remove {}",
                unreadable.dir.display()
            );
            let failure = Failure::new(Exit::LeftBehind, unreadable.why).hint(hint);
            (unreadable.dir, failure)
        })
}

/// Several failures of a clean-up as one.
pub fn together(mut failures: Vec<Failure>) -> Option<Failure> {
    if failures.len() < 2 {
        return failures.pop();
    }
    let all: Vec<String> = failures.iter().map(ToString::to_string).collect();
    let what = format!("{} runs left something behind", failures.len());
    Some(Failure::new(Exit::LeftBehind, what).detail(all.join("\n")))
}
