//! Ends the processes of a run, known by its record: each by its group, one SIGTERM, patience, SIGKILL.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::process::record::{self, Process};

/// How long a process may take to end by itself before it is killed.
pub const GRACE: Duration = Duration::from_secs(8);
/// How long one may take that was killed: the kernel has to free its memory.
const KILLED: Duration = Duration::from_secs(8);
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Ends every process of the run in `dir`; returns when they are gone, else names those that are not.
pub fn end_all(dir: &Path) -> Result<(), String> {
    end(&running(dir))
}

/// Ends the processes of a run that have this label.
pub fn end_labelled(dir: &Path, label: &str) -> Result<(), String> {
    end(&labelled(dir, label))
}

/// Ends the processes of a run that have this label, and says whether they ended by themselves.
pub fn end_in_order(dir: &Path, label: &str) -> Result<bool, String> {
    let processes = labelled(dir, label);
    signal(&processes, Signal::SIGTERM);
    let by_themselves = gone_within(&processes, GRACE);
    if !by_themselves {
        kill(&processes)?;
    }
    Ok(by_themselves)
}

/// Kills the processes of a run that have this label with SIGKILL; fails if there is none.
pub fn kill_labelled(dir: &Path, label: &str) -> Result<(), String> {
    let processes = labelled(dir, label);
    if processes.is_empty() {
        return Err(format!("no process of {label} runs"));
    }
    kill(&processes)
}

/// The processes of a run that still run, or of whose group something does.
pub fn running(dir: &Path) -> Vec<Process> {
    let mut processes = record::read(dir);
    processes.retain(|process| !process.members().is_empty());
    processes
}

/// Those of them that have this label.
pub fn labelled(dir: &Path, label: &str) -> Vec<Process> {
    let mut processes = running(dir);
    processes.retain(|process| process.label.as_deref() == Some(label));
    processes
}

fn end(processes: &[Process]) -> Result<(), String> {
    signal(processes, Signal::SIGTERM);
    if gone_within(processes, GRACE) {
        return Ok(());
    }
    kill(processes)
}

fn kill(processes: &[Process]) -> Result<(), String> {
    signal(processes, Signal::SIGKILL);
    if gone_within(processes, KILLED) {
        return Ok(());
    }
    let left: Vec<i32> = processes.iter().flat_map(Process::members).collect();
    Err(format!("processes {left:?} do not end"))
}

fn signal(processes: &[Process], signal: Signal) {
    for process in processes
        .iter()
        .filter(|process| !process.members().is_empty())
    {
        // Gone already is what is wanted.
        killpg(Pid::from_raw(process.pid), signal).ok();
    }
}

fn gone_within(processes: &[Process], patience: Duration) -> bool {
    let began = Instant::now();
    loop {
        if processes.iter().all(|process| process.members().is_empty()) {
            return true;
        }
        if began.elapsed() > patience {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Runner;
    use crate::process::cancel::Cancel;

    fn spawn(dir: &Path, label: &str, script: &str) -> crate::process::Child {
        let runner = Runner::new(Cancel::default()).in_run(dir).unwrap();
        let command = runner.command("sh").args(["-c", script]).label(label);
        let child = command.spawn(&dir.join("log")).unwrap();
        let began = Instant::now();
        while !std::fs::read_to_string(dir.join("log")).is_ok_and(|text| text.contains("up")) {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "it does not start"
            );
            std::thread::sleep(POLL);
        }
        child
    }

    #[test]
    fn whether_a_process_ended_by_itself_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done";
        drop(spawn(dir.path(), "one", script));
        assert_eq!(end_in_order(dir.path(), "one"), Ok(true));
        assert!(labelled(dir.path(), "one").is_empty());
        let deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done";
        drop(spawn(dir.path(), "deaf", deaf));
        assert_eq!(end_in_order(dir.path(), "deaf"), Ok(false));
        assert!(labelled(dir.path(), "deaf").is_empty());
    }

    #[test]
    fn a_process_gets_one_sigterm_and_the_time_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap 'echo term' TERM; echo up; for i in 1 2 3 4 5 6; do sleep 0.1; done; sleep 0.3; echo end";
        let child = spawn(dir.path(), "service", script);
        end_all(dir.path()).unwrap();
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert_eq!(log.matches("term").count(), 1, "{log}");
        assert!(log.ends_with("end\n"), "{log}");
        assert!(child.died().is_some());
        assert!(running(dir.path()).is_empty());
    }

    #[test]
    fn what_a_dead_leader_left_in_its_group_is_found_and_others_are_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let leader = spawn(dir.path(), "gone", "sleep 600 & echo up");
        let other = spawn(dir.path(), "other", "echo up; exec sleep 600");
        let began = Instant::now();
        while leader.died().is_none() {
            assert!(began.elapsed() < Duration::from_secs(10));
            std::thread::sleep(POLL);
        }
        assert_eq!(labelled(dir.path(), "gone").len(), 1);
        end_labelled(dir.path(), "gone").unwrap();
        assert!(labelled(dir.path(), "gone").is_empty());
        assert!(other.died().is_none());
        kill_labelled(dir.path(), "other").unwrap();
        assert!(kill_labelled(dir.path(), "other").is_err());
    }
}
