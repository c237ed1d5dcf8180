//! The life of a run: plan it, walk the plan, keep the evidence of a failure, remove what was made.
//!
//! Modules, each may import those after it: `stages`, `hooks`, `abandoned`, `finished`, `teardown`, `coverage`, `evidence`, `preview`, `cluster`, `kind`, `kubernetes`, `local`, `given_postgres`, `suite`, `history`, `reuse`, `forward`, `wait`, `walk`, `timing`, `session`, `node_version`, `private`, `check`, `check_parts`, `datastorage_config`, `repeat`, `service_run`, `places`, `part_run`, `layer`, `plan`

pub mod abandoned;
pub mod check;
pub mod check_parts;
pub mod cluster;
pub mod coverage;
pub mod datastorage_config;
pub mod evidence;
pub mod finished;
pub mod forward;
pub mod given_postgres;
pub mod history;
pub mod hooks;
pub mod kind;
pub mod kubernetes;
pub mod layer;
pub mod local;
pub mod node_version;
pub mod part_run;
pub mod places;
pub mod plan;
pub mod preview;
pub mod private;
pub mod repeat;
pub mod reuse;
pub mod service_run;
pub mod session;
pub mod stages;
pub mod suite;
pub mod teardown;
pub mod timing;
pub mod wait;
pub mod walk;

use std::collections::BTreeSet;
use std::time::Duration;

use e2e_report::{Event, Failed};

use crate::exit::{Exit, Failure};
use crate::state::KEPT_FOR;
use history::History;
use plan::{Id, Plan, Stage, Step, Target};
use session::Session;
use timing::Timing;

/// What happens to a run's environment after its tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Removed, whatever happened.
    Never,
    /// Kept if something failed.
    OnFailure,
    /// Kept.
    Always,
    /// Kept if set-up succeeded or the environment stood before, removed otherwise: what `up` does.
    WhenReady,
    /// Left as it was found, whatever happened, a signal too: what `test` does.
    AsFound,
}

impl Keep {
    fn keeps(self, failed: bool) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => failed,
            Self::Always | Self::AsFound => true,
            Self::WhenReady => !failed,
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// What failed. Of several failures the first decides the exit code; something left behind decides it only when all else passed.
    pub failure: Option<Failure>,
    /// What was left behind besides, where something else had failed before.
    pub left: Option<Failure>,
    /// Its stages, in the order they ended.
    pub timings: Vec<Timing>,
    /// How long all of it took.
    pub total: Duration,
    /// Whether its environment is kept.
    pub kept: bool,
}

/// Walks a plan to its end: evidence after a failure, then clean-up by `keep`.
pub fn run(session: &Session, plan: &Plan, keep: Keep) -> Ended {
    let history = History::load(&session.paths.history());
    let only = session.service_runs[0].service.name.as_str();
    let work: Vec<Stage> = plan
        .stages
        .iter()
        .filter(|stage| {
            let step = stage.id.step;
            !matches!(
                step,
                Step::CollectEvidence | Step::CollectCoverage | Step::TearDown
            )
        })
        .cloned()
        .collect();
    let work = history.longest_first(session.place, &work, only);
    evidence::clear(session);
    announce(session, plan, &history);
    let cancel = session.runner.cancel().clone();
    let walked = walk::walk(
        &work,
        walk::Budget::of_this_machine(),
        &session.report,
        &cancel,
        |stage| stages::run_stage(session, stage),
    );
    let mut timings = walked.timings;
    let failure = together(walked.failures, session.service_runs.len());

    if failure.is_some() {
        // Through one more signal: a person who pressed Ctrl-C once still wants to know; twice, no longer.
        let deadline = plan.deadline(Step::CollectEvidence);
        let runner = session.runner.after(1).within(deadline);
        let so_far = timings.clone();
        let collect = || evidence::collect(session, &runner, failure.as_ref(), &so_far);
        finish(
            session,
            &mut timings,
            Step::CollectEvidence,
            runner.cancel(),
            collect,
        );
    }
    let failure = collect_coverage(session, plan, keep, &mut timings, failure);
    let interrupted = cancel.exit().is_some();
    let keeps = keep == Keep::AsFound
        // A signal ends what this run does, not what an earlier one has kept.
        || (matches!(keep, Keep::WhenReady | Keep::Always) && session.stood_before())
        || (!interrupted && keep.keeps(failure.is_some()));
    let left = if keeps {
        let kept = session.keep(KEPT_FOR, failure.is_some() || interrupted);
        let says_so = |()| {
            given_postgres::prolong(session, KEPT_FOR);
            match session.place {
                Target::Cluster => cluster::namespaces::prolong(session),
                Target::Kind | Target::Local => Ok(()),
            }
        };
        kept.and_then(says_so).err()
    } else {
        let deadline = plan.deadline(Step::TearDown);
        let runner = session.runner.after(2).within(deadline);
        finish(
            session,
            &mut timings,
            Step::TearDown,
            runner.cancel(),
            || teardown::release(&session.run, &runner),
        )
    };
    let kept = keeps && left.is_none();
    let (mut failure, left) = match failure {
        None => (left, None),
        failure => (failure, left),
    };
    if let Some(exit) = cancel.exit() {
        failure = Some(Failure {
            exit,
            ..failure.unwrap_or_else(|| cancel.failure())
        });
    }
    let failure = failure.map(|failure| clean(session, with_next_move(session, failure, kept)));
    evidence::redact_files(session);
    let exit = failure
        .as_ref()
        .map_or(Exit::Passed, |failure| failure.exit);
    log_failure(session, failure.as_ref());
    session.report.emit(Event::Ended { exit: exit.code() });
    History::learn(&session.paths.history(), session.place, only, &timings);
    Ended {
        failure,
        left,
        timings,
        total: session.report.elapsed(),
        kept,
    }
}

/// Collects the coverage of suites that ran, whatever came of them, and adds to the failures that there is none.
fn collect_coverage(
    session: &Session,
    plan: &Plan,
    keep: Keep,
    timings: &mut Vec<Timing>,
    failure: Option<Failure>,
) -> Option<Failure> {
    let cancel = session.runner.cancel();
    let tested = timings
        .iter()
        .any(|timing| timing.id.step == Step::RunSuite);
    if !session.coverage || !tested || cancel.is_raised() {
        return failure;
    }
    let deadline = plan.deadline(Step::CollectCoverage);
    let is_kept = |failed: bool| keep.keeps(failed || failure.is_some());
    let collect = || coverage::collect(session, deadline, is_kept);
    let missing = finish(session, timings, Step::CollectCoverage, cancel, collect);
    failure.or(missing)
}

/// Writes the plan into the log: what each stage waits for, and how fast it can be here.
fn announce(session: &Session, plan: &Plan, history: &History) {
    let only = session.service_runs[0].service.name.as_str();
    session.report.emit(Event::About {
        services: plan.services.clone(),
        kubernetes: session
            .kubernetes
            .as_ref()
            .map(|node| node.version.to_string()),
        shard: session.shard.clone(),
    });
    for Stage { id, needs, .. } in &plan.stages {
        let needs: Vec<String> = needs.iter().map(Id::name).collect();
        session.report.emit(Event::Planned {
            stage: id.title(),
            service: id.service.clone(),
            needs,
            fastest: history.fastest(session.place, id, only),
        });
    }
}

/// Logs the failure, without passwords.
fn log_failure(session: &Session, failure: Option<&Failure>) {
    let Some(failure) = failure else { return };
    session.report.emit(Event::Failed(Failed {
        summary: failure.summary.clone(),
        detail: failure.detail.clone().unwrap_or_default(),
        hint: failure.hint.clone().unwrap_or_default(),
    }));
}

/// A failure without the passwords that a command has printed.
fn clean(session: &Session, failure: Failure) -> Failure {
    let clean = |text: String| session.report.secrets().clean(&text).into_owned();
    Failure {
        exit: failure.exit,
        summary: clean(failure.summary),
        detail: failure.detail.map(clean),
        hint: failure.hint.map(clean),
    }
}

/// A failure with a move that can be made now: the files that exist, and how to look into the environment itself, where nothing more
/// exact is known.
fn with_next_move(session: &Session, failure: Failure, kept: bool) -> Failure {
    if failure.hint.is_some()
        || matches!(
            failure.exit,
            Exit::Usage | Exit::Preflight | Exit::HungUp | Exit::Interrupted | Exit::Terminated
        )
    {
        return failure;
    }
    let verdict = session.run.dir().join("verdict.txt");
    let look = if verdict.exists() {
        format!("see {} and the files that it names", verdict.display())
    } else {
        format!("see {}", session.run.dir().display())
    };
    failure.hint(match (&session.again, kept) {
        (_, true) => format!("{look}; the environment is kept"),
        (Some(again), false) => format!("{look}; to look into the environment: {again}"),
        (None, false) => look,
    })
}

/// The failures of a run as one, whose exit code is the first one's.
fn together(failures: Vec<(Id, Failure)>, services: usize) -> Option<Failure> {
    let mut failures: Vec<_> = failures
        .into_iter()
        .map(|(id, failure)| (id.service.clone(), in_stage(&id, failure)))
        .collect();
    if failures.len() < 2 {
        return failures.pop().map(|(_, failure)| failure);
    }
    let exit = failures[0].1.exit;
    let names: BTreeSet<_> = failures
        .iter()
        .filter_map(|(service, _)| service.as_deref())
        .collect();
    let shared = failures.iter().any(|(service, _)| service.is_none());
    let what = if services == 1 {
        let told = failures.iter();
        let told = told.filter_map(|(_, failure)| failure.summary.lines().next());
        told.collect::<Vec<_>>().join("; ")
    } else {
        format!(
            "{} of {services} services failed{}: {}",
            names.len(),
            if shared { ", and a stage of all" } else { "" },
            names.into_iter().collect::<Vec<_>>().join(", ")
        )
    };
    let told: Vec<_> = failures
        .iter()
        .map(|(_, failure)| failure.to_string())
        .collect();
    Some(Failure::new(exit, what).detail(told.join("\n")))
}

fn in_stage(id: &Id, failure: Failure) -> Failure {
    Failure {
        summary: format!("{}: {}", id.name(), failure.summary),
        ..failure
    }
}

fn finish(
    session: &Session,
    timings: &mut Vec<Timing>,
    step: Step,
    cancel: &crate::process::cancel::Cancel,
    work: impl FnOnce() -> Result<String, Failure>,
) -> Option<Failure> {
    let id = Id::from(step);
    let (timing, result) = walk::timed(&id, &session.report, cancel, work);
    timings.push(timing);
    result.err().map(|failure| in_stage(&id, failure))
}
