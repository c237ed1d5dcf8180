//! `cargo xtask report`: regenerates a run's reports from its event log.

use std::path::{Path, PathBuf};

use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::reports::{self, EVENTS};

/// Runs the verb for a run's identity, a directory with an event log, or the run that ended last.
pub fn run(runner: &Runner, what: Option<&str>) -> anyhow::Result<Exit> {
    let dir = match what
        .map(Path::new)
        .filter(|path| path.join(EVENTS).is_file())
    {
        Some(path) => path.to_owned(),
        None => of_run(runner, what)?,
    };
    let log = reports::read(&dir)?;
    for path in reports::write(&log, &dir)? {
        terminal::print(&path.display().to_string());
    }
    Ok(Exit::Passed)
}

fn of_run(runner: &Runner, what: Option<&str>) -> anyhow::Result<PathBuf> {
    let runs = Paths::find(runner)?.runs();
    let dirs = std::fs::read_dir(&runs).into_iter().flatten().flatten();
    let newest = dirs
        .map(|entry| entry.path())
        .filter(|dir| what.is_none_or(|name| dir.file_name().is_some_and(|own| own == name)))
        .filter_map(|dir| {
            let written = std::fs::metadata(dir.join(EVENTS)).ok()?.modified().ok()?;
            Some((written, dir))
        })
        .max();
    let Some((_, dir)) = newest else {
        let what = match what {
            Some(name) => format!("no run `{name}` has an event log"),
            None => "no run has an event log yet".to_owned(),
        };
        return Err(Failure::new(Exit::Usage, what)
            .hint(format!("name a run of {} or a directory", runs.display()))
            .into());
    };
    Ok(dir)
}
