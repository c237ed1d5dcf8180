//! The life of a run: plan it, walk the plan, keep the evidence of a failure, remove what was made.

pub mod evidence;
pub mod kind;
pub mod local;
pub mod plan;
pub mod release;
pub mod session;
pub mod walk;

use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::history::History;
use crate::report::{Event, Timing, table};
use plan::{Plan, Stage, Step};
use session::Session;

/// What happens to a run's environment after its tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Keep {
    /// Removed, whatever happened.
    Never,
    /// Kept if something failed.
    OnFailure,
    /// Kept.
    Always,
    /// Kept if it stands, removed if it could not be set up: what `up` does.
    #[value(skip)]
    WhenReady,
}

impl Keep {
    fn keeps(self, failed: bool) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => failed,
            Self::Always => true,
            Self::WhenReady => !failed,
        }
    }
}

/// How long a kept environment may stay before anybody's `reap` removes it.
pub const KEPT_FOR: Duration = Duration::from_hours(2);

/// Walks a plan to its end: evidence after a failure, then clean-up by `keep`, then the table of stages.
///
/// Of several failures the first decides the exit code; something left behind decides it only when all else passed.
pub fn run(session: &Session, plan: &Plan, keep: Keep) -> Result<(), Failure> {
    let work: Vec<Stage> = plan
        .stages
        .iter()
        .filter(|stage| !matches!(stage.step, Step::CollectEvidence | Step::TearDown))
        .cloned()
        .collect();
    let cancel = session.door.cancel().clone();
    let walked = walk::walk(&work, session.width(), &session.report, &cancel, |stage| {
        session.perform(stage)
    });
    let mut timings = walked.timings;
    let mut failure = walked
        .failure
        .map(|(step, failure)| in_stage(step, failure));

    if failure.is_some() {
        // Through one more signal: a person who pressed Ctrl-C once still wants to know; twice, no longer.
        let door = session.door.after(1);
        let so_far = timings.clone();
        let collect = || evidence::collect(session, &door, failure.as_ref(), &so_far);
        finish(
            session,
            &mut timings,
            Step::CollectEvidence,
            door.cancel(),
            collect,
        );
    }
    let interrupted = cancel.exit().is_some();
    if !interrupted && keep.keeps(failure.is_some()) {
        session.keep(KEPT_FOR)?;
    } else {
        let door = session.door.after(2);
        let left = finish(session, &mut timings, Step::TearDown, door.cancel(), || {
            release::release(&session.run, &door)
        });
        failure = failure.or(left);
    }
    if let Some(exit) = cancel.exit() {
        failure = Some(Failure {
            exit,
            ..failure.unwrap_or_else(|| cancel.failure())
        });
    }
    let exit = failure
        .as_ref()
        .map_or(Exit::Passed, |failure| failure.exit);
    session.report.emit(&Event::Ended { exit: exit.code() });
    let history = session.paths.history();
    History::load(&history).learn(session.place, &timings, &history);
    crate::report::print(&table(&timings, session.report.elapsed()));
    failure.map_or(Ok(()), Err)
}

fn in_stage(step: Step, failure: Failure) -> Failure {
    Failure {
        what: format!("{}: {}", step.name(), failure.what),
        ..failure
    }
}

fn finish(
    session: &Session,
    timings: &mut Vec<Timing>,
    step: Step,
    cancel: &crate::cancel::Cancel,
    work: impl FnOnce() -> Result<String, Failure>,
) -> Option<Failure> {
    let (timing, result) = walk::timed(step.name(), &session.report, cancel, work);
    timings.push(timing);
    result.err().map(|failure| in_stage(step, failure))
}
