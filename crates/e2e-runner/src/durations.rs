//! How long the suites of services take, as a file that all jobs of a split have.
//!
//! What one machine remembers of its own runs is no such file: another job would split in another way, and a service would run in none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use e2e_report::{Log, services};

use crate::exit::{Exit, Failure};
use crate::reports::{self, EVENTS};

/// How deep below a directory runs are looked for: artifacts of several jobs unpack into a directory for each.
const DEPTH: usize = 4;

/// Seconds by service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations(BTreeMap<String, f64>);

impl Durations {
    /// Reads a file of them.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| {
            Failure::new(
                Exit::Usage,
                format!("the durations in {} cannot be read: {why}", path.display()),
            )
            .hint("`cargo xtask ci durations > FILE` writes such a file")
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let seconds: BTreeMap<String, f64> =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        // JSON has no other numbers that are not finite.
        match seconds.iter().find(|(_, seconds)| **seconds < 0.0) {
            Some((service, _)) => Err(wrong(format!("`{service}` takes less than no time"))),
            None => Ok(Self(seconds)),
        }
    }

    /// The median of the runs in which all suites of a service passed: one that failed may have ended early.
    pub fn of(logs: &[Log]) -> Self {
        let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for fate in logs.iter().flat_map(services::fates) {
            if let (true, Some(seconds)) = (fate.passed, fate.suites) {
                all.entry(fate.service).or_default().push(seconds);
            }
        }
        let medians = all.into_iter().map(|(service, mut seconds)| {
            seconds.sort_by(f64::total_cmp);
            let tenths = (seconds[seconds.len() / 2] * 10.0).round() / 10.0;
            (service, tenths)
        });
        Self(medians.collect())
    }

    /// How long the suites of a service take.
    pub fn seconds(&self, service: &str) -> Option<f64> {
        self.0.get(service).copied()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The file's text.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(&self.0).unwrap_or_default()
    }
}

/// The logs of the runs at and below these places, each an event log, a run's directory, or one of several.
pub fn logs(places: &[PathBuf]) -> Vec<Log> {
    let mut files = Vec::new();
    for place in places {
        collect(place, DEPTH, &mut files);
    }
    files.sort();
    files.dedup();
    let dirs = files.iter().filter_map(|file| file.parent());
    dirs.filter_map(|dir| reports::read(dir).ok()).collect()
}

fn collect(place: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    if place.file_name().is_some_and(|name| name == EVENTS) && place.is_file() {
        files.push(place.to_owned());
        return;
    }
    if depth == 0 || !place.is_dir() {
        return;
    }
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if !is_link {
            collect(&entry.path(), depth - 1, files);
        }
    }
}
