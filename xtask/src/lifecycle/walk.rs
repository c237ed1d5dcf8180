//! Walks a plan: starts each stage when what it needs is done, stops the others when one fails.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::exit::{Exit, Failure};
use crate::lifecycle::plan::{Stage, Step};
use crate::report::{Event, Outcome, Reporter, Timing};

/// What a walk left: how long each stage took, and the first failure.
#[derive(Debug)]
pub struct Walk {
    /// The stages that began, in the order they ended.
    pub timings: Vec<Timing>,
    /// The failure that ended the walk, with its stage.
    pub failure: Option<(Step, Failure)>,
}

/// Performs every stage once all of its needs have succeeded, at most `width` of them at a time.
///
/// The first failure raises `cancel`'s scope, which ends the stages that still run; those are reported as stopped. A panic is a failure.
pub fn walk(
    stages: &[Stage],
    width: usize,
    report: &Reporter,
    cancel: &Cancel,
    perform: impl Fn(&Stage) -> Result<String, Failure> + Sync,
) -> Walk {
    let mut waiting: Vec<&Stage> = stages.iter().collect();
    let mut done: Vec<Step> = Vec::new();
    let mut running = 0;
    let mut walk = Walk {
        timings: Vec::new(),
        failure: None,
    };
    let (ended, endings) = channel();
    std::thread::scope(|scope| {
        loop {
            while running < width
                && walk.failure.is_none()
                && !cancel.is_raised()
                && let Some(at) = waiting
                    .iter()
                    .position(|stage| stage.needs.iter().all(|need| done.contains(need)))
            {
                let stage = waiting.remove(at);
                let (ended, perform) = (ended.clone(), &perform);
                running += 1;
                scope.spawn(move || {
                    let (timing, result) =
                        timed(stage.step.name(), report, cancel, || perform(stage));
                    drop(ended.send((stage.step, timing, result)));
                });
            }
            if running == 0 {
                break;
            }
            let Ok((step, timing, result)) = endings.recv() else {
                break;
            };
            running -= 1;
            walk.timings.push(timing);
            match result {
                Ok(()) => done.push(step),
                Err(failure) if walk.failure.is_none() => {
                    cancel.stop();
                    walk.failure = Some((step, failure));
                }
                Err(_) => {}
            }
        }
    });
    if walk.failure.is_none()
        && let Some(stage) = waiting.first()
    {
        // Only a signal ends a walk early without a failed stage.
        walk.failure = Some((stage.step, cancel.failure()));
    }
    walk
}

/// Runs one stage with its two lines, its duration and its outcome.
pub fn timed(
    name: &'static str,
    report: &Reporter,
    cancel: &Cancel,
    work: impl FnOnce() -> Result<String, Failure>,
) -> (Timing, Result<(), Failure>) {
    let began = report.elapsed();
    report.emit(&Event::StageStarted { stage: name });
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(defect(&*panic)));
    let took = report.elapsed().saturating_sub(began);
    let (outcome, note) = match &result {
        Ok(note) => (Outcome::Ok, note.clone()),
        Err(_) if cancel.is_raised() => (Outcome::Stopped, String::new()),
        Err(failure) => (
            Outcome::Failed,
            failure.what.lines().next().unwrap_or_default().to_owned(),
        ),
    };
    report.emit(&Event::StageEnded {
        stage: name,
        outcome,
        seconds: took.as_secs_f64(),
        note: &note,
    });
    (
        Timing {
            stage: name,
            began,
            took: took.max(Duration::ZERO),
            outcome,
            note,
        },
        result.map(drop),
    )
}

fn defect(panic: &(dyn Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned());
    Failure::new(
        Exit::Setup,
        "the tool itself failed: this is a defect of xtask",
    )
    .seen(text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::plan::{Place, Until, plan};
    use std::sync::{Barrier, Mutex};

    fn stage(step: Step, needs: &[Step]) -> Stage {
        Stage {
            step,
            needs: needs.to_vec(),
            deadline: Duration::from_secs(1),
        }
    }

    fn diamond() -> Vec<Stage> {
        vec![
            stage(Step::Preflight, &[]),
            stage(Step::BuildDataStorage, &[Step::Preflight]),
            stage(Step::CreateCluster, &[Step::Preflight]),
            stage(
                Step::LoadDataStorage,
                &[Step::BuildDataStorage, Step::CreateCluster],
            ),
        ]
    }

    #[test]
    fn independent_stages_overlap_and_the_join_comes_last() {
        let both = Barrier::new(2);
        let order = Mutex::new(Vec::new());
        let walk = walk(
            &diamond(),
            2,
            &Reporter::silent(),
            &Cancel::default(),
            |stage| {
                if matches!(stage.step, Step::BuildDataStorage | Step::CreateCluster) {
                    // Returns only if the other one runs at the same time.
                    both.wait();
                }
                order.lock().unwrap().push(stage.step);
                Ok(String::new())
            },
        );
        assert!(walk.failure.is_none());
        let order = order.into_inner().unwrap();
        assert_eq!(
            (order[0], order[3], order.len()),
            (Step::Preflight, Step::LoadDataStorage, 4)
        );
    }

    #[test]
    fn a_run_performs_exactly_the_stages_of_its_plan() {
        for place in [Place::Kind, Place::Local] {
            let plan = plan("gateway", place, Until::Done(Duration::from_secs(1)));
            let performed = Mutex::new(Vec::new());
            let walk = walk(
                &plan.stages,
                3,
                &Reporter::silent(),
                &Cancel::default(),
                |stage| {
                    performed.lock().unwrap().push(stage.step);
                    Ok(String::new())
                },
            );
            assert!(walk.failure.is_none());
            let mut performed: Vec<_> = performed
                .into_inner()
                .unwrap()
                .iter()
                .map(|step| step.name())
                .collect();
            let mut planned: Vec<_> = plan.stages.iter().map(|stage| stage.step.name()).collect();
            performed.sort_unstable();
            planned.sort_unstable();
            assert_eq!(performed, planned);
        }
    }

    #[test]
    fn a_failure_stops_what_runs_beside_it_and_decides() {
        let cancel = Cancel::default();
        let walk = walk(
            &diamond(),
            2,
            &Reporter::silent(),
            &cancel,
            |stage| match stage.step {
                Step::BuildDataStorage => Err(Failure::new(Exit::Setup, "does not compile")),
                Step::CreateCluster => {
                    while !cancel.is_raised() {
                        std::thread::yield_now();
                    }
                    Err(cancel.failure())
                }
                _ => Ok(String::new()),
            },
        );
        let (step, failure) = walk.failure.unwrap();
        assert_eq!(
            (step, failure.exit, walk.timings.len()),
            (Step::BuildDataStorage, Exit::Setup, 3)
        );
        assert_eq!(walk.timings[2].outcome, Outcome::Stopped);
    }

    #[test]
    fn a_panic_is_a_failure_that_names_the_tool() {
        let walk = walk(
            &diamond()[..1],
            1,
            &Reporter::silent(),
            &Cancel::default(),
            |_| panic!("index out of bounds"),
        );
        let (_, failure) = walk.failure.unwrap();
        assert!(
            failure.to_string().contains("defect of xtask")
                && failure.to_string().contains("index out of bounds"),
            "{failure}"
        );
    }

    #[test]
    fn a_signal_before_a_stage_starts_it_not_and_is_told() {
        let cancel = Cancel::default();
        let walk = walk(&diamond(), 1, &Reporter::silent(), &cancel, |_| {
            cancel.raise(15);
            Ok(String::new())
        });
        let (step, failure) = walk.failure.unwrap();
        assert_eq!(
            (step, failure.exit),
            (Step::BuildDataStorage, Exit::Terminated)
        );
    }
}
