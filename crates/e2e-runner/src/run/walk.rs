//! Walks a plan: starts each stage when what it needs is done, stops the others when one fails.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

use e2e_report::{Event, Outcome};

use crate::exit::{Exit, Failure};
use crate::process::cancel::Cancel;
use crate::reporter::Reporter;
use crate::run::plan::{Id, Load, Stage};
use crate::run::timing::Timing;

/// What a suite with its Data Storage and its service is reckoned to hold, in bytes.
const SUITE_MEMORY: u64 = 512 << 20;

/// What a walk left: how long each stage took, and what failed.
#[derive(Debug)]
pub struct Walk {
    /// The stages that began, in the order they ended.
    pub timings: Vec<Timing>,
    /// The failures with their stages, the first one first.
    pub failures: Vec<(Id, Failure)>,
}

/// How much may run at once.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Stages that keep a core busy.
    pub heavy: usize,
    /// Suites.
    pub suites: usize,
}

impl Budget {
    /// How much may run at once: compiling and creating a cluster each keep a core busy; suites mostly wait, yet each holds
    /// memory.
    pub fn of_this_machine() -> Self {
        let cores = std::thread::available_parallelism()
            .map_or(2, std::num::NonZero::get)
            .max(2);
        let by_memory = available_memory().map_or(usize::MAX, |bytes| {
            usize::try_from(bytes / SUITE_MEMORY).unwrap_or(usize::MAX)
        });
        Self {
            heavy: cores,
            suites: (2 * cores).min(by_memory).max(1),
        }
    }

    fn allows(self, load: Load, running: &[Load]) -> bool {
        let same = running.iter().filter(|other| **other == load).count();
        match load {
            Load::Light => true,
            Load::Heavy => same < self.heavy,
            Load::Suite => same < self.suites,
        }
    }
}

/// Performs every stage once all of its needs have succeeded, as many at a time as the budget allows.
///
/// The failure of a stage that all share raises `cancel`'s scope, which ends the stages that still run; those are reported as
/// stopped. One service's failure ends only what comes after it, a suite's nothing. A panic is a failure.
pub fn walk(
    stages: &[Stage],
    budget: Budget,
    report: &Reporter,
    cancel: &Cancel,
    perform: impl Fn(&Stage) -> Result<String, Failure> + Sync,
) -> Walk {
    let mut waiting: Vec<&Stage> = stages.iter().collect();
    let mut done: Vec<&Id> = Vec::new();
    let mut running: Vec<Load> = Vec::new();
    let mut walk = Walk {
        timings: Vec::new(),
        failures: Vec::new(),
    };
    let (ended, endings) = channel();
    std::thread::scope(|scope| {
        loop {
            while !cancel.is_raised()
                && let Some(at) = waiting.iter().position(|stage| {
                    stage.needs.iter().all(|need| done.contains(&need))
                        && budget.allows(stage.id.step.load(), &running)
                })
            {
                let stage = waiting.remove(at);
                let (ended, perform) = (ended.clone(), &perform);
                running.push(stage.id.step.load());
                scope.spawn(move || {
                    let (timing, result) = timed(&stage.id, report, cancel, || perform(stage));
                    drop(ended.send((stage, timing, result)));
                });
            }
            if running.is_empty() {
                break;
            }
            let Ok((stage, timing, result)) = endings.recv() else {
                break;
            };
            let load = stage.id.step.load();
            if let Some(at) = running.iter().position(|other| *other == load) {
                running.swap_remove(at);
            }
            walk.timings.push(timing);
            match result {
                Ok(()) => done.push(&stage.id),
                Err(failure) if stage.id.step.is_passed_over() && !cancel.is_raised() => {
                    done.push(&stage.id);
                    walk.failures.push((stage.id.clone(), failure));
                }
                // What ends because of another failure, or of a signal that came after one, is no failure of its own.
                Err(_) if cancel.is_raised() && !walk.failures.is_empty() => {}
                Err(failure) => {
                    if stage.id.service.is_none() {
                        cancel.stop();
                    }
                    walk.failures.push((stage.id.clone(), failure));
                }
            }
        }
    });
    if walk.failures.is_empty()
        && let Some(stage) = waiting.first()
    {
        // Only a signal ends a walk early without a failed stage.
        walk.failures.push((stage.id.clone(), cancel.failure()));
    }
    walk
}

/// Runs one stage with its two lines, its duration and its outcome.
pub fn timed(
    id: &Id,
    report: &Reporter,
    cancel: &Cancel,
    work: impl FnOnce() -> Result<String, Failure>,
) -> (Timing, Result<(), Failure>) {
    let began = report.elapsed();
    let (stage, service) = (id.title(), id.service.clone());
    report.emit(Event::StageStarted {
        stage: stage.clone(),
        service: service.clone(),
    });
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(defect(&*panic)));
    let took = report.elapsed().saturating_sub(began);
    let (outcome, note) = match &result {
        Ok(note) => (Outcome::Ok, note.clone()),
        Err(_) if cancel.is_raised() => (Outcome::Stopped, String::new()),
        Err(failure) => (
            Outcome::Failed,
            failure
                .summary
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        ),
    };
    // A test's own words may be in it.
    let note = report.secrets().clean(&note).into_owned();
    report.emit(Event::StageEnded {
        stage,
        service,
        outcome,
        seconds: took.as_secs_f64(),
        note: note.clone(),
    });
    (
        Timing {
            id: id.clone(),
            began,
            took: took.max(Duration::ZERO),
            outcome,
            note,
        },
        result.map(drop),
    )
}

/// Memory that can be had without swapping, in bytes, where the system tells it (proc(5), meminfo).
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn defect(panic: &(dyn Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned());
    Failure::new(Exit::Setup, "internal error in xtask (please report)")
        .detail(text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::{Step, Target, Until, plan};
    use crate::table::Table;
    use std::sync::{Barrier, Mutex};

    const TWO: Budget = Budget {
        heavy: 2,
        suites: 2,
    };

    fn id(step: Step, service: Option<&str>) -> Id {
        let service = service.map(str::to_owned);
        Id {
            step,
            service,
            part: None,
        }
    }

    fn stage(id: Id, needs: &[Id]) -> Stage {
        Stage {
            id,
            needs: needs.to_vec(),
            deadline: Duration::from_secs(1),
        }
    }

    fn diamond() -> Vec<Stage> {
        use Step::{Build, CreateCluster, LoadDataStorage, Preflight};
        vec![
            stage(Preflight.into(), &[]),
            stage(Build.into(), &[Preflight.into()]),
            stage(CreateCluster.into(), &[Preflight.into()]),
            stage(
                LoadDataStorage.into(),
                &[Build.into(), CreateCluster.into()],
            ),
        ]
    }

    #[test]
    fn independent_stages_overlap_and_the_join_comes_last() {
        let both = Barrier::new(2);
        let order = Mutex::new(Vec::new());
        let walk = walk(
            &diamond(),
            TWO,
            &Reporter::silent(),
            &Cancel::default(),
            |stage| {
                if matches!(stage.id.step, Step::Build | Step::CreateCluster) {
                    // Returns only if the other one runs at the same time.
                    both.wait();
                }
                order.lock().unwrap().push(stage.id.step);
                Ok(String::new())
            },
        );
        assert!(walk.failures.is_empty());
        let order = order.into_inner().unwrap();
        assert_eq!(
            (order[0], order[3], order.len()),
            (Step::Preflight, Step::LoadDataStorage, 4)
        );
    }

    #[test]
    fn a_run_performs_exactly_the_stages_of_its_plan() {
        let table = Table::load(None).unwrap();
        for names in [&["gateway"][..], &["gateway", "aianalysis", "datastorage"]] {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let services = table.choose(&names, false).unwrap();
            for place in [Target::Kind, Target::Local] {
                let plan = plan(&services, place, Until::Done);
                let performed = Mutex::new(Vec::new());
                let walk = walk(
                    &plan.stages,
                    TWO,
                    &Reporter::silent(),
                    &Cancel::default(),
                    |stage| {
                        performed.lock().unwrap().push(stage.id.name());
                        Ok(String::new())
                    },
                );
                assert!(walk.failures.is_empty());
                let mut performed = performed.into_inner().unwrap();
                let mut planned: Vec<_> = plan.stages.iter().map(|stage| stage.id.name()).collect();
                performed.sort_unstable();
                planned.sort_unstable();
                assert_eq!(performed, planned);
            }
        }
    }

    #[test]
    fn no_more_suites_run_at_once_than_the_budget_allows() {
        let suites = ["a", "b", "c", "d"].map(|name| stage(id(Step::RunSuite, Some(name)), &[]));
        let running = Mutex::new((0, 0));
        let walk = walk(
            &suites,
            TWO,
            &Reporter::silent(),
            &Cancel::default(),
            |_| {
                {
                    let mut running = running.lock().unwrap();
                    *running = (running.0 + 1, running.1.max(running.0 + 1));
                }
                std::thread::sleep(Duration::from_millis(10));
                running.lock().unwrap().0 -= 1;
                Ok(String::new())
            },
        );
        assert_eq!(walk.timings.len(), 4);
        assert!(running.into_inner().unwrap().1 <= 2);
    }

    #[test]
    fn a_shared_failure_stops_what_runs_beside_it_and_decides() {
        let cancel = Cancel::default();
        let walk = walk(
            &diamond(),
            TWO,
            &Reporter::silent(),
            &cancel,
            |stage| match stage.id.step {
                Step::Build => Err(Failure::new(Exit::Setup, "does not compile")),
                Step::CreateCluster => {
                    while !cancel.is_raised() {
                        std::thread::yield_now();
                    }
                    Err(cancel.failure())
                }
                _ => Ok(String::new()),
            },
        );
        let [(failed, failure)] = walk.failures.as_slice() else {
            panic!("{:?}", walk.failures)
        };
        assert_eq!((failed.step, failure.exit), (Step::Build, Exit::Setup));
        assert_eq!(
            (walk.timings.len(), walk.timings[2].outcome),
            (3, Outcome::Stopped)
        );
    }

    #[test]
    fn one_services_failure_leaves_the_others_running() {
        let service = |name| {
            let migrate = id(Step::Migrate, Some(name));
            [
                stage(migrate.clone(), &[]),
                stage(id(Step::RunSuite, Some(name)), &[migrate]),
            ]
        };
        let stages = [service("a"), service("b")].concat();
        let walk = walk(
            &stages,
            TWO,
            &Reporter::silent(),
            &Cancel::default(),
            |stage| match stage.id.name().as_str() {
                "a: migrate" => Err(Failure::new(Exit::Migration, "drift")),
                _ => Ok(String::new()),
            },
        );
        assert_eq!(walk.failures.len(), 1);
        let mut ended: Vec<_> = walk
            .timings
            .iter()
            .map(|timing| (timing.id.name(), timing.outcome))
            .collect();
        ended.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(
            ended,
            [
                ("a: migrate".to_owned(), Outcome::Failed),
                ("b: migrate".to_owned(), Outcome::Ok),
                ("b: run suite".to_owned(), Outcome::Ok)
            ]
        );
    }

    #[test]
    fn a_suite_that_fails_does_not_keep_the_next_from_running() {
        let suite = |name: &str| Id {
            part: Some(name.to_owned()),
            ..Step::RunSuite.into()
        };
        let stages = [
            stage(suite("a"), &[]),
            stage(suite("b"), &[suite("a")]),
            stage(suite("c"), &[suite("b")]),
        ];
        let walk = walk(
            &stages,
            TWO,
            &Reporter::silent(),
            &Cancel::default(),
            |stage| match stage.id.part.as_deref() {
                Some("a" | "c") => Err(Failure::new(Exit::TestsFailed, "red")),
                _ => Ok(String::new()),
            },
        );
        let outcomes: Vec<_> = walk.timings.iter().map(|timing| timing.outcome).collect();
        assert_eq!(outcomes, [Outcome::Failed, Outcome::Ok, Outcome::Failed]);
        assert_eq!(walk.failures.len(), 2);
    }

    #[test]
    fn a_panic_is_a_failure_that_names_the_tool() {
        let walk = walk(
            &diamond()[..1],
            TWO,
            &Reporter::silent(),
            &Cancel::default(),
            |_| panic!("index out of bounds"),
        );
        let told = walk.failures[0].1.to_string();
        assert!(
            told.contains("internal error in xtask") && told.contains("index out of bounds"),
            "{told}"
        );
    }

    #[test]
    fn a_signal_before_a_stage_starts_it_not_and_is_told() {
        let cancel = Cancel::default();
        let walk = walk(&diamond(), TWO, &Reporter::silent(), &cancel, |_| {
            cancel.raise(15);
            Ok(String::new())
        });
        let (stage, failure) = &walk.failures[0];
        assert_eq!((stage.step, failure.exit), (Step::Build, Exit::Terminated));
    }
}
