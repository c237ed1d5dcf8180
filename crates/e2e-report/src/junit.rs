//! JUnit, in the form that CI systems read: a suite of the run's stages, and one per service.

use std::fmt::Write as _;

use crate::event::{Outcome, full_name};
use crate::log::{Log, Standing, Test};
use crate::text::escaped;

/// The document.
pub fn document(log: &Log) -> String {
    together(&log.run, std::iter::once(log))
}

/// The document of several runs.
pub fn together<'a>(name: &str, logs: impl Iterator<Item = &'a Log>) -> String {
    let mut all = Counted::default();
    for log in logs {
        let Counted {
            body,
            tests,
            failures,
            errors,
            seconds,
        } = suites(log);
        all.body.push_str(&body);
        all.tests += tests;
        all.failures += failures;
        all.errors += errors;
        all.seconds += seconds;
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{:.3}\">\n{}</testsuites>\n",
        escaped(name),
        all.tests,
        all.failures,
        all.errors,
        all.seconds,
        all.body,
    )
}

/// Suites with what is in them.
#[derive(Default)]
struct Counted {
    body: String,
    tests: usize,
    failures: usize,
    errors: usize,
    seconds: f64,
}

/// The name of a suite, with the version of Kubernetes where one was asked for.
fn suite_name(log: &Log, name: &str) -> String {
    log.kubernetes.as_ref().map_or_else(
        || name.to_owned(),
        |version| format!("{name} on Kubernetes {version}"),
    )
}

/// When the run began, as an attribute; nothing of one that never did.
fn timestamp(log: &Log) -> String {
    if log.at.is_empty() {
        return String::new();
    }
    format!(" timestamp=\"{}\"", escaped(&log.at))
}

/// The suites of a run.
fn suites(log: &Log) -> Counted {
    let mut suites: Vec<(String, Vec<&Test>)> = Vec::new();
    for test in &log.tests {
        let name = test.suite_name();
        match suites.iter_mut().find(|(known, _)| *known == name) {
            Some((_, tests)) => tests.push(test),
            None => suites.push((name, vec![test])),
        }
    }
    let mut body = stages(log);
    for (name, tests) in suites {
        body.push_str(&suite(log, &suite_name(log, &name), &tests));
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
    Counted {
        body,
        tests: log.stages.len() + log.tests.len(),
        failures,
        errors,
        seconds: log.seconds,
    }
}

/// Where tests failed, they are the failures and the stage that ran them is not one more.
fn is_error(log: &Log, name: &str, outcome: Option<Outcome>) -> bool {
    let ran = |test: &Test| {
        let title = match &test.suite {
            Some(suite) => format!("run suite {suite}"),
            None => "run suite".to_owned(),
        };
        name == title || name == full_name(Some(&test.service), &title)
    };
    let failed = |test: &&Test| test.standing() == Standing::Failed;
    outcome == Some(Outcome::Failed) && !log.tests.iter().filter(failed).any(ran)
}

fn stages(log: &Log) -> String {
    let name = suite_name(log, "stages");
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
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"0\" errors=\"{errors}\" skipped=\"{stopped}\" time=\"{:.3}\"{}>\n",
        escaped(&name),
        log.stages.len(),
        log.seconds,
        timestamp(log),
    );
    if let Some(shard) = &log.shard {
        let shard = escaped(shard);
        writeln!(
            text,
            "    <properties><property name=\"shard\" value=\"{shard}\"/></properties>"
        )
        .unwrap_or_default();
    }
    for stage in &log.stages {
        write!(
            text,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
            escaped(&name),
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

fn suite(log: &Log, name: &str, tests: &[&Test]) -> String {
    let failed = tests
        .iter()
        .filter(|test| test.standing() == Standing::Failed)
        .count();
    let mut text = format!(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\"{}>\n",
        escaped(name),
        tests.len(),
        timestamp(log),
    );
    for test in tests {
        write!(
            text,
            "    <testcase classname=\"{}\" name=\"{}\"",
            escaped(name),
            escaped(&test.name)
        )
        .unwrap_or_default();
        if let Some(seconds) = test.seconds {
            write!(text, " time=\"{seconds:.3}\"").unwrap_or_default();
        }
        if test.standing() == Standing::Passed {
            text.push_str("/>\n");
            continue;
        }
        text.push_str(">\n");
        for (at, said) in test.failures.iter().enumerate() {
            failure(&mut text, test, at, said);
        }
        text.push_str("    </testcase>\n");
    }
    text + "  </testsuite>\n"
}

/// One failed attempt, in Surefire's words: `flakyFailure` of a test that passed as well, which CI systems show as flaky; of one that
/// never passed `failure` for the first attempt and `rerunFailure` for the others.
fn failure(document: &mut String, test: &Test, at: usize, said: &str) {
    let said = escaped(said.trim());
    let (element, said) = match (test.standing(), at) {
        (Standing::Flaky, _) => ("flakyFailure", format!("<stackTrace>{said}</stackTrace>")),
        (_, 0) => ("failure", said),
        _ => ("rerunFailure", format!("<stackTrace>{said}</stackTrace>")),
    };
    let message = escaped(&message(test));
    writeln!(
        document,
        "      <{element} type=\"test\" message=\"{message}\">{said}</{element}>"
    )
    .unwrap_or_default();
}

fn message(test: &Test) -> String {
    match test.tally() {
        tally if tally.is_empty() => test.why().to_owned(),
        tally => format!("{tally}: {}", test.why()),
    }
}
