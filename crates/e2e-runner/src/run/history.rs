//! How long each stage usually takes on this machine, learnt from the runs that passed it.

use std::collections::BTreeMap;
use std::path::Path;

use e2e_report::Outcome;

use crate::run::plan::{Place, Step};
use crate::run::timing::Timing;

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

    /// How many seconds a stage usually takes, if it ever ran.
    pub fn usual(&self, place: Place, step: Step) -> Option<f64> {
        self.0.get(&key(place, step.name())).copied()
    }

    /// The least seconds that a stage ever took.
    pub fn fastest(&self, place: Place, step: Step) -> Option<f64> {
        self.0.get(&fastest_key(place, step.name())).copied()
    }

    /// Learns from the stages of a run that did what they were to do, and writes it down.
    pub fn learn(mut self, place: Place, timings: &[Timing], path: &Path) {
        for Timing { id, took, note, .. } in timings
            .iter()
            .filter(|timing| timing.outcome == Outcome::Ok)
        {
            let seconds = took.as_secs_f64();
            let usual = self.0.entry(key(place, id.step.name())).or_insert(seconds);
            *usual += WEIGHT * (seconds - *usual);
            // What an earlier run had kept says nothing about how fast it can be made.
            if note.contains("used again") || note.starts_with("emptied") {
                continue;
            }
            let fastest = self
                .0
                .entry(fastest_key(place, id.step.name()))
                .or_insert(seconds);
            *fastest = fastest.min(seconds);
        }
        let text = serde_json::to_string_pretty(&self.0).unwrap_or_default();
        // Two runs at once may each lose the other's lesson; no run fails for it.
        drop(crate::state::write_private(path, text.as_bytes()));
    }
}

fn fastest_key(place: Place, stage: &str) -> String {
    key(place, stage) + ", fastest"
}

fn key(place: Place, stage: &str) -> String {
    format!("{}: {stage}", place.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
            History::load(&path).learn(Place::Kind, &[timing], &path);
        }
        let usual = History::load(&path)
            .usual(Place::Kind, Step::CreateCluster)
            .unwrap();
        assert!((usual - 14.0).abs() < 0.001, "{usual}");
        assert_eq!(
            History::load(&path).usual(Place::Local, Step::CreateCluster),
            None
        );
    }

    #[test]
    fn a_damaged_file_is_an_empty_history() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.json");
        std::fs::write(&path, "{").unwrap();
        assert_eq!(History::load(&path).usual(Place::Kind, Step::Migrate), None);
    }
}
