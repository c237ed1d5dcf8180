//! The reports of a run as files in its directory, and what its tests teach about flaky ones.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use e2e_report::flaky::Tests;
use e2e_report::versions::Versions;
use e2e_report::{Log, github, html, junit};
use jiff::Timestamp;

use crate::state::{label, locked, write_private};

/// The log of a run's events in its directory.
pub const EVENTS: &str = "events.jsonl";

/// Reads the log of the run in `dir`.
pub fn read(dir: &Path) -> anyhow::Result<Log> {
    let path = dir.join(EVENTS);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the event log {}", path.display()))?;
    let log = Log::parse(&text);
    anyhow::ensure!(!log.run.is_empty(), "{} holds no run", path.display());
    Ok(log)
}

/// Writes every report of a log into `dir`, and returns their paths, the timeline's first.
pub fn write(log: &Log, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    write_all(
        dir,
        [
            ("report.html", html::page(log)),
            ("junit.xml", junit::document(log)),
            ("summary.md", github::summary(log)),
        ],
    )
}

fn write_all(dir: &Path, reports: [(&str, String); 3]) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (name, text) in reports {
        let path = dir.join(name);
        write_private(&path, text.as_bytes())?;
        paths.push(path);
    }
    Ok(paths)
}

/// A name for runs on several versions of Kubernetes.
pub fn together_name(services: &[String]) -> String {
    format!(
        "{}-kubernetes-{:06x}",
        label(services),
        rand::random::<u32>() & 0x00ff_ffff
    )
}

/// Writes the reports of several runs into a directory of their own beside those of the runs, and returns their paths, the page's first.
pub fn write_together(versions: &Versions, runs: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let dir = runs.join(&versions.name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    write_all(
        &dir,
        [
            ("report.html", versions.page()),
            ("junit.xml", versions.junit()),
            ("summary.md", versions.summary()),
        ],
    )
}

/// What is known of the tests that ran on this machine, beside the runs.
pub fn tests(runs: &Path) -> Tests {
    Tests::parse(&std::fs::read_to_string(runs.join(TESTS)).unwrap_or_default())
}

/// Learns from the tests of a log and writes it down.
pub fn learn(log: &Log, runs: &Path) {
    if log.tests.is_empty() {
        return;
    }
    let path = runs.join(TESTS);
    // No run fails for what is only remembered.
    drop(locked(&path, || {
        let mut tests = tests(runs);
        tests.learn(log, Timestamp::now());
        drop(write_private(&path, tests.text().as_bytes()));
    }));
}

const TESTS: &str = "tests.json";
