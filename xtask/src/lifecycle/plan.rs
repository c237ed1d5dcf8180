//! The plan of a run as a value (D11): typed stages with what they need and how long they may take.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::history::History;

/// Where a run's PostgreSQL and Data Storage live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In a Kind cluster.
    Kind,
    /// As processes of this machine.
    Local,
}

impl Place {
    /// The word on the command line and in a suite's environment.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Local => "local",
        }
    }
}

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Looks whether the machine has what the run needs.
    Preflight,
    /// Builds the Data Storage binary.
    BuildDataStorage,
    /// Builds the suite's test binary.
    BuildSuite,
    /// Creates the Kind cluster.
    CreateCluster,
    /// Streams PostgreSQL's image into the node, beside kubeadm's work there.
    LoadPostgres,
    /// Streams Data Storage's image into the node.
    LoadDataStorage,
    /// Starts PostgreSQL.
    DeployPostgres,
    /// Waits until PostgreSQL answers.
    AwaitPostgres,
    /// Applies the service's migration profile.
    Migrate,
    /// Starts Data Storage, and a second one on an empty database.
    DeployDataStorage,
    /// Waits until Data Storage is ready.
    AwaitDataStorage,
    /// Runs the service's tests.
    RunSuite,
    /// Gathers what explains a failure; only after one.
    CollectEvidence,
    /// Removes everything that the run made.
    TearDown,
}

impl Step {
    /// The stage's name in lines, tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::BuildDataStorage => "build Data Storage",
            Self::BuildSuite => "build suite",
            Self::CreateCluster => "create cluster",
            Self::LoadPostgres => "load PostgreSQL image",
            Self::LoadDataStorage => "load Data Storage image",
            Self::DeployPostgres => "deploy PostgreSQL",
            Self::AwaitPostgres => "wait for PostgreSQL",
            Self::Migrate => "migrate",
            Self::DeployDataStorage => "deploy Data Storage",
            Self::AwaitDataStorage => "wait for Data Storage",
            Self::RunSuite => "run suite",
            Self::CollectEvidence => "collect evidence",
            Self::TearDown => "tear down",
        }
    }
}

/// One stage of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// What it does.
    pub step: Step,
    /// The stages that must have succeeded before it.
    pub needs: Vec<Step>,
    /// How long it may take, in seconds.
    #[serde(rename = "deadline_seconds", serialize_with = "whole_seconds")]
    pub deadline: Duration,
}

fn whole_seconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

/// How far a plan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Data Storage ready: `up`.
    Ready,
    /// The suite run and everything removed: `e2e`. Holds the suite's own deadline.
    Done(Duration),
}

/// The stages of one run, in an order that satisfies their needs.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The service.
    pub service: String,
    /// Where it runs.
    pub place: Place,
    /// Its stages.
    pub stages: Vec<Stage>,
}

/// Lays out a run. Two stages of which neither needs the other may run at once.
pub fn plan(service: &str, place: Place, until: Until) -> Plan {
    use Step::{
        AwaitDataStorage, AwaitPostgres, BuildDataStorage, BuildSuite, CollectEvidence,
        CreateCluster, DeployDataStorage, DeployPostgres, LoadDataStorage, LoadPostgres, Migrate,
        Preflight, RunSuite, TearDown,
    };
    // A cold build of Data Storage takes two minutes on two cores; ten allow for a busy machine.
    const BUILD: u64 = 600;
    let kind = place == Place::Kind;
    let mut stages = Vec::new();
    let mut stage = |step, needs: &[Step], seconds| {
        stages.push(Stage {
            step,
            needs: needs.to_vec(),
            deadline: Duration::from_secs(seconds),
        });
    };
    stage(Preflight, &[], 30);
    stage(BuildDataStorage, &[Preflight], BUILD);
    if kind {
        stage(CreateCluster, &[Preflight], 300);
    }
    if matches!(until, Until::Done(_)) {
        // After the other build: two cargo processes would only wait for each other's lock.
        stage(BuildSuite, &[BuildDataStorage], BUILD);
    }
    if kind {
        // Needs only the node's container runtime, which answers long before kubeadm is done; it waits for that itself.
        stage(LoadPostgres, &[Preflight], 300);
        stage(LoadDataStorage, &[BuildDataStorage, CreateCluster], 60);
        stage(DeployPostgres, &[CreateCluster, LoadPostgres], 60);
    } else {
        stage(DeployPostgres, &[Preflight], 60);
    }
    stage(AwaitPostgres, &[DeployPostgres], 180);
    stage(Migrate, &[AwaitPostgres], 60);
    // Data Storage starts without a database and looks for it, so its start overlaps PostgreSQL's and the migrations.
    let ready_for_datastorage: &[Step] = if kind {
        &[LoadDataStorage, DeployPostgres]
    } else {
        &[BuildDataStorage, AwaitPostgres]
    };
    stage(DeployDataStorage, ready_for_datastorage, 60);
    stage(AwaitDataStorage, &[DeployDataStorage, Migrate], 120);
    if let Until::Done(suite) = until {
        stage(RunSuite, &[BuildSuite, AwaitDataStorage], suite.as_secs());
        stage(CollectEvidence, &[RunSuite], 60);
        stage(TearDown, &[CollectEvidence], 120);
    }
    Plan {
        service: service.to_owned(),
        place,
        stages,
    }
}

impl Plan {
    /// The plan as a table, for `--plan`: what each stage may take at most, what it usually takes, and what it comes after.
    pub fn table(&self, history: &History) -> String {
        let mut text = format!("plan for {} on {}\n", self.service, self.place.word());
        writeln!(
            text,
            "{:<24} {:>8} {:>9}  after",
            "stage", "at most", "usually"
        )
        .unwrap_or_default();
        for Stage {
            step,
            needs,
            deadline,
        } in &self.stages
        {
            let usual = history
                .usual(self.place, *step)
                .map_or("-".to_owned(), |seconds| format!("{seconds:.1} s"));
            let after = needs
                .iter()
                .map(|need| need.name())
                .collect::<Vec<_>>()
                .join(", ");
            let row = format!(
                "{:<24} {:>6} s {usual:>9}  {after}",
                step.name(),
                deadline.as_secs()
            );
            writeln!(text, "{}", row.trim_end()).unwrap_or_default();
        }
        if let Some(seconds) = self.predicted(history) {
            writeln!(
                text,
                "{:<24} {:>8} {:>7.1} s  the longest path through the stages",
                "together", "", seconds
            )
            .unwrap_or_default();
        }
        text
    }

    /// How long the run usually takes: the longest path through its stages; none before the first run.
    fn predicted(&self, history: &History) -> Option<f64> {
        let mut ends: BTreeMap<&str, f64> = BTreeMap::new();
        for Stage { step, needs, .. } in self
            .stages
            .iter()
            .filter(|stage| stage.step != Step::CollectEvidence)
        {
            let begins = needs
                .iter()
                .filter_map(|need| ends.get(need.name()))
                .fold(0.0, |latest: f64, end| latest.max(*end));
            let begins = if *step == Step::TearDown {
                ends.values().fold(0.0, |latest: f64, end| latest.max(*end))
            } else {
                begins
            };
            ends.insert(step.name(), begins + history.usual(self.place, *step)?);
        }
        ends.into_values().reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_comes_after_what_it_needs() {
        for place in [Place::Kind, Place::Local] {
            let plan = plan("gateway", place, Until::Done(Duration::from_mins(1)));
            for (at, stage) in plan.stages.iter().enumerate() {
                for need in &stage.needs {
                    let found = plan.stages[..at]
                        .iter()
                        .any(|earlier| earlier.step == *need);
                    assert!(
                        found,
                        "{:?} needs {need:?}, which does not come before it on {place:?}",
                        stage.step
                    );
                }
            }
        }
    }

    #[test]
    fn up_ends_with_data_storage_ready() {
        let plan = plan("gateway", Place::Kind, Until::Ready);
        assert_eq!(
            plan.stages.last().map(|stage| stage.step),
            Some(Step::AwaitDataStorage)
        );
    }
}
