//! How each service of a run fared, by the run's log.

use crate::event::{Outcome, full_name};
use crate::log::{Log, Stage, Standing, Test};

/// What became of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Fate {
    /// Its name.
    pub service: String,
    /// Whether its suites ran and passed.
    pub passed: bool,
    /// What became of it, in a line.
    pub told: String,
    /// The seconds of its suites; none where none ran.
    pub suites: Option<f64>,
}

/// The services of a run; of a log that does not name them, those whose tests it has.
pub fn named(log: &Log) -> Vec<String> {
    let mut names = log.services.clone();
    if names.is_empty() {
        for test in &log.tests {
            if !names.contains(&test.service) {
                names.push(test.service.clone());
            }
        }
    }
    names
}

/// What became of each service of a run.
pub fn fates(log: &Log) -> Vec<Fate> {
    let names = named(log);
    let of = |name: &String| fate(log, name, names.len() == 1);
    names.iter().map(of).collect()
}

fn fate(log: &Log, service: &str, alone: bool) -> Fate {
    // Stages of a single service carry no service's name.
    let own = |stage: &&Stage| alone || stage.name.starts_with(&full_name(Some(service), ""));
    let is_suite = |stage: &&Stage| {
        let title = stage.name.rsplit(": ").next().unwrap_or_default();
        title == SUITE || title.starts_with(&format!("{SUITE} "))
    };
    let stages = || log.stages.iter().filter(own);
    let suites: Vec<&Stage> = stages().filter(is_suite).collect();
    let ran = !suites.is_empty() && suites.iter().all(|stage| stage.ended.is_some());
    let failed = stages().find(|stage| stage.outcome == Some(Outcome::Failed));
    let passed = ran
        && suites
            .iter()
            .all(|stage| stage.outcome == Some(Outcome::Ok));
    let told = match failed {
        Some(stage) => format!("failed: {}: {}", stage.name, stage.note),
        None if passed => format!("passed{}", tally(log, service)),
        None if ran => "stopped".to_owned(),
        None => {
            let why = log.failure.as_ref().map(|failure| failure.summary.clone());
            let why = why.unwrap_or_else(|| log.verdict());
            format!("did not run: {}", why.lines().next().unwrap_or_default())
        }
    };
    Fate {
        service: service.to_owned(),
        passed: passed && failed.is_none(),
        told,
        suites: ran.then(|| suites.iter().map(|stage| stage.took(log.seconds)).sum()),
    }
}

/// The name of a stage that runs a suite, before the suite's own.
const SUITE: &str = "run suite";

/// How many tests of a service passed, and how many are flaky.
fn tally(log: &Log, service: &str) -> String {
    let tests: Vec<&Test> = log
        .tests
        .iter()
        .filter(|test| test.service == service)
        .collect();
    let flaky = tests
        .iter()
        .filter(|test| test.standing() == Standing::Flaky);
    match (tests.len(), flaky.count()) {
        (0, _) => String::new(),
        (1, 0) => ", 1 test".to_owned(),
        (all, 0) => format!(", {all} tests"),
        (all, flaky) => format!(", {all} tests, {flaky} of them flaky"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: &str) -> Log {
        let begun = r#"{"seconds":0,"event":"run","run":"r","target":"kind","why":""}"#;
        Log::parse(&format!("{begun}\n{events}"))
    }

    #[test]
    fn a_service_that_did_not_come_to_its_suite_says_why_and_the_other_passes() {
        let log = log(r#"{"seconds":0,"event":"about","services":["a","b"]}
{"seconds":1,"event":"stage-started","stage":"run suite smoke","service":"a"}
{"seconds":3,"event":"stage-ended","stage":"run suite smoke","service":"a","outcome":"ok","took":2,"note":""}
{"seconds":3,"event":"test","service":"a","suite":"smoke","name":"t","outcome":"ok"}
{"seconds":3,"event":"stage-started","stage":"migrate","service":"b"}
{"seconds":4,"event":"stage-ended","stage":"migrate","service":"b","outcome":"failed","took":1,"note":"no table"}
{"seconds":4,"event":"ended","exit":5}"#);
        let fates = fates(&log);
        assert_eq!(
            (fates[0].passed, &*fates[0].told, fates[0].suites),
            (true, "passed, 1 test", Some(2.0))
        );
        assert_eq!(
            (fates[1].passed, &*fates[1].told, fates[1].suites),
            (false, "failed: b: migrate: no table", None)
        );
    }

    #[test]
    fn a_run_that_was_killed_passed_nothing() {
        let log = log(r#"{"seconds":0,"event":"about","services":["a"]}
{"seconds":1,"event":"stage-started","stage":"run suite"}"#);
        let fates = fates(&log);
        assert_eq!(
            (fates[0].passed, &*fates[0].told, fates[0].suites),
            (false, "did not run: killed before its end", None)
        );
    }
}
