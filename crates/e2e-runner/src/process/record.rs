//! The record of a run's processes: one line for each that was started and one for each that has ended, so that whoever cleans up
//! after a killed tool knows them by process id, start time and process group, and nobody else's.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The record's name in a run's directory.
pub const FILE: &str = "processes.jsonl";

/// A process that the tool started, the leader of a process group of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id, which is its group's.
    pub pid: i32,
    /// When it started, in clock ticks since boot (proc(5), stat, field 22).
    pub started: u64,
    /// The PID namespace that the id is of.
    pub namespace: String,
    /// What it is for, where somebody asks for it by that.
    pub label: Option<String>,
    /// Its value of [`MARK`].
    #[serde(default)]
    pub mark: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// Written before a process is started, which carries the mark in [`MARK`]: a tool that is killed in between cannot write more.
    Starting(String),
    Started(Process),
    /// A process with this mark has ended before its id could be recorded.
    Known(String),
    Ended(i32),
}

/// The variable by which a process is found whose start is recorded and whose id is not: nobody else has its value, and nobody asks for
/// it once the id is known.
pub const MARK: &str = "E2E_STARTED_AS";

/// The writer of a record.
#[derive(Clone, Debug)]
pub struct Record(Arc<Mutex<File>>);

impl Record {
    /// Appends to the record in a run's directory.
    pub fn in_directory(dir: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(dir.join(FILE))?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// Records that a process is about to be started, and returns the value of [`MARK`] that it has to carry.
    pub fn starting(&self) -> std::io::Result<String> {
        let mark = format!("{:016x}", rand::random::<u64>());
        self.write(&Line::Starting(mark.clone()))?;
        Ok(mark)
    }

    /// Records processes that were started just now. A record that cannot be written is an error: what is not in it would outlive
    /// a killed tool.
    pub fn started(&self, pids: &[i32], label: Option<&str>, mark: &str) -> std::io::Result<()> {
        for pid in pids {
            // One that has ended already needs no record.
            let stat = stat(*pid);
            if stat.is_none() {
                self.write(&Line::Known(mark.to_owned()))?;
            }
            if let Some(stat) = stat {
                self.write(&Line::Started(Process {
                    pid: *pid,
                    started: stat.started,
                    namespace: namespace(),
                    label: label.map(str::to_owned),
                    mark: mark.to_owned(),
                }))?;
            }
        }
        Ok(())
    }

    /// Records that processes have ended, unless one of their group still runs.
    pub fn ended(&self, pids: &[i32]) {
        for pid in pids {
            if killpg(Pid::from_raw(*pid), None) == Err(Errno::ESRCH) {
                // A line that is missing is of a process that is found to be gone.
                drop(self.write(&Line::Ended(*pid)));
            }
        }
    }

    fn write(&self, line: &Line) -> std::io::Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        let mut file = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(text.as_bytes())
    }
}

/// The processes of a run that were started and have not ended by the record; a line cut short by a kill is left out.
pub fn read(dir: &Path) -> Vec<Process> {
    let text = std::fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    let mut running: Vec<Process> = Vec::new();
    let mut starting: Vec<String> = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Line::Starting(mark)) => starting.push(mark),
            Ok(Line::Known(known)) => starting.retain(|mark| *mark != known),
            Ok(Line::Started(process)) => {
                starting.retain(|mark| *mark != process.mark);
                running.push(process);
            }
            Ok(Line::Ended(pid)) => running.retain(|process| process.pid != pid),
            Err(_) => {}
        }
    }
    if !starting.is_empty() {
        running.extend(marked(&starting));
    }
    running
}

/// The leaders of process groups that carry one of these marks (proc(5), environ).
fn marked(marks: &[String]) -> Vec<Process> {
    let carries = |pid: i32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let pairs = environ.split(|byte| *byte == 0);
        let mut values = pairs.filter_map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            pair.strip_prefix(MARK)?
                .strip_prefix('=')
                .map(str::to_owned)
        });
        values.find(|value| marks.contains(value))
    };
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let stat = stat(pid).filter(|stat| stat.group == pid)?;
            Some(Process {
                pid,
                started: stat.started,
                namespace: namespace(),
                label: None,
                mark: carries(pid)?,
            })
        })
        .collect()
}

impl Process {
    /// The processes of its group that still run. None where the ids are of another PID namespace, or where its own id has been
    /// given to another process since: then its whole group is gone, for an id is not given away while a group has it.
    pub fn members(&self) -> Vec<i32> {
        let reused = stat(self.pid).is_some_and(|stat| stat.started != self.started);
        if self.namespace != namespace() || reused {
            return Vec::new();
        }
        group(self.pid)
    }
}

/// What the kernel shows of a process (proc(5), stat).
struct Stat {
    state: char,
    group: i32,
    started: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state ppid pgrp …; the name may hold spaces and parentheses.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// The members of a process group that are not zombies. A process loses its memory before its files: it has ended when its last
/// thread has.
fn group(group: i32) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            stat(*pid).is_some_and(|stat| stat.group == group && has_threads(*pid, stat.state))
        })
        .collect()
}

/// Whether a thread of the process is left that is not a zombie: the first may end before the others.
fn has_threads(pid: i32, state: char) -> bool {
    let is_alive = |state: char| !matches!(state, 'Z' | 'X');
    is_alive(state)
        || std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok())
            .filter_map(|text| text.rsplit_once(") ")?.1.chars().next())
            .any(is_alive)
}

/// When a process started, in clock ticks since boot; none if it is gone.
pub fn started(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.started)
}

/// The PID namespace of this process and the boot that it is of; empty where the system does not show them.
fn namespace() -> String {
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{} {}", namespace.display(), boot.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32) -> Process {
        Process {
            pid,
            started: 1,
            namespace: namespace(),
            label: None,
            mark: String::new(),
        }
    }

    #[test]
    fn what_was_started_and_has_not_ended_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id().cast_signed();
        let record = Record::in_directory(dir.path()).unwrap();
        let mark = record.starting().unwrap();
        record.started(&[own], Some("me"), &mark).unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(dir.path().join(FILE))
            .unwrap()
            .write_all(b"{\"started\":{\"pid\":7,")
            .unwrap();
        let [read] = &read(dir.path())[..] else {
            panic!("one process")
        };
        assert_eq!(
            (read.pid, read.label.as_deref(), Some(read.started)),
            (own, Some("me"), started(own))
        );
    }

    #[test]
    fn a_process_that_got_the_id_later_is_not_ours() {
        let own = std::process::id().cast_signed();
        assert!(process(own).members().is_empty());
    }

    #[test]
    fn ids_of_another_namespace_are_not_ours() {
        let own = std::process::id().cast_signed();
        let elsewhere = Process {
            namespace: "pid:[1]".to_owned(),
            started: started(own).unwrap(),
            ..process(own)
        };
        assert!(elsewhere.members().is_empty());
    }
}
