//! A program under this one in its container: where `kill` of the same pod has ended it, it is started again at once. The kubelet would
//! wait longer with each restart of the container, up to five minutes. Whatever else ends the program ends the container as before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// The file beside this program that says that `kill` ends the program next.
const ASKED: &str = "killed";
/// How long what a killed program leaves may take to be gone.
const GONE: Duration = Duration::from_secs(10);
/// Between two looks at processes that end.
const PAUSE: Duration = Duration::from_millis(5);

/// Copies this program into a directory that the container of another one has too.
pub(crate) fn install(directory: &Path) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("this program has no file")?;
    let name = program.file_name().context("this program has no name")?;
    fs::copy(&program, directory.join(name))
        .map(drop)
        .with_context(|| format!("cannot copy this program into {}", directory.display()))
}

/// Says that what ends next is ended by `kill`; before it is.
pub(crate) fn announce() -> anyhow::Result<()> {
    let file = asked()?;
    // Where nothing is supervised there is no such place, and nothing to be told.
    match fs::write(&file, "") {
        Err(error) if error.kind() != io::ErrorKind::ReadOnlyFilesystem => {
            Err(error).with_context(|| format!("cannot write {}", file.display()))
        }
        _ => Ok(()),
    }
}

fn asked() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("this program has no file")?;
    Ok(program.with_file_name(ASKED))
}

/// Runs a program until it ends otherwise than by `kill`; its exit code is this one's, of a signal as shells tell it.
pub(crate) fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let (program, args) = words.split_first().context("no program is named")?;
    let asked = asked()?;
    drop(fs::remove_file(&asked));
    let mut signals = Signals::new([SIGINT, SIGQUIT, SIGTERM]).context("cannot take signals")?;
    loop {
        let mut command = Command::new(program);
        let mut child = command
            .args(args)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let status = watch(&mut child, &mut signals)?;
        let is_asked = fs::remove_file(&asked).is_ok();
        if !is_asked {
            return Ok(code_of(status));
        }
        end_the_rest()?;
    }
}

/// Waits until a program ends, hands signals on to it, and collects the processes that it leaves.
fn watch(child: &mut Child, signals: &mut Signals) -> anyhow::Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id()).context("a process id")?);
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the program")? {
            return Ok(status);
        }
        for signal in signals.pending() {
            // One that has ended meanwhile needs none.
            kill(pid, Signal::try_from(signal).context("a signal")?).unwrap_or_default();
        }
        std::thread::sleep(PAUSE);
    }
}

/// Ends what a killed program has left in this container and waits until all of it is gone: what is started next must not find it.
fn end_the_rest() -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        // The first process of a container becomes the parent of what is left; what was started from outside has none here.
        for pid in children() {
            kill(pid, Signal::SIGKILL).unwrap_or_default();
        }
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return Ok(()),
            Ok(WaitStatus::StillAlive) => std::thread::sleep(PAUSE),
            Ok(_) => {}
            Err(error) => anyhow::bail!("cannot wait for processes: {error}"),
        }
        anyhow::ensure!(
            began.elapsed() < GONE,
            "processes of the killed program do not end"
        );
    }
}

/// The children of this process (proc(5), stat: the parent is the second word after the name).
fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_own = processes.filter_map(|process| {
        let pid: i32 = process.file_name().to_string_lossy().parse().ok()?;
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let (_, words) = stat.rsplit_once(')')?;
        let parent = words.split_whitespace().nth(1)?;
        (parent == own).then(|| Pid::from_raw(pid))
    });
    of_own.collect()
}

fn code_of(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    let code = code.and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}
