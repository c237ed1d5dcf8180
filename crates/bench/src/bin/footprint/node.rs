//! Memory in a Kind node, by container: what the node's control groups say, read in the node.
//!
//! The kernel keeps a group's peak itself (`memory.peak`, in version 1 `memory.max_usage_in_bytes`), with the page cache that was charged
//! to the group and would have been given back. What cannot be given back, anonymous and shared memory, has no peak in the kernel.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::processes::own_part;

/// Prints for the node and for each container a line with its path and its program, its peak, and what it has now.
const LOOK: &str = r#"
base=/sys/fs/cgroup/memory held='total_rss|total_shmem'
[ -d $base ] || { base=/sys/fs/cgroup held='anon|shmem'; }
one() {
  echo "= $1 $2"
  cat $1/memory.peak $1/memory.max_usage_in_bytes
  grep -E "^($held) " $1/memory.stat
}
one $base node
for group in $(find $base -path '*kubepods*' -name cgroup.procs); do
  read -r process <$group && read -r name </proc/$process/comm && one ${group%/*} $name
done
"#;

/// Bytes of a control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The kernel's peak, page cache included; 0 where it keeps none.
    pub(crate) peak: u64,
    /// The most anonymous and shared memory of all looks.
    pub(crate) held: u64,
}

/// What was seen in a node, by control group: its program, and its peaks.
#[derive(Debug, Default)]
pub(crate) struct Peaks(BTreeMap<String, (String, Seen)>);

impl Peaks {
    /// Looks into the node, which need not be there.
    pub(crate) fn look(&mut self, node: &str) {
        let output = Command::new("docker")
            .args(["exec", node, "sh", "-c", LOOK])
            .stdin(Stdio::null())
            .output();
        if let Ok(output) = output {
            self.add(&String::from_utf8_lossy(&output.stdout));
        }
    }

    fn add(&mut self, text: &str) {
        for group in text.split("= ").skip(1) {
            let mut lines = group.lines();
            let first = lines.next().and_then(|line| line.split_once(' '));
            let Some((path, name)) = first else { continue };
            let mut now = Seen::default();
            for line in lines {
                match line.split_once(' ') {
                    None => now.peak = line.parse().unwrap_or(0),
                    Some((_, held)) => now.held += held.parse().unwrap_or(0),
                }
            }
            let (program, seen) = self.0.entry(path.to_owned()).or_default();
            // An entry point becomes its program.
            name.clone_into(program);
            *seen = Seen {
                peak: seen.peak.max(now.peak),
                held: seen.held.max(now.held),
            };
        }
    }

    /// By part the peaks of its containers together, which need not have been at the same time.
    pub(crate) fn parts(&self) -> BTreeMap<&'static str, Seen> {
        let mut parts: BTreeMap<_, Seen> = BTreeMap::new();
        for (program, seen) in self.0.values() {
            let part = match program.as_str() {
                "node" => "the node as a whole",
                program => own_part(program).unwrap_or("Kubernetes' own"),
            };
            let sum = parts.entry(part).or_default();
            sum.peak += seen.peak;
            sum.held += seen.held;
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_every_look_is_kept_and_containers_of_a_program_are_added_up() {
        let mut peaks = Peaks::default();
        peaks
            .add("= /c node\n900\nanon 400\nshmem 100\n= /c/a datastorage\n40\nanon 20\nshmem 0\n");
        peaks.add("= /c node\n950\nanon 300\nshmem 100\n= /c/a datastorage\n45\nanon 10\nshmem 0\n= /c/b datastorage\n5\nanon 5\n= /c/d sh\n");
        let parts = peaks.parts();
        let node = parts["the node as a whole"];
        assert_eq!(
            node,
            Seen {
                peak: 950,
                held: 500
            }
        );
        assert_eq!(parts["Data Storage"], Seen { peak: 50, held: 25 });
        assert_eq!(parts["Kubernetes' own"], Seen::default());
    }
}
