//! Memory by part, and the run's own files, of a run of all services.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench::disk::taken;
use bench::row::{Beside, Bound, Measured, Row, Topic};
use bench::tool::Tool;

use crate::run::run;
use crate::{node, processes};

/// Between two looks into a node: each starts a process there.
const NODE_LOOKS: Duration = Duration::from_secs(1);

/// What the processes of a part on this machine are to take together, in MiB: about half as much again as was measured.
const HERE: [(&str, f64); 9] = [
    (TOOL, 192.0),
    (ALL, 768.0),
    ("Data Storage", 64.0),
    ("PostgreSQL", 192.0),
    ("fakes", 32.0),
    ("relay", 24.0),
    ("cargo", 128.0),
    ("docker, kind and kubectl", 640.0),
    ("suites, and other commands", 160.0),
];
/// The same of containers in a node.
const NODE: [(&str, f64); 6] = [
    ("the node as a whole", 1536.0),
    ("Kubernetes' own", 768.0),
    ("Data Storage", 144.0),
    ("PostgreSQL", 480.0),
    ("fakes", 48.0),
    ("relay", 8.0),
];
/// What a run's directory is to take.
const DIRECTORY: f64 = 1.0;
const TOOL: &str = "the tool, peak";
const ALL: &str = "all processes on this machine, at once";

/// The rows of a target.
pub(crate) fn rows(tool: &Tool, topic: Topic, target: &str) -> anyhow::Result<Vec<Row>> {
    let args = ["--all", "--target", target, "--fresh"];
    // So that no compiler, and no preparation of a node, is in the figures.
    run(tool, &args, |_, _| Ok(()))?;
    let runs = runs()?;
    let mut here = processes::Peaks::default();
    let (mut there, mut last) = (node::Peaks::default(), None);
    let run = run(tool, &args, |id, run| {
        let record = run.map(|run| runs.join(run).join("processes.jsonl"));
        here.look(id, record.as_deref())?;
        let is_due = last.is_none_or(|last: Instant| last.elapsed() > NODE_LOOKS);
        if let Some(run) = run.filter(|_| target == "kind" && is_due) {
            there.look(&format!("e2e-{run}-control-plane"));
            last = Some(Instant::now());
        }
        Ok(())
    })?;
    let row = |part: &str, figure| {
        let what = format!("`e2e --all`, {target}: {part}");
        Row::measured(topic, &what, figure)
    };
    let parts = here.parts.iter().map(|(part, bytes)| (*part, *bytes));
    let mut rows = Vec::new();
    for (part, bytes) in [(TOOL, here.tool), (ALL, here.all)]
        .into_iter()
        .chain(parts)
    {
        rows.push(row(part, kept(bytes, part, &HERE)));
    }
    for (part, seen) in there.parts() {
        // A kernel that keeps no peak leaves what was seen.
        let figure = kept(seen.peak.max(seen.held), part, &NODE);
        let held = mib(seen.held).value;
        let floor = "without page cache, as seen once a second";
        let floor = Beside::measured(floor, held, figure.value / held);
        let what = format!("in the node, {part}");
        rows.push(row(&what, figure.floor(floor)));
    }
    let directory = mib(taken(&run.dir)).goal(Bound::AtMost(DIRECTORY));
    rows.push(row("its directory on disk", directory));
    Ok(rows)
}

/// Bytes with what a part is to take.
fn kept(bytes: u64, part: &str, goals: &[(&str, f64)]) -> Measured {
    let goal = goals.iter().find(|(of, _)| *of == part);
    let goal = goal.map(|(_, goal)| Bound::AtMost(*goal));
    goal.into_iter().fold(mib(bytes), Measured::goal)
}

/// Where the tool has the directories of its runs.
pub(crate) fn runs() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2).map(Path::to_owned);
    Ok(target
        .context("this program lies in cargo's target directory")?
        .join("e2e"))
}

/// Bytes as a figure.
#[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 bytes")]
pub(crate) fn mib(bytes: u64) -> Measured {
    Measured::new(bytes as f64 / f64::from(1 << 20), "MiB")
}
