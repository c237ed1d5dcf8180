//! Bytes on disk that stay: the directories of a week's runs, before and after `reap`, the cache, the prepared nodes.

use bench::disk::taken;
use bench::row::{Bound, Outcome, Row, Topic};
use bench::tool::{Tool, timed};
use serde_json::Value;

use crate::memory::{mib, runs};
use crate::run::run;

/// The run that a week has many of.
const RUN: [&str; 3] = ["workflowexecution", "--target", "local"];

/// What one of its directories is to take, in MiB: about half as much again as was measured, as all here.
const RUN_STAYS: f64 = 0.1;
const CACHE: f64 = 384.0;
const NODES: f64 = 4608.0;

/// The rows after a week of this many runs.
pub(crate) fn rows(tool: &Tool, week: u32) -> anyhow::Result<Vec<Row>> {
    let runs = runs()?;
    let row = |what: &str, bytes, most| {
        Row::measured(Topic::Disk, what, mib(bytes).goal(Bound::AtMost(most)))
    };
    // A run's directory stays whatever `reap` does: what has ended well is nobody's to remove.
    let stays = f64::from(week) * RUN_STAYS;
    let before = taken(&runs);
    for _ in 0..week {
        run(tool, &RUN, |_, _| Ok(()))?;
    }
    let grown = |now: u64| now.saturating_sub(before);
    let what = format!(
        "directories of {week} runs, a week, `e2e {}`",
        RUN.join(" ")
    );
    let mut rows = vec![row(&what, grown(taken(&runs)), stays)];
    timed(tool.command().arg("reap"))?;
    rows.push(row("the same after `reap`", grown(taken(&runs)), stays));
    rows.push(row(
        "the cache",
        taken(&embedded_postgres::cache_directory()),
        CACHE,
    ));
    rows.push(match nodes(tool) {
        Ok(bytes) => row("prepared nodes that Docker keeps", bytes, NODES),
        Err(error) => Row::new(
            Topic::Disk,
            "prepared nodes that Docker keeps",
            Outcome::NotRun(format!("{error:#}")),
        ),
    });
    Ok(rows)
}

/// What the images and volumes of the prepared nodes take.
fn nodes(tool: &Tool) -> anyhow::Result<u64> {
    let (_, output) = timed(tool.command().args(["node", "--format", "json"]))?;
    let nodes: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let sizes = |node: &Value, of: &str| {
        let sizes = node[of].as_object().into_iter().flatten();
        sizes.filter_map(|(_, size)| in_bytes(size)).sum::<u64>()
    };
    Ok(nodes
        .iter()
        .map(|node| sizes(node, "images") + sizes(node, "volumes"))
        .sum())
}

/// A size as Docker says it: bytes, or a text such as `1.812GB`.
fn in_bytes(size: &Value) -> Option<u64> {
    let Some(text) = size.as_str() else {
        return size.as_u64();
    };
    let (number, unit) = text.split_at(text.find(|each: char| each.is_ascii_alphabetic())?);
    let unit = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return None,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "no disk has 2^64 bytes, or fewer than none"
    )]
    number
        .parse()
        .ok()
        .map(|number: f64| (number * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_as_docker_says_it() {
        let sizes = [
            serde_json::json!(1024),
            "1.812GB".into(),
            "12kB".into(),
            "3MB".into(),
            "N/A".into(),
        ];
        let sizes = sizes.each_ref().map(in_bytes);
        assert_eq!(
            sizes,
            [
                Some(1024),
                Some(1_812_000_000),
                Some(12_000),
                Some(3_000_000),
                None
            ]
        );
    }
}
