//! Memory by part, and the run's own files, of a run of all services.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench::disk::taken;
use bench::row::{Beside, Measured, Row, Topic};
use bench::tool::Tool;

use crate::run::run;
use crate::{node, processes};

/// Between two looks into a node: each starts a process there.
const NODE_LOOKS: Duration = Duration::from_secs(1);

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
    let what = format!("`e2e --all --target {target}`");
    let row = |part: &str, figure| Row::measured(topic, &format!("{what}: {part}"), figure);
    let mut rows = vec![row("the tool, peak", mib(here.tool))];
    for (part, bytes) in here.parts.iter().filter(|(part, _)| **part != "the tool") {
        rows.push(row(part, mib(*bytes)));
    }
    rows.push(row("all processes on this machine, at once", mib(here.all)));
    for (part, (count, seen)) in there.parts() {
        let held = "without page cache, as seen once a second";
        let figure = mib(seen.peak);
        let ratio = figure.value / mib(seen.held).value;
        let figure = figure.floor(Beside::measured(held, mib(seen.held).value, ratio));
        rows.push(row(&format!("in the node, {part} ({count})"), figure));
    }
    rows.push(row("its directory on disk", mib(taken(&run.dir))));
    Ok(rows)
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
