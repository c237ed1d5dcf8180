//! JUnit, in the form that CI systems read: a suite of the run's stages, and one per service.

use std::fmt::Write as _;

use crate::event::Outcome;
use crate::log::{Log, Standing, Test};
use crate::text::escaped;

/// The document.
pub fn document(log: &Log) -> String {
    let mut suites: Vec<&str> = Vec::new();
    for test in &log.tests {
        if !suites.contains(&test.service.as_str()) {
            suites.push(&test.service);
        }
    }
    let mut body = stages(log);
    for service in suites {
        body.push_str(&suite(log, service));
    }
    let (failures, errors) = (
        log.tests
            .iter()
            .filter(|test| test.standing() == Standing::Failed)
            .count(),
        log.stages
            .iter()
            .filter(|stage| is_error(log, &stage.name, stage.outcome))
            .count(),
    );
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{:.3}\">\n{body}</testsuites>\n",
        escaped(&log.run),
        log.stages.len() + log.tests.len(),
        log.seconds,
    )
}

/// Where tests failed, they are the failures and the stage that ran them is not one more.
fn is_error(log: &Log, name: &str, outcome: Option<Outcome>) -> bool {
    let ran_tests = name.ends_with("run suite") && log.counts()[2] > 0;
    outcome == Some(Outcome::Failed) && !ran_tests
}

fn stages(log: &Log) -> String {
    let errors = log
        .stages
        .iter()
        .filter(|stage| is_error(log, &stage.name, stage.outcome))
        .count();
    let stopped = log
        .stages
        .iter()
        .filter(|stage| stage.outcome == Some(Outcome::Stopped) || stage.ended.is_none())
        .count();
    let mut text = format!(
        "  <testsuite name=\"stages\" tests=\"{}\" failures=\"0\" errors=\"{errors}\" skipped=\"{stopped}\" time=\"{:.3}\" timestamp=\"{}\">\n",
        log.stages.len(),
        log.seconds,
        escaped(&log.at),
    );
    for stage in &log.stages {
        write!(
            text,
            "    <testcase classname=\"stages\" name=\"{}\" time=\"{:.3}\"",
            escaped(&stage.name),
            stage.took(log.seconds)
        )
        .unwrap_or_default();
        if is_error(log, &stage.name, stage.outcome) {
            let failure = log.failure.clone().unwrap_or_default();
            let said = format!(
                "{}\n{}\n\n{}",
                failure.detail,
                failure.hint,
                stage.printed()
            );
            write!(
                text,
                ">\n      <error type=\"stage\" message=\"{}\">{}</error>\n    </testcase>\n",
                escaped(&stage.note),
                escaped(said.trim())
            )
            .unwrap_or_default();
        } else if stage.outcome == Some(Outcome::Stopped) || stage.ended.is_none() {
            text.push_str(">\n      <skipped message=\"stopped by another stage's failure, or by a signal\"/>\n    </testcase>\n");
        } else {
            text.push_str("/>\n");
        }
    }
    text + "  </testsuite>\n"
}

fn suite(log: &Log, service: &str) -> String {
    let tests: Vec<&Test> = log
        .tests
        .iter()
        .filter(|test| test.service == service)
        .collect();
    let failed = tests
        .iter()
        .filter(|test| test.standing() == Standing::Failed)
        .count();
    let mut text = format!(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" timestamp=\"{}\">\n",
        escaped(service),
        tests.len(),
        escaped(&log.at),
    );
    for test in tests {
        write!(
            text,
            "    <testcase classname=\"{}\" name=\"{}\"",
            escaped(service),
            escaped(&test.name)
        )
        .unwrap_or_default();
        if let Some(seconds) = test.seconds {
            write!(text, " time=\"{seconds:.3}\"").unwrap_or_default();
        }
        // Surefire's element for a test that failed and passed, which CI systems show as flaky.
        let element = match test.standing() {
            Standing::Passed => {
                text.push_str("/>\n");
                continue;
            }
            Standing::Flaky => "flakyFailure",
            Standing::Failed => "failure",
        };
        write!(
            text,
            ">\n      <{element} type=\"test\" message=\"{}\">{}</{element}>\n    </testcase>\n",
            escaped(&message(test)),
            escaped(test.said.trim())
        )
        .unwrap_or_default();
    }
    text + "  </testsuite>\n"
}

/// The first line that says more than where it failed.
fn message(test: &Test) -> String {
    let line = test.said.lines().map(str::trim).find(|line| {
        !line.is_empty() && !line.starts_with("thread '") && !line.starts_with("----")
    });
    let line = line.unwrap_or("failed");
    match test.tally() {
        tally if tally.is_empty() => line.to_owned(),
        tally => format!("{tally}: {line}"),
    }
}
