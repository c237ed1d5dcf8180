//! Commands and how they run: to their end, line by line, in the foreground, or beyond this process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::process::cancel::Cancel;
use crate::process::error::Error;
use crate::process::output::{Status, Tail, lines_of, tail, tail_of};
use crate::process::record::{MARK, Record};
use crate::settings;

/// How often a running command is asked whether it is to be stopped. Bounds only how late Ctrl-C and a deadline act.
const TICK: Duration = Duration::from_millis(20);
/// How long the output of a command that has ended may stay open without a line: longer, and a process that it left in the
/// background holds it.
const LEAK: Duration = Duration::from_millis(200);
/// How long such a process may go on printing before it is no longer listened to.
const LEAK_PRINTING: Duration = Duration::from_secs(2);
/// The longest step of a command's clock: what is longer, this process was stopped for, or the machine slept.
const STEP: Duration = Duration::from_secs(1);

/// Makes commands that share a signal, a set of variables, a log and a record.
#[derive(Clone, Debug)]
pub struct Runner {
    cancel: Cancel,
    envs: Vec<(OsString, OsString)>,
    log: Option<Arc<Mutex<std::fs::File>>>,
    record: Option<Record>,
}

impl Runner {
    /// A runner whose commands stop when `cancel` is raised.
    pub fn new(cancel: Cancel) -> Self {
        Self {
            cancel,
            envs: Vec::new(),
            log: None,
            record: None,
        }
    }

    /// The same runner with a variable that every command gets.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// The same runner writing each command line with its duration to `commands.log` of a run's directory, and recording its
    /// processes there ([`crate::process::record`]).
    pub fn in_run(mut self, dir: &Path) -> std::io::Result<Self> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("commands.log"))?;
        self.log = Some(Arc::new(Mutex::new(file)));
        self.record = Some(Record::in_directory(dir)?);
        Ok(self)
    }

    /// The same runner for work that goes on through `count` more signals.
    #[must_use]
    pub fn after(&self, count: usize) -> Self {
        Self {
            cancel: self.cancel.after(count),
            ..self.clone()
        }
    }

    /// The same runner for work that may take no longer than this altogether.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            cancel: self.cancel.within(deadline),
            ..self.clone()
        }
    }

    /// The signal that this runner's commands obey.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// A command of `program`, bounded by two minutes unless it says otherwise. A program with a `/` in its name is looked for from
    /// the command's directory, any other on PATH.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        Command {
            runner: self.clone(),
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: self.envs.clone(),
            dir: None,
            stdin: None,
            deadline: Duration::from_mins(2),
            grace: Duration::ZERO,
            label: None,
        }
    }

    /// Where a program lies that is started in `dir`: one with a `/` in its name from there, any other on PATH.
    pub fn find(program: impl AsRef<OsStr>, dir: Option<&Path>) -> Result<PathBuf, Error> {
        let program = program.as_ref();
        let from = dir.unwrap_or(Path::new("."));
        which::which_in(program, settings::search_path(), from).map_err(|_| {
            let relative = program.to_string_lossy().contains('/');
            Error::NotFound {
                program: program.to_string_lossy().into_owned(),
                place: match (relative, dir) {
                    (true, Some(dir)) => format!("an executable file in {}", dir.display()),
                    (true, None) => "an executable file".to_owned(),
                    (false, _) => "on PATH".to_owned(),
                },
            }
        })
    }

    /// Writes down, in the log of commands, what was done and how it ended.
    pub fn note(&self, command: &str, outcome: &str, took: Duration) {
        if let Some(log) = &self.log
            && let Ok(mut file) = log.lock()
        {
            // The log is evidence, not function: a full disk must not fail the command that ran.
            drop(writeln!(
                file,
                "{:>9.3}s {outcome:<9} {command}",
                took.as_secs_f64()
            ));
        }
    }
}

/// A command being put together. Its standard input is empty unless given.
#[derive(Clone, Debug)]
#[must_use]
pub struct Command {
    runner: Runner,
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    pub(super) deadline: Duration,
    grace: Duration,
    label: Option<String>,
}

impl Command {
    /// The signal that it obeys.
    pub fn cancel(&self) -> &Cancel {
        &self.runner.cancel
    }

    /// The program's name.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// Whether one of its words is this, or begins with it and `=`.
    pub fn names(&self, word: &str) -> bool {
        let is_it = |arg: &OsString| {
            let rest = arg.to_str().and_then(|arg| arg.strip_prefix(word));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        self.args.iter().any(is_it)
    }

    /// The directory that it runs in, where one was set.
    pub fn directory(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// The value that it will see of a variable.
    pub fn variable(&self, name: impl AsRef<OsStr>) -> Option<OsString> {
        let name = name.as_ref();
        let set = self.envs.iter().rev().find(|(set, _)| set == name);
        match set {
            Some((_, value)) => Some(value.clone()),
            None => settings::inherited(name).filter(|_| !is_of_our_package(name)),
        }
    }

    /// The variables that it will see.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let inherited = std::env::vars_os().filter(|(name, _)| !is_of_our_package(name));
        let mut all: BTreeMap<_, _> = inherited.collect();
        all.extend(self.envs.iter().cloned());
        all.into_iter().collect()
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable. Secrets travel this way or by standard input, never as an argument.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Sets what the command reads.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Sets how long the command may run.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Lets the command end by itself for this long after a SIGTERM, before SIGKILL, where a deadline or a signal ends it.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Records the process under a name by which it is found again.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The command as the arguments of a script, `"$@"`.
    pub fn in_shell(mut self, script: &str) -> Self {
        let program = std::mem::replace(&mut self.program, "sh".into());
        let before = ["-c".into(), script.into(), "sh".into(), program];
        self.args.splice(0..0, before);
        self
    }

    /// The command for messages: its words with spaces between them, not quoted.
    pub fn line(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.args)
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The command with its variables and its directory.
    fn plain(&self) -> Result<duct::Expression, Error> {
        if let Some(dir) = self.dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(Error::NoDirectory {
                command: self.line(),
                dir: dir.clone(),
            });
        }
        let program = Runner::find(&self.program, self.dir.as_deref())?;
        let mut expression = duct::cmd(program, &self.args);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_our_package(name)) {
            expression = expression.env_remove(name);
        }
        for (name, value) in &self.envs {
            expression = expression.env(name, value);
        }
        if let Some(dir) = &self.dir {
            expression = expression.dir(dir);
        }
        Ok(expression)
    }

    /// The command in a process group of its own: a terminal's Ctrl-C reaches the tool, which ends its children in order.
    pub(super) fn expression(&self) -> Result<duct::Expression, Error> {
        Ok(self.plain()?.before_spawn(|command| {
            command.process_group(0);
            Ok(())
        }))
    }

    pub(super) fn with_input(&self) -> Result<duct::Expression, Error> {
        let expression = self.expression()?;
        Ok(match &self.stdin {
            Some(bytes) => expression.stdin_bytes(bytes.clone()),
            None => expression.stdin_null(),
        })
    }

    /// Records that a process is about to be started, and returns the mark that it carries.
    pub(super) fn mark(&self) -> Result<String, Error> {
        let Some(record) = &self.runner.record else {
            return Ok(String::new());
        };
        record.starting().map_err(|source| Error::Io {
            command: self.line(),
            source,
        })
    }

    /// Records processes that were started just now; ends them where that is impossible.
    fn record(&self, pids: &[u32], mark: &str) -> Result<Started, Error> {
        let started = Started {
            pids: pids.iter().map(|pid| pid.cast_signed()).collect(),
            record: self.runner.record.clone(),
        };
        if let Some(record) = &started.record
            && let Err(source) = record.started(&started.pids, self.label.as_deref(), mark)
        {
            started.signal(Signal::SIGKILL);
            return Err(Error::Io {
                command: self.line(),
                source,
            });
        }
        Ok(started)
    }

    /// Runs to the end and returns both streams and the status, whatever it is.
    pub fn output(&self) -> Result<Output, Error> {
        let mark = self.mark()?;
        let expression = self.with_input()?.env(MARK, &mark);
        self.finish(&self.line(), &expression, &mark, self.deadline)
    }

    /// Runs to success and returns standard output without its last line break.
    pub fn read(&self) -> Result<String, Error> {
        text(&self.line(), &self.output()?)
    }

    /// Runs to success with what `left` prints as its standard input, without a file between, and returns as [`Command::read`] does;
    /// both must succeed, within the longer of their deadlines.
    pub fn read_from(&self, left: &Self) -> Result<String, Error> {
        let line = format!("{} | {}", left.line(), self.line());
        let mark = self.mark()?;
        let pipe = left.with_input()?.pipe(self.expression()?);
        let pipe = pipe.env(MARK, &mark);
        let deadline = self.deadline.max(left.deadline);
        text(&line, &self.finish(&line, &pipe, &mark, deadline)?)
    }

    pub(super) fn finish(
        &self,
        line: &str,
        expression: &duct::Expression,
        mark: &str,
        deadline: Duration,
    ) -> Result<Output, Error> {
        let io = |source| Error::Io {
            command: line.to_owned(),
            source,
        };
        let mut clock = Clock::new();
        let handle = expression
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .start()
            .map_err(io)?;
        let started = self.record(&handle.pids(), mark)?;
        loop {
            if let Some(output) = handle.wait_timeout(TICK).map_err(io)? {
                let status = Status::from(output.status).to_string();
                self.runner.note(line, &status, clock.total());
                started.ended();
                return Ok(output.clone());
            }
            if let Some(mut error) = self.overdue(line, clock.tick(), deadline, String::new) {
                started.signal(Signal::SIGKILL);
                self.runner.note(line, "stopped", clock.total());
                if let (Error::TimedOut { tail: printed, .. }, Ok(Some(output))) =
                    (&mut error, handle.wait_timeout(Duration::from_secs(2)))
                {
                    *printed = tail(&output.stderr);
                }
                started.ended();
                return Err(error);
            }
        }
    }

    fn overdue(
        &self,
        line: &str,
        taken: Duration,
        deadline: Duration,
        tail: impl Fn() -> String,
    ) -> Option<Error> {
        let cancel = &self.runner.cancel;
        let over = cancel.overdue().or((taken > deadline).then_some(deadline));
        match over {
            Some(deadline) if !cancel.is_signalled() => Some(Error::TimedOut {
                command: line.to_owned(),
                deadline,
                tail: tail(),
            }),
            _ if cancel.is_raised() => Some(Error::Cancelled {
                command: line.to_owned(),
            }),
            _ => None,
        }
    }

    /// Runs to the end, handing each line of both streams to `on_line` as it comes, and returns how it ended.
    ///
    /// The end is that of the process: one that it left in the background and that holds its output open is waited for a moment,
    /// and noted in the status. A deadline counts the time that this process runs, not the time that it is stopped.
    pub fn stream(&self, on_line: impl FnMut(&str)) -> Result<Status, Error> {
        self.follow(on_line, || false)
    }

    /// As [`Command::stream`], and ends the command early, as a success, once `enough` says so; it is asked after each
    /// line and each tick.
    pub fn follow(
        &self,
        mut on_line: impl FnMut(&str),
        mut enough: impl FnMut() -> bool,
    ) -> Result<Status, Error> {
        let line = self.line();
        let io = |source| Error::Io {
            command: line.clone(),
            source,
        };
        let mut clock = Clock::new();
        let mark = self.mark()?;
        let expression = self.with_input()?.env(MARK, &mark);
        let reader = expression.stderr_to_stdout().unchecked().reader();
        let reader = Arc::new(reader.map_err(io)?);
        let started = self.record(&reader.pids(), &mark)?;
        let lines = lines_of(Arc::clone(&reader));
        let mut last = Tail::default();
        let mut ended: Option<Ended> = None;
        let leaked = loop {
            // What the process had printed when it ended is taken whole, however slowly: only then does more come from others.
            let waiting = lines.try_recv();
            if let (Err(TryRecvError::Empty), Some(ended)) = (&waiting, &mut ended) {
                ended.drained = true;
            }
            let quiet = match waiting.or_else(|_| lines.recv_timeout(TICK)) {
                Ok(text) => {
                    last.push(&text);
                    on_line(&text);
                    if let Some(ended) = &mut ended {
                        ended.last_line = Instant::now();
                    }
                    false
                }
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) => true,
            };
            if enough() {
                started.signal(Signal::SIGKILL);
                self.runner.note(&line, "enough", clock.total());
                started.ended();
                return Ok(Status::SUCCESS);
            }
            let due = clock.is_due();
            if (quiet || due) && ended.is_none() && reader.try_wait().map_err(io)?.is_some() {
                ended = Some(Ended::now());
            }
            if let Some(ended) = &ended {
                if ended.is_leak(quiet) {
                    break true;
                }
                continue;
            }
            let overdue = self.overdue(&line, clock.tick(), self.deadline, || last.text());
            if let Some(error) = overdue {
                let ended = || reader.try_wait().is_ok_and(|output| output.is_some());
                self.stop(&started, ended, &lines, &mut on_line);
                self.runner.note(&line, "stopped", clock.total());
                drop(reader.try_wait());
                started.ended();
                return Err(error);
            }
        };
        // The output may be closed a moment before the process has ended.
        let output = loop {
            if let Some(output) = reader.try_wait().map_err(io)? {
                break output;
            }
            let overdue = self.overdue(&line, clock.tick(), self.deadline, || last.text());
            if let Some(error) = overdue {
                started.signal(Signal::SIGKILL);
                started.ended();
                return Err(error);
            }
            std::thread::sleep(TICK);
        };
        let status = Status {
            leaked,
            ..Status::from(output.status)
        };
        self.runner.note(&line, &status.to_string(), clock.total());
        started.ended();
        Ok(status)
    }

    /// Ends a command whose lines are followed: SIGTERM and its grace, during which a further signal ends the patience, then SIGKILL.
    fn stop(
        &self,
        started: &Started,
        ended: impl Fn() -> bool,
        lines: &Receiver<String>,
        on_line: &mut impl FnMut(&str),
    ) {
        if !self.grace.is_zero() {
            let (began, hurry) = (Instant::now(), self.runner.after(1));
            let signals = self.runner.cancel.is_signalled();
            started.signal(Signal::SIGTERM);
            while began.elapsed() < self.grace
                && !(ended() && started.is_gone())
                && !(signals && hurry.cancel.is_raised())
            {
                match lines.recv_timeout(TICK) {
                    Ok(text) => on_line(&text),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
                }
            }
        }
        started.signal(Signal::SIGKILL);
    }

    /// Runs in the foreground with this process's own terminal, for as long as the person wants, and returns how it ended.
    pub fn interactive(&self) -> Result<Status, Error> {
        let io = |source| Error::Io {
            command: self.line(),
            source,
        };
        let output = self.plain()?.unchecked().run().map_err(io)?;
        Ok(output.status.into())
    }

    /// Starts a process that outlives this call; both its streams go to `log`.
    pub fn spawn(&self, log: &Path) -> Result<Child, Error> {
        let line = self.line();
        let io = |source| Error::Io {
            command: line.clone(),
            source,
        };
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(io)?;
        let mark = self.mark()?;
        let expression = self
            .with_input()?
            .env(MARK, &mark)
            .stderr_to_stdout()
            .stdout_file(file)
            .unchecked();
        let handle = expression.start().map_err(io)?;
        let started = self.record(&handle.pids(), &mark)?;
        self.runner.note(&line, "started", Duration::ZERO);
        Ok(Child {
            handle,
            started,
            log: log.to_owned(),
        })
    }
}

/// A followed process that has ended, while its output is still open.
struct Ended {
    at: Instant,
    last_line: Instant,
    /// Whether all that waited at its end has been taken.
    drained: bool,
}

impl Ended {
    fn now() -> Self {
        let now = Instant::now();
        Self {
            at: now,
            last_line: now,
            drained: false,
        }
    }

    /// Whether what holds the output open is another process: one that prints nothing, or one that goes on printing.
    fn is_leak(&self, quiet: bool) -> bool {
        (quiet && self.last_line.elapsed() > LEAK)
            || (self.drained && self.at.elapsed() > LEAK_PRINTING)
    }
}

/// Processes that run, each the leader of a process group.
#[derive(Debug)]
struct Started {
    pids: Vec<i32>,
    record: Option<Record>,
}

impl Started {
    /// Sends a signal to each process with its group: cargo and its like leave grandchildren behind.
    fn signal(&self, signal: Signal) {
        for pid in &self.pids {
            // ESRCH says that it is gone already, which is what is wanted.
            killpg(Pid::from_raw(*pid), signal).ok();
        }
    }

    /// Whether nothing of their groups is left; one that nobody has waited for is.
    fn is_gone(&self) -> bool {
        self.pids
            .iter()
            .all(|pid| killpg(Pid::from_raw(*pid), None).is_err())
    }

    fn ended(&self) {
        if let Some(record) = &self.record {
            record.ended(&self.pids);
        }
    }
}

/// The time that a command has had: what this process was stopped for does not count.
struct Clock {
    began: Instant,
    last: Instant,
    taken: Duration,
}

impl Clock {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            last: now,
            taken: Duration::ZERO,
        }
    }

    /// Whether a tick has passed.
    fn is_due(&self) -> bool {
        self.last.elapsed() >= TICK
    }

    fn tick(&mut self) -> Duration {
        let now = Instant::now();
        self.taken += now.duration_since(self.last).min(STEP);
        self.last = now;
        self.taken
    }

    /// All of the time since the beginning.
    fn total(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A running process. Dropping the value leaves it running: what ends it is the run's state (D14).
#[derive(Debug)]
pub struct Child {
    handle: duct::Handle,
    started: Started,
    log: PathBuf,
}

impl Child {
    /// The name of its log, which is that of what runs.
    pub fn name(&self) -> String {
        let name = self.log.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.started.pids.first().copied().unwrap_or_default()
    }

    /// Ends it and its group at once, and waits for that.
    pub fn kill(&self) {
        self.started.signal(Signal::SIGKILL);
        // What has ended already cannot be killed, and need not be.
        drop(self.handle.kill());
        self.started.ended();
    }

    /// How it ended, with the tail of its log, if it did.
    pub fn died(&self) -> Option<String> {
        let output = self.handle.try_wait().ok().flatten()?;
        Some(format!(
            "{}\n{}",
            Status::from(output.status),
            tail_of(&self.log)
        ))
    }
}

/// What a command printed, without its last line break, if it succeeded.
pub(super) fn text(line: &str, output: &Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned());
    }
    let printed = if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    };
    Err(Error::Failed {
        command: line.to_owned(),
        status: Status::from(output.status).to_string(),
        tail: tail(printed),
    })
}

/// Makes this process another program, called by a name, with arguments. Returns only where that does not start.
pub fn become_program(
    program: &Path,
    name: &str,
    args: impl IntoIterator<Item = OsString>,
) -> std::io::Error {
    std::process::Command::new(program)
        .arg0(name)
        .args(args)
        .exec()
}

/// What `cargo run` tells this tool of its own package. A cargo that it starts would take a change of it for one of what it builds
/// (build scripts name such variables), and compile for minutes whenever the tool is started the other way.
pub fn is_of_our_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner() -> Runner {
        Runner::new(Cancel::default())
    }

    #[test]
    fn a_failed_command_says_what_it_printed() {
        let error = runner()
            .command("sh")
            .args(["-c", "echo why >&2; exit 3"])
            .read()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c echo why >&2; exit 3` ended with exit 3\n    why"
        );
    }

    #[test]
    fn a_command_is_not_told_of_the_package_that_this_tool_is() {
        // `cargo test` sets them for this very test.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let told = runner().command("env").read().unwrap();
        assert!(!told.contains("CARGO_MANIFEST_DIR") && !told.contains("CARGO_PKG_NAME"));
        assert!(told.contains("PATH="), "{told}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = runner().command("no-such-program-here").read().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`no-such-program-here` is required and not on PATH"
        );
    }

    #[test]
    fn a_deadline_ends_grandchildren_too_and_repeats_what_was_said() {
        let command = runner()
            .command("sh")
            .args(["-c", "echo waiting >&2; sleep 600 & wait"])
            .deadline(Duration::from_millis(300));
        let error = command.output().unwrap_err();
        assert!(
            matches!(&error, Error::TimedOut { tail, .. } if tail == "waiting"),
            "{error}"
        );
    }

    #[test]
    fn a_signal_ends_a_running_command() {
        let cancel = Cancel::default();
        let raised = cancel.clone();
        let error = Runner::new(cancel)
            .command("sh")
            .args(["-c", "echo up; sleep 600"])
            .stream(|_| raised.raise(2))
            .unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    }

    #[test]
    fn a_pipe_needs_no_file_and_fails_with_either_side() {
        let runner = runner();
        let upper = runner.command("tr").args(["a-z", "A-Z"]);
        let echo = runner.command("echo").arg("bytes");
        assert_eq!(upper.read_from(&echo).unwrap(), "BYTES");

        let fails = runner
            .command("sh")
            .args(["-c", "echo bytes; echo why >&2; exit 9"]);
        let error = upper.read_from(&fails).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");

        // More than a pipe holds, to a command that reads none of it.
        let much = runner
            .command("head")
            .args(["--bytes", "1000000", "/dev/zero"]);
        let full = runner
            .command("sh")
            .args(["-c", "echo the disk is full >&2; exit 1"]);
        let error = full.read_from(&much).unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }

    #[test]
    fn a_stream_hands_over_every_line_and_the_code() {
        let mut lines = Vec::new();
        let code = runner()
            .command("sh")
            .args(["-c", "echo one; echo two >&2; exit 5"])
            .stream(|line| lines.push(line.to_owned()))
            .unwrap();
        assert_eq!(
            (lines, code.code),
            (vec!["one".to_owned(), "two".to_owned()], Some(5))
        );
    }

    #[test]
    fn a_process_left_in_the_background_is_noted_and_waited_for_no_longer_whether_it_prints_or_not()
    {
        for background in ["sleep 600", "while :; do echo more; sleep 0.05; done"] {
            let script = format!("{{ {background}; }} & echo $!; exit 3");
            let mut lines = Vec::new();
            let status = runner()
                .command("sh")
                .args(["-c", &script])
                .stream(|line| lines.push(line.to_owned()))
                .unwrap();
            assert_eq!(
                (status.code, status.leaked),
                (Some(3), true),
                "{background}"
            );
            let pid: i32 = lines.iter().find_map(|line| line.parse().ok()).unwrap();
            killpg(
                nix::unistd::getpgid(Some(Pid::from_raw(pid))).unwrap(),
                Signal::SIGKILL,
            )
            .unwrap();
        }
    }

    #[test]
    fn every_line_of_a_process_that_has_ended_is_taken_however_slowly() {
        let mut count = 0;
        let status = runner()
            .command("seq")
            .arg("3000")
            .stream(|_| {
                count += 1;
                std::thread::sleep(Duration::from_micros(1_500));
            })
            .unwrap();
        assert_eq!((count, status.leaked), (3_000, false));
    }

    #[test]
    fn a_process_whose_id_could_not_be_recorded_is_found_by_its_mark() {
        let dir = tempfile::tempdir().unwrap();
        let runner = runner().in_run(dir.path()).unwrap();
        let child = runner
            .command("sleep")
            .arg("600")
            .spawn(&dir.path().join("log"))
            .unwrap();
        // As a tool leaves it that is killed right after the start.
        let path = dir.path().join(crate::process::record::FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.lines().next().unwrap()).unwrap();
        let found = crate::process::record::read(dir.path());
        child.kill();
        let pids: Vec<i32> = found.iter().map(|one| one.pid).collect();
        assert_eq!(pids, [child.pid()]);
    }
}
