//! The end of a run as people and GitHub are told: the closing tables, the reports, what is kept.

use std::fmt::Write as _;
use std::io::Write as _;

use e2e_report::{Log, Outcome, github};

use crate::commands::environment;
use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::reports;
use e2e_runner::run::Ended;
use e2e_runner::run::plan::Step;
use e2e_runner::run::session::Session;
use e2e_runner::run::timing::{Timing, table};
use e2e_runner::settings;
use e2e_runner::state::Run;

/// Prints how a run ended and makes its reports; a failure of the run is the failure of the verb.
pub fn conclude(session: &Session, ended: Ended) -> anyhow::Result<Exit> {
    let rows = table(&ended.timings, ended.total);
    let rows: Vec<_> = rows.lines().map(terminal::row).collect();
    terminal::print(&rows.join("\n"));
    if session.is_shared() {
        terminal::print(&outcomes(session, &ended.timings));
    }
    make_reports(&session.run);
    if ended.kept {
        environment::print_environments(&session.run);
    }
    ended
        .failure
        .map_or(Ok(Exit::Passed), |failure| Err(failure.into()))
}

/// Makes the reports of a run, shows GitHub its part, and remembers the tests. A report that cannot be written fails no run.
fn make_reports(run: &Run) {
    let made = reports::read(run.dir()).and_then(|log| {
        let paths = reports::write(&log, run.dir())?;
        tell_github(&log);
        if let Some(runs) = run.dir().parent() {
            reports::learn(&log, runs);
        }
        Ok(paths)
    });
    match made.map(|paths| paths.into_iter().next()) {
        Ok(Some(timeline)) => terminal::message(&format!("timeline: {}", timeline.display())),
        Ok(None) => {}
        Err(error) => terminal::message(&format!("the reports could not be written: {error:#}")),
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
            format!(
                "{name:<24} failed: {}: {}",
                timing.id.step.name(),
                timing.note
            )
        } else if let Some(timing) = own().find(|timing| timing.id.step == Step::RunSuite) {
            format!(
                "{name:<24} {} ({:.1} s)",
                if timing.outcome == Outcome::Ok {
                    &timing.note
                } else {
                    "stopped"
                },
                timing.took.as_secs_f64()
            )
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

/// Tells GitHub, where the run is a step of a job there.
fn tell_github(log: &Log) {
    if let Some(path) = settings::github_summary() {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        let written = file.and_then(|mut file| file.write_all(github::summary(log).as_bytes()));
        if let Err(error) = written {
            terminal::message(&format!("the job's summary could not be written: {error}"));
        }
    }
    if settings::in_github_job() {
        for line in github::annotations(log) {
            terminal::print(&line);
        }
    }
}
