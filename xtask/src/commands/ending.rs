//! The end of a run: closing tables, reports, what is kept, GitHub's summary and annotations.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use e2e_report::event::full_name;
use e2e_report::log::{Log, Test};
use e2e_report::{Outcome, github};

use crate::commands::args::Format;
use crate::commands::environment::{self, Variables};
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::reports;
use e2e_runner::run::Ended;
use e2e_runner::run::plan::Step;
use e2e_runner::run::session::Session;
use e2e_runner::run::timing::{Timing, table};
use e2e_runner::settings;
use e2e_runner::state::Run;

/// Prints how a run ended and makes its reports; a failure of the run is the failure of the verb.
pub fn conclude(session: &Session, ended: Ended, output: &Output) -> anyhow::Result<Exit> {
    let told = tell(session, &ended, output.is_new);
    if let Some(log) = &told.log {
        summarize(&github::summary(log));
    }
    if output.json {
        terminal::print(&format!("{:#}", told.document));
    } else if let (Some(form), true) = (output.variables, ended.kept) {
        terminal::print(&environment::variables(&session.run, form));
    }
    if let Some(failure) = ended.failure {
        return Err(failure.into());
    }
    let what = if output.variables.is_some() {
        "up"
    } else {
        "passed"
    };
    terminal::message(&format!("{what}: {}", session.run.id()));
    Ok(Exit::Passed)
}

/// What a run's end has come to.
#[derive(Debug)]
pub struct Told {
    /// Its events, where they could be read.
    pub log: Option<Log>,
    /// Its result for programs.
    pub document: serde_json::Value,
}

/// Prints how a run ended and makes its reports; neither its job's summary nor its result is written yet.
pub fn tell(session: &Session, ended: &Ended, is_new: bool) -> Told {
    let rows = table(&ended.timings, ended.total);
    let rows: Vec<_> = rows.lines().map(terminal::row).collect();
    terminal::message(&rows.join("\n"));
    if session.is_shared() {
        terminal::message(outcomes(session, &ended.timings).trim_end());
    }
    let (log, reports) = make_reports(&session.run);
    let flaky: Vec<&Test> = log.iter().flat_map(Log::flaky).collect();
    for test in &flaky {
        terminal::message(&format!(
            "flaky: {} {}: {}: {}",
            test.service,
            test.full_name(),
            test.tally(),
            test.why()
        ));
    }
    if ended.kept && is_new {
        terminal::message(&environment::describe(&session.run));
    }
    if let Some(left) = &ended.left {
        terminal::message(&format!("left behind: {left}"));
    }
    let document = document(session, ended, &reports, &flaky);
    Told { log, document }
}

/// What the end of a run writes to standard output.
#[derive(Debug)]
pub struct Output {
    /// The result as one document.
    json: bool,
    /// The variables of the environment that is up.
    variables: Option<Variables>,
    /// Whether the environment was made by this run.
    is_new: bool,
}

impl Output {
    /// That of `e2e`.
    pub const fn of_e2e(format: Format) -> Self {
        Self {
            json: matches!(format, Format::Json),
            variables: None,
            is_new: true,
        }
    }

    /// That of `test`.
    pub const fn of_test(format: Format) -> Self {
        Self {
            is_new: false,
            ..Self::of_e2e(format)
        }
    }

    /// That of `up`.
    pub const fn of_up(form: Variables) -> Self {
        Self {
            json: false,
            variables: Some(form),
            is_new: true,
        }
    }
}

/// A run's result for programs.
fn document(
    session: &Session,
    ended: &Ended,
    reports: &[PathBuf],
    flaky: &[&Test],
) -> serde_json::Value {
    let flaky: Vec<_> = flaky
        .iter()
        .map(|test| {
            serde_json::json!({
                "service": test.service,
                "suite": test.suite,
                "test": test.name,
                "tally": test.tally(),
                "failure": test.why(),
            })
        })
        .collect();
    let stages: Vec<_> = ended
        .timings
        .iter()
        .map(|timing| {
            serde_json::json!({
                "stage": timing.id.title(),
                "service": timing.id.service,
                "outcome": timing.outcome.word(),
                "seconds": timing.took.as_secs_f64(),
                "note": timing.note,
            })
        })
        .collect();
    serde_json::json!({
        "run": session.run.id(),
        "target": session.place.word(),
        "kubernetes": session.kubernetes.as_ref().map(|node| node.version.to_string()),
        "shard": session.shard,
        "exit": ended.failure.as_ref().map_or(0, |failure| failure.exit.code()),
        "failure": ended.failure.as_ref().map(failure),
        "left_behind": ended.left.as_ref().map(failure),
        "kept": ended.kept,
        "seconds": ended.total.as_secs_f64(),
        "directory": session.run.dir(),
        "reports": reports,
        "flaky": flaky,
        "stages": stages,
    })
}

/// A failure for programs.
pub fn failure(failure: &Failure) -> serde_json::Value {
    serde_json::json!({
        "exit": failure.exit.code(),
        "summary": failure.summary,
        "detail": failure.detail,
        "hint": failure.hint.as_deref().map(settings::named),
    })
}

/// Makes the reports of a run, annotates its GitHub job, and remembers the tests. A report that cannot be written fails no run.
fn make_reports(run: &Run) -> (Option<Log>, Vec<PathBuf>) {
    let made = reports::read(run.dir()).and_then(|log| {
        let paths = reports::write(&log, run.dir())?;
        annotate(&log);
        if let Some(runs) = run.dir().parent() {
            reports::learn(&log, runs);
        }
        Ok((log, paths))
    });
    match made {
        Ok((log, paths)) => {
            if let Some(timeline) = paths.first() {
                terminal::message(&format!("timeline: {}", timeline.display()));
            }
            (Some(log), paths)
        }
        Err(error) => {
            terminal::message(&format!("the reports could not be written: {error:#}"));
            (None, Vec::new())
        }
    }
}

/// Each service with how its part of the run ended.
fn outcomes(session: &Session, timings: &[Timing]) -> String {
    let mut text = String::new();
    for service_run in &session.service_runs {
        let name = &service_run.service.name;
        let own = || {
            timings
                .iter()
                .filter(|timing| timing.id.service.as_ref() == Some(name))
        };
        let row = if let Some(timing) = own().find(|timing| timing.outcome == Outcome::Failed) {
            format!("{name:<24} failed: {}: {}", timing.id.title(), timing.note)
        } else if own().any(|timing| timing.id.step == Step::RunSuite) {
            let suites = own().filter(|timing| timing.id.step == Step::RunSuite);
            let told: Vec<_> = suites.map(of_suite).collect();
            format!("{name:<24} {}", told.join("; "))
        } else if own()
            .any(|timing| timing.id.step == Step::AwaitDataStorage && timing.outcome == Outcome::Ok)
        {
            format!("{name:<24} up")
        } else {
            format!("{name:<24} did not run")
        };
        writeln!(text, "{row}").unwrap_or_default();
    }
    text
}

/// A suite that did not fail, with how it ended.
fn of_suite(timing: &Timing) -> String {
    let ended = match timing.outcome {
        Outcome::Ok => &timing.note,
        _ => "stopped",
    };
    let told = format!("{ended} ({:.1} s)", timing.took.as_secs_f64());
    full_name(timing.id.part.as_deref(), &told)
}

/// Adds to the job's summary, where the run is a step of a GitHub job.
pub fn summarize(text: &str) {
    let Some(path) = settings::github_summary() else {
        return;
    };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
        terminal::message(&format!("the job's summary could not be written: {error}"));
    }
}

/// Writes the annotations of a run that is a step of a GitHub job.
fn annotate(log: &Log) {
    if settings::in_github_job() {
        for line in github::annotations(log) {
            // Read from either stream; standard output may be a document, or what a shell evaluates.
            terminal::message(&line);
        }
    }
}
