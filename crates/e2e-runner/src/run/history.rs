//! How long each stage usually takes on this machine, from earlier runs.

use std::collections::BTreeMap;
use std::path::Path;

use e2e_report::Outcome;

use crate::run::plan::{Id, Stage, Step, Target};
use crate::run::reuse::is_reuse;
use crate::run::timing::Timing;
use crate::state::{locked, write_private};

/// How much the newest run counts: enough to follow a change within three runs, not enough for one slow run to rule.
const WEIGHT: f64 = 0.4;

/// Seconds by place and stage.
#[derive(Clone, Debug, Default)]
pub struct History(BTreeMap<String, f64>);

impl History {
    /// What was learnt so far; nothing where the file is missing or damaged, for it is only a convenience.
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self(serde_json::from_str(&text).unwrap_or_default())
    }

    /// How many seconds a stage usually takes, if it ever ran; `only` is the service of a run of one.
    pub fn usual(&self, place: Target, id: &Id, only: &str) -> Option<f64> {
        self.0.get(&key(place, id, only)).copied()
    }

    /// The least seconds that a stage ever took.
    pub fn fastest(&self, place: Target, id: &Id, only: &str) -> Option<f64> {
        self.0.get(&fastest_key(place, id, only)).copied()
    }

    /// Stages, those first after which most is still to be done: of those that can begin, and of suites that wait for room, the first one
    /// is then that which a run would end by waiting for. Where nothing is known they stay as they are.
    pub fn longest_first(&self, place: Target, stages: &[Stage], only: &str) -> Vec<Stage> {
        let mut left: BTreeMap<String, f64> = BTreeMap::new();
        // A plan names what is needed before what needs it.
        for stage in stages.iter().rev() {
            let own = self.usual(place, &stage.id, only).unwrap_or_default();
            let with = left.get(&stage.id.name()).copied().unwrap_or_default() + own;
            left.insert(stage.id.name(), with);
            for need in &stage.needs {
                let of_need = left.entry(need.name()).or_default();
                *of_need = of_need.max(with);
            }
        }
        let mut stages = stages.to_vec();
        let of = |stage: &Stage| left.get(&stage.id.name()).copied().unwrap_or_default();
        stages.sort_by(|one, other| of(other).total_cmp(&of(one)));
        stages
    }

    /// Learns from the stages of a run that did what they were to do, and writes it down; `only` is the service of a run of one.
    pub fn learn(path: &Path, place: Target, only: &str, timings: &[Timing]) {
        // No run fails for what is only remembered.
        drop(locked(path, || {
            let mut history = Self::load(path);
            for timing in timings
                .iter()
                .filter(|timing| timing.outcome == Outcome::Ok)
            {
                history.add(place, only, timing);
            }
            let text = serde_json::to_string_pretty(&history.0).unwrap_or_default();
            drop(write_private(path, text.as_bytes()));
        }));
    }

    fn add(&mut self, place: Target, only: &str, timing: &Timing) {
        let seconds = timing.took.as_secs_f64();
        let id = &timing.id;
        let usual = self.0.entry(key(place, id, only)).or_insert(seconds);
        *usual += WEIGHT * (seconds - *usual);
        // What was not made says nothing about how fast it can be made.
        if is_reuse(&timing.note) {
            return;
        }
        let fastest = self.0.entry(fastest_key(place, id, only));
        let fastest = fastest.or_insert(seconds);
        *fastest = fastest.min(seconds);
    }
}

fn fastest_key(place: Target, id: &Id, only: &str) -> String {
    key(place, id, only) + ", fastest"
}

/// A suite and a service of a team take as long as they take: what is known of one says nothing of another.
fn key(place: Target, id: &Id, only: &str) -> String {
    let stage = format!("{}: {}", place.word(), id.title());
    let service = id.service.as_deref().unwrap_or(only);
    match id.step {
        Step::RunSuite
        | Step::BuildService
        | Step::LoadService
        | Step::DeployService
        | Step::AwaitService => {
            format!("{stage} of {service}")
        }
        _ => stage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::reuse::GIVEN;
    use std::time::Duration;

    #[test]
    fn what_the_longest_suite_needs_comes_first_and_without_a_history_all_stays_as_it_is() {
        let of = |step: Step, service: &str, needs: &[&Id]| Stage {
            id: Id {
                service: Some(service.to_owned()),
                ..step.into()
            },
            needs: needs.iter().map(|id| (*id).clone()).collect(),
            deadline: Duration::from_secs(1),
        };
        let mut stages = Vec::new();
        for service in ["short", "long"] {
            let deploy = of(Step::DeployService, service, &[]);
            let suite = of(Step::RunSuite, service, &[&deploy.id]);
            stages.extend([deploy, suite]);
        }
        let names = |stages: &[Stage]| -> Vec<_> { stages.iter().map(|it| it.id.name()).collect() };
        let mut history = History::default();
        let sorted = history.longest_first(Target::Local, &stages, "");
        assert_eq!(names(&sorted), names(&stages));
        for (stage, seconds) in stages.iter().zip([3, 1, 1, 9]) {
            let mut timing = timing(seconds, Outcome::Ok);
            timing.id = stage.id.clone();
            history.add(Target::Local, "", &timing);
        }
        let sorted = history.longest_first(Target::Local, &stages, "");
        assert_eq!(
            names(&sorted),
            [
                "long: deploy service",
                "long: run suite",
                "short: deploy service",
                "short: run suite"
            ]
        );
    }

    fn timing(seconds: u64, outcome: Outcome) -> Timing {
        let took = Duration::from_secs(seconds);
        Timing {
            id: Step::CreateCluster.into(),
            began: Duration::ZERO,
            took,
            outcome,
            note: String::new(),
        }
    }

    #[test]
    fn the_newest_run_counts_most_and_a_failed_stage_teaches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.json");
        for timing in [
            timing(10, Outcome::Ok),
            timing(20, Outcome::Ok),
            timing(300, Outcome::Failed),
        ] {
            History::learn(&path, Target::Kind, "gateway", &[timing]);
        }
        let usual = History::load(&path)
            .usual(Target::Kind, &Step::CreateCluster.into(), "gateway")
            .unwrap();
        assert!((usual - 14.0).abs() < 0.001, "{usual}");
        assert_eq!(
            History::load(&path).usual(Target::Local, &Step::CreateCluster.into(), "gateway"),
            None
        );
    }

    #[test]
    fn the_suite_of_one_service_teaches_nothing_of_another_s_and_what_was_not_made_is_not_the_fastest()
     {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.json");
        let mut suite = timing(10, Outcome::Ok);
        suite.id = Step::RunSuite.into();
        let mut given = timing(1, Outcome::Ok);
        given.note = format!("{GIVEN}: 60 KB");
        History::learn(&path, Target::Kind, "gateway", &[suite, given]);
        let history = History::load(&path);
        let usual = |service| history.usual(Target::Kind, &Step::RunSuite.into(), service);
        assert!(usual("gateway").is_some() && usual("notification").is_none());
        let fastest = history.fastest(Target::Kind, &Step::CreateCluster.into(), "gateway");
        assert_eq!(fastest, None);
    }

    #[test]
    fn a_damaged_file_is_an_empty_history() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.json");
        std::fs::write(&path, "{").unwrap();
        assert_eq!(
            History::load(&path).usual(Target::Kind, &Step::Migrate.into(), "gateway"),
            None
        );
    }
}
