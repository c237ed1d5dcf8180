//! The server's processes: spawned, found again, signalled, waited for.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::account::Account;
use crate::cluster::open_log;
use crate::{Error, Installation};

/// A killed process is gone in milliseconds; a minute means that the kernel holds it (a dead disk).
const GONE_DEADLINE: Duration = Duration::from_mins(1);
const STEP: Duration = Duration::from_millis(1);

/// The first process of a server, whose end is the server's end.
#[derive(Debug)]
pub(crate) struct Postmaster {
    pid: Pid,
    /// Absent when another process started it.
    child: Option<Child>,
    /// Length of the log when it was started: what it wrote comes after.
    log_start: u64,
}

impl Postmaster {
    /// Starts `postgres` on `data`; everything else is in its `postgresql.conf`.
    pub(crate) fn spawn(
        installation: &Installation,
        data: &Path,
        log: &Path,
        account: &Account,
    ) -> Result<Self, Error> {
        let output = open_log(log)?;
        let log_start = output.metadata().map_err(Error::io("inspect", log))?.len();
        let errors = output
            .try_clone()
            .map_err(Error::io("open the server log", log))?;
        let postgres = installation.bin.join("postgres");
        let mut command = account.command(&postgres);
        command.arg("-D").arg(data).stdout(output).stderr(errors);
        let child = command.spawn().map_err(Error::io("start", postgres))?;
        let pid = Pid::from_raw(child.id().cast_signed());
        Ok(Self {
            pid,
            child: Some(child),
            log_start,
        })
    }

    /// Returns the process that runs on `data`, if there is one.
    pub(crate) fn find(data: &Path) -> Option<Self> {
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let pid = text
            .lines()
            .next()?
            .trim()
            .parse()
            .ok()
            .filter(|pid| *pid > 1)?;
        // The file may be older than the last boot: the number proves nothing by itself.
        let mut found = Self::of_another(pid);
        // `ended` comes first: it reaps a server that this process detached and that died.
        let runs = found.ended().is_none() && arguments(pid).contains(&*data.to_string_lossy());
        runs.then_some(found)
    }

    fn of_another(pid: i32) -> Self {
        Self {
            pid: Pid::from_raw(pid),
            child: None,
            log_start: 0,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Returns how the process ended, for people, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<String> {
        if let Some(child) = &mut self.child {
            return child
                .try_wait()
                .ok()
                .flatten()
                .map(|status| status.to_string());
        }
        // A server that this very process detached is still its child, and would stay a zombie unreaped.
        let reaped = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
        if let Ok(status @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) = reaped {
            return Some(format!("{status:?}"));
        }
        let gone = kill(self.pid, None) == Err(Errno::ESRCH) || is_zombie(self.pid());
        gone.then(|| "status unknown".to_owned())
    }

    /// Returns what the server wrote since it was started.
    pub(crate) fn said(&self, log: &Path) -> String {
        let bytes = fs::read(log).unwrap_or_default();
        let start = usize::try_from(self.log_start)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }

    /// Sends the signal of an "immediate shutdown": the server ends at once, and releases its shared memory.
    pub(crate) fn quit(&mut self) {
        self.signal(Signal::SIGQUIT);
    }

    /// Kills the server's processes with SIGKILL and returns when the last one is gone.
    pub(crate) async fn kill_all(&mut self) -> Result<(), Error> {
        // Stopped, it forks no further child while they are listed.
        self.signal(Signal::SIGSTOP);
        let children = children(self.pid());
        self.signal(Signal::SIGKILL);
        for child in &children {
            // One that ended by itself is what is wanted.
            kill(Pid::from_raw(*child), Signal::SIGKILL).ok();
        }
        self.wait().await?;
        for child in children {
            Self::of_another(child).wait().await?;
        }
        Ok(())
    }

    /// Removes the lock files of a server whose processes are all gone, where a zombie still has its number: its parent is another
    /// process that has not asked yet how it ended, and PostgreSQL would take it for a running server.
    pub(crate) fn remove_stale_locks(&self, data: &Path, sockets: &Path) {
        if !is_zombie(self.pid()) {
            return;
        }
        remove_shared_memory(data);
        let entries = fs::read_dir(sockets).into_iter().flatten().flatten();
        let locks = entries.map(|entry| entry.path()).filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "lock")
        });
        for lock in locks.chain([data.join("postmaster.pid")]) {
            // What remains is reported by the server when it starts again.
            fs::remove_file(lock).ok();
        }
    }

    /// Returns when the process is gone.
    pub(crate) async fn wait(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        while self.ended().is_none() {
            self.check(started)?;
            tokio::time::sleep(STEP).await;
        }
        Ok(())
    }

    /// Ends the server and returns when it is gone, blocking this thread; about 5 ms.
    pub(crate) fn quit_and_wait(&mut self) -> Result<(), Error> {
        self.quit();
        let started = Instant::now();
        while self.ended().is_none() {
            self.check(started)?;
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    fn check(&self, started: Instant) -> Result<(), Error> {
        let waited = started.elapsed();
        if waited > GONE_DEADLINE {
            Err(Error::Lingers {
                pid: self.pid(),
                waited,
            })
        } else {
            Ok(())
        }
    }

    fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // Between the check and the signal an own child stays a zombie, so its number cannot become another's.
            kill(self.pid, signal).ok();
        }
    }
}

/// Returns the command line of a process, empty if there is none.
fn arguments(pid: i32) -> String {
    if let Ok(bytes) = fs::read(format!("/proc/{pid}/cmdline")) {
        return String::from_utf8_lossy(&bytes).replace('\0', " ");
    }
    output(Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()]))
}

/// Returns the direct children of a process: all backends and helpers of a postmaster.
fn children(parent: i32) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        let listed = output(Command::new("pgrep").args(["-P", &parent.to_string()]));
        return listed
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect();
    };
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    status(pid)?.1.parse().ok()
}

/// Returns whether only an entry in the table is left of a process; init may take seconds to see to an orphan's.
fn is_zombie(pid: i32) -> bool {
    status(pid).is_some_and(|(state, _)| state == "Z")
}

/// Returns a process's state and parent, where the system has `/proc`.
fn status(pid: i32) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state ppid …; the name may hold spaces and parentheses.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// Frees the System V segment of a server that was killed with SIGKILL and will not start again.
///
/// A server that starts again on the same data, or ends in order, frees it itself. Linux only: elsewhere the 56 bytes stay
/// until the next boot.
pub(crate) fn remove_shared_memory(data: &Path) {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return;
    };
    // Line 7 is "key id" (storage/ipc: CreateLockFile, AddToDataDirLockFile).
    let Some(line) = text.lines().nth(6) else {
        return;
    };
    let mine: Vec<&str> = line.split_whitespace().collect();
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    // The key comes from the data directory's inode; with the id it names this server's segment and no other.
    let [key, id] = mine[..] else { return };
    if segments
        .lines()
        .any(|segment| segment.split_whitespace().take(2).eq([key, id]))
    {
        output(Command::new("ipcrm").args(["-m", id]));
    }
}
