//! Processes of a run, known by a variable that they carry: found, ended in order, killed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(8);

/// A variable as a process carries it.
pub fn mark(name: &str, value: &str) -> String {
    format!("{name}={value}")
}

/// Ends every process that carries a variable: SIGTERM, then SIGKILL to what is left after a grace. Returns when they are gone.
pub fn end_processes(mark: &str) -> Result<(), String> {
    let by_time = |elapsed| {
        if elapsed > GRACE {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        }
    };
    signal_until_gone(mark, by_time, 2 * GRACE)
}

/// Kills every process that carries a variable with SIGKILL, and returns when they are gone.
pub fn kill_processes(mark: &str) -> Result<(), String> {
    signal_until_gone(mark, |_| Signal::SIGKILL, GRACE)
}

fn signal_until_gone(
    mark: &str,
    signal: impl Fn(Duration) -> Signal,
    deadline: Duration,
) -> Result<(), String> {
    let began = Instant::now();
    let mut signalled = BTreeSet::new();
    loop {
        let pids = processes_with(mark);
        signalled.extend(&pids);
        // A process that ends loses its variables before its files: ports and locks are free when its last thread is gone.
        signalled.retain(|pid| has_threads(*pid));
        if signalled.is_empty() {
            return Ok(());
        }
        if began.elapsed() > deadline {
            return Err(format!("processes {signalled:?} do not end"));
        }
        for pid in pids {
            // Gone already is what is wanted.
            kill(Pid::from_raw(pid), signal(began.elapsed())).ok();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a thread of the process is left that is not a zombie (proc(5), task and stat).
fn has_threads(pid: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // pid (name) state …; the name may hold spaces and parentheses.
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        state.starts_with(|state| !matches!(state, 'Z' | 'X'))
    })
}

/// The processes that carry a variable, grandchildren included (proc(5), environ).
pub fn processes_with(mark: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ
                .split(|byte| *byte == 0)
                .any(|pair| pair == mark.as_bytes())
        })
        .collect()
}
