//! The processes of a run as /proc shows them: the tool, all that descends from it, and what it has recorded as the run's.
//!
//! Memory is the proportional share (PSS), so that pages which PostgreSQL's processes share count once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bench::processor::Process;

/// Peaks of what was seen, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Peaks {
    /// By part but the tool, the most that all its processes together had at one look.
    pub(crate) parts: BTreeMap<&'static str, u64>,
    /// The most of all of them at one look.
    pub(crate) all: u64,
    /// The tool's own, as the kernel keeps it (`VmHWM`).
    pub(crate) tool: u64,
}

impl Peaks {
    /// Looks at a run by the tool's process; `record` is the run's record of processes, which need not be there yet.
    pub(crate) fn look(&mut self, tool: u32, record: Option<&Path>) -> anyhow::Result<()> {
        let record = record.and_then(|file| std::fs::read_to_string(file).ok());
        let recorded = record.map_or_else(BTreeSet::new, |text| running(&text));
        let mut now: BTreeMap<_, u64> = BTreeMap::new();
        let mut all = 0;
        for process in members(&Process::all()?, tool, &recorded) {
            let bytes = share(process.id);
            all += bytes;
            // The kernel keeps the tool's own peak.
            if process.id != tool {
                *now.entry(part(&process.name)).or_default() += bytes;
            }
        }
        self.all = self.all.max(all);
        for (part, bytes) in now {
            let peak = self.parts.entry(part).or_default();
            *peak = bytes.max(*peak);
        }
        let own = in_bytes(&format!("/proc/{tool}/status"), "VmHWM:");
        self.tool = self.tool.max(own.unwrap_or(0));
        Ok(())
    }
}

/// The groups of a record that have not ended: a number is another's by then.
fn running(record: &str) -> BTreeSet<u32> {
    let number = |value: &serde_json::Value| u32::try_from(value.as_u64()?).ok();
    let mut running = BTreeSet::new();
    for line in record.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        running.extend(number(&line["started"]["pid"]));
        number(&line["ended"]).map(|ended| running.remove(&ended));
    }
    running
}

/// What a process on this machine is counted as.
fn part(name: &str) -> &'static str {
    let commands = match name {
        "rustc" | "cargo" => "cargo",
        "docker" | "docker-buildx" | "kind" | "kubectl" => "docker, kind and kubectl",
        _ => "suites, and other commands",
    };
    own_part(name).unwrap_or(commands)
}

/// What a program of a run's environment is counted as, here and in a node.
pub(crate) fn own_part(name: &str) -> Option<&'static str> {
    Some(match name {
        "datastorage" => "Data Storage",
        "service-fake" => "fakes",
        "audit-emit" => "relay",
        "postgres" => "PostgreSQL",
        _ => return None,
    })
}

/// The tool, what is in the group of a recorded process, and what descends from these.
fn members<'a>(all: &'a [Process], tool: u32, recorded: &BTreeSet<u32>) -> Vec<&'a Process> {
    let is_root = |process: &Process| process.id == tool || recorded.contains(&process.group);
    let (mut found, mut rest): (Vec<_>, Vec<_>) = all.iter().partition(|process| is_root(process));
    let mut at = 0;
    while let Some(parent) = found.get(at).map(|process| process.id) {
        let (children, others) = rest
            .into_iter()
            .partition(|process| process.parent == parent);
        found.extend::<Vec<_>>(children);
        rest = others;
        at += 1;
    }
    found
}

/// A process's proportional share of memory; where that is not to be read, its resident memory, which counts what is shared again.
fn share(id: u32) -> u64 {
    let share = in_bytes(&format!("/proc/{id}/smaps_rollup"), "Pss:");
    let resident = || in_bytes(&format!("/proc/{id}/status"), "VmRSS:");
    share.or_else(resident).unwrap_or(0)
}

/// A line of a file of /proc, which has KiB. What has ended meanwhile has none.
fn in_bytes(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_descends_from_the_tool_and_what_it_recorded_is_counted_and_nothing_else() {
        let process = |&(id, parent, group): &(u32, u32, u32)| Process {
            id,
            parent,
            group,
            ..Process::default()
        };
        // 20 is recorded, and was handed to init since; 23 has lost its parent, and is in the group still.
        let all = [
            (21, 20, 21),
            (10, 1, 10),
            (12, 11, 11),
            (11, 10, 11),
            (20, 1, 20),
            (23, 1, 20),
            (30, 1, 30),
        ];
        let all: Vec<_> = all.iter().map(process).collect();
        let mut found: Vec<_> = members(&all, 10, &BTreeSet::from([20]))
            .iter()
            .map(|process| process.id)
            .collect();
        found.sort_unstable();
        assert_eq!(found, [10, 11, 12, 20, 21, 23]);
    }

    #[test]
    fn what_a_record_says_has_ended_is_not_of_the_run_any_more() {
        let record = "{\"starting\":\"ab\"}\n{\"started\":{\"pid\":42,\"started\":1}}\n{\"started\":{\"pid\":43}}\n{\"ended\":42}\n{\"sta";
        assert_eq!(running(record), BTreeSet::from([43]));
    }

    #[test]
    fn this_process_has_memory_and_a_peak() {
        let own = std::process::id();
        let mut peaks = Peaks::default();
        peaks.look(own, None).expect("processes");
        assert!(peaks.all >= 1 << 20, "{}", peaks.all);
        assert!(peaks.tool >= 1 << 20, "{}", peaks.tool);
    }
}
