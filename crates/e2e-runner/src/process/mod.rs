//! The runner of processes, the only place that starts them: a command has a deadline unless it is interactive or outlives the call,
//! ends on a signal, and is written to the run's log.

pub mod cancel;

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::exit::{Exit, Failure};
use crate::process::cancel::Cancel;

/// How often a running command is asked whether it is to be stopped. Bounds only how late Ctrl-C and a deadline act.
const TICK: Duration = Duration::from_millis(20);
/// How many bytes of a failed command's output a message repeats.
const TAIL: usize = 2_000;

/// Makes commands that share a signal, a set of variables and a log.
#[derive(Clone, Debug)]
pub struct Runner {
    cancel: Cancel,
    envs: Vec<(OsString, OsString)>,
    log: Option<Arc<Mutex<std::fs::File>>>,
}

/// Why a command gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not on PATH.
    #[error("`{program}` is required and not on PATH")]
    NotFound {
        /// The name looked for.
        program: String,
    },
    /// The command ended with another status than success.
    #[error("`{command}` ended with {status}{}", tail.as_str().indented())]
    Failed {
        /// The command line.
        command: String,
        /// Exit status or signal, in words.
        status: String,
        /// The end of its standard error, else of its standard output.
        tail: String,
    },
    /// The command ran longer than it may.
    #[error("`{command}` exceeded its deadline of {} s and was killed{}", deadline.as_secs_f32(), tail.as_str().indented())]
    TimedOut {
        /// The command line.
        command: String,
        /// Its bound.
        deadline: Duration,
        /// What it had said by then.
        tail: String,
    },
    /// A signal asked the tool to stop.
    #[error("`{command}` was stopped by a signal")]
    Cancelled {
        /// The command line.
        command: String,
    },
    /// The operating system refused.
    #[error("`{command}` could not be run: {source}")]
    Io {
        /// The command line.
        command: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl Error {
    /// As a failure of a stage: signals and deadlines keep their own exit code, all else gets `exit`.
    pub fn into_failure(self, exit: Exit, cancel: &Cancel) -> Failure {
        match self {
            Self::Cancelled { .. } => cancel.failure(),
            Self::TimedOut { .. } => Failure::new(Exit::Deadline, self.to_string()),
            Self::NotFound { .. } => Failure::new(Exit::Preflight, self.to_string()),
            other => Failure::new(exit, other.to_string()),
        }
    }
}

trait Indented {
    fn indented(&self) -> String;
}

impl Indented for &str {
    fn indented(&self) -> String {
        self.trim()
            .lines()
            .fold(String::new(), |text, line| text + "\n    " + line)
    }
}

impl Runner {
    /// A runner whose commands stop when `cancel` is raised.
    pub fn new(cancel: Cancel) -> Self {
        Self {
            cancel,
            envs: Vec::new(),
            log: None,
        }
    }

    /// The same runner with a variable that every command gets.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// The same runner writing each command line with its duration to `path`.
    pub fn logged(mut self, path: &Path) -> std::io::Result<Self> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        self.log = Some(Arc::new(Mutex::new(file)));
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

    /// The signal that this runner's commands obey.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// A command of `program`, bounded by two minutes unless it says otherwise.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        Command {
            runner: self.clone(),
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: self.envs.clone(),
            dir: None,
            stdin: None,
            deadline: Duration::from_mins(2),
        }
    }

    /// Where a program lies.
    pub fn find(program: impl AsRef<OsStr>) -> Result<PathBuf, Error> {
        which::which(&program).map_err(|_| Error::NotFound {
            program: program.as_ref().to_string_lossy().into_owned(),
        })
    }

    fn note(&self, command: &str, outcome: &str, took: Duration) {
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
    deadline: Duration,
}

impl Command {
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
        let mut expression = duct::cmd(Runner::find(&self.program)?, &self.args);
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
    fn expression(&self) -> Result<duct::Expression, Error> {
        Ok(self.plain()?.before_spawn(|command| {
            command.process_group(0);
            Ok(())
        }))
    }

    fn with_input(&self) -> Result<duct::Expression, Error> {
        let expression = self.expression()?;
        Ok(match &self.stdin {
            Some(bytes) => expression.stdin_bytes(bytes.clone()),
            None => expression.stdin_null(),
        })
    }

    /// Runs to the end and returns both streams and the status, whatever it is.
    pub fn output(&self) -> Result<Output, Error> {
        finish(
            &self.runner,
            &self.line(),
            &self.with_input()?,
            self.deadline,
        )
    }

    /// Runs to success and returns standard output without its last line break.
    pub fn read(&self) -> Result<String, Error> {
        text(&self.line(), &self.output()?)
    }

    /// Runs to success with what `left` prints as its standard input, without a file between, and returns as [`Command::read`] does;
    /// both must succeed, within the longer of their deadlines.
    pub fn read_from(&self, left: &Self) -> Result<String, Error> {
        let line = format!("{} | {}", left.line(), self.line());
        let pipe = left.with_input()?.pipe(self.expression()?);
        let deadline = self.deadline.max(left.deadline);
        text(&line, &finish(&self.runner, &line, &pipe, deadline)?)
    }

    /// Runs to the end, handing each line of both streams to `on_line` as it comes, and returns the exit code.
    pub fn stream(&self, on_line: impl FnMut(&str)) -> Result<i32, Error> {
        self.follow(on_line, || false)
    }

    /// As [`Command::stream`], and ends the command early, as a success, once `enough` says so; it is asked after each
    /// line and each tick.
    pub fn follow(
        &self,
        mut on_line: impl FnMut(&str),
        mut enough: impl FnMut() -> bool,
    ) -> Result<i32, Error> {
        let line = self.line();
        let io = |source| Error::Io {
            command: line.clone(),
            source,
        };
        let began = Instant::now();
        let reader = Arc::new(
            self.with_input()?
                .stderr_to_stdout()
                .unchecked()
                .reader()
                .map_err(io)?,
        );
        let lines = lines_of(Arc::clone(&reader));
        let mut last = Tail::default();
        loop {
            match lines.recv_timeout(TICK) {
                Ok(text) => {
                    last.push(&text);
                    on_line(&text);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if enough() {
                end_group(&reader.pids());
                self.runner.note(&line, "enough", began.elapsed());
                return Ok(0);
            }
            if let Some(error) = overdue(&self.runner, &line, began, self.deadline, || last.text())
            {
                end_group(&reader.pids());
                self.runner.note(&line, "stopped", began.elapsed());
                return Err(error);
            }
        }
        let status = reader.try_wait().map_err(io)?.map(|output| output.status);
        let code = status.and_then(|status| status.code()).unwrap_or(-1);
        self.runner
            .note(&line, &format!("exit {code}"), began.elapsed());
        Ok(code)
    }

    /// Runs in the foreground with this process's own terminal, for as long as the person wants.
    pub fn interactive(&self) -> Result<(), Error> {
        let io = |source| Error::Io {
            command: self.line(),
            source,
        };
        self.plain()?.unchecked().run().map(drop).map_err(io)
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
        let expression = self
            .with_input()?
            .stderr_to_stdout()
            .stdout_file(file)
            .unchecked();
        let handle = expression.start().map_err(io)?;
        self.runner.note(&line, "started", Duration::ZERO);
        Ok(Child {
            handle,
            log: log.to_owned(),
        })
    }
}

/// A running process. Dropping the value leaves it running: what ends it is the run's state (D14).
#[derive(Debug)]
pub struct Child {
    handle: duct::Handle,
    log: PathBuf,
}

impl Child {
    /// Ends it at once, and waits for that.
    pub fn kill(&self) {
        // What has ended already cannot be killed, and need not be.
        drop(self.handle.kill());
    }

    /// How it ended, with the tail of its log, if it did.
    pub fn died(&self) -> Option<String> {
        let output = self.handle.try_wait().ok().flatten()?;
        Some(format!(
            "{}\n{}",
            describe(output.status),
            tail_of(&self.log)
        ))
    }
}

/// The end of a file, for a message; empty if it cannot be read.
pub fn tail_of(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    tail(&bytes)
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let from = text
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| text.len() - at <= TAIL)
        .unwrap_or(0);
    text[from..].trim().to_owned()
}

#[derive(Default)]
struct Tail(String);

impl Tail {
    fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
        if self.0.len() > 4 * TAIL {
            self.0 = tail(self.0.as_bytes()) + "\n";
        }
    }

    fn text(&self) -> String {
        tail(self.0.as_bytes())
    }
}

fn lines_of(reader: Arc<duct::ReaderHandle>) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(&*reader).split(b'\n').map_while(Result::ok) {
            if send
                .send(
                    String::from_utf8_lossy(&line)
                        .trim_end_matches('\r')
                        .to_owned(),
                )
                .is_err()
            {
                break;
            }
        }
    });
    receive
}

fn finish(
    runner: &Runner,
    line: &str,
    expression: &duct::Expression,
    deadline: Duration,
) -> Result<Output, Error> {
    let io = |source| Error::Io {
        command: line.to_owned(),
        source,
    };
    let began = Instant::now();
    let handle = expression
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .start()
        .map_err(io)?;
    loop {
        if let Some(output) = handle.wait_timeout(TICK).map_err(io)? {
            runner.note(line, &describe(output.status), began.elapsed());
            return Ok(output.clone());
        }
        if let Some(mut error) = overdue(runner, line, began, deadline, String::new) {
            end_group(&handle.pids());
            runner.note(line, "stopped", began.elapsed());
            if let (Error::TimedOut { tail: said, .. }, Ok(Some(output))) =
                (&mut error, handle.wait_timeout(Duration::from_secs(2)))
            {
                *said = tail(&output.stderr);
            }
            return Err(error);
        }
    }
}

fn overdue(
    runner: &Runner,
    line: &str,
    began: Instant,
    deadline: Duration,
    tail: impl Fn() -> String,
) -> Option<Error> {
    if runner.cancel.is_raised() {
        return Some(Error::Cancelled {
            command: line.to_owned(),
        });
    }
    (began.elapsed() > deadline).then(|| Error::TimedOut {
        command: line.to_owned(),
        deadline,
        tail: tail(),
    })
}

/// What `cargo run` tells this tool of its own package. A cargo that it starts would take a change of it for one of what it builds
/// (build scripts name such variables), and compile for minutes whenever the tool is started the other way.
pub fn is_of_our_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// What a command printed, without its last line break, if it succeeded.
fn text(line: &str, output: &Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned());
    }
    let said = if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    };
    Err(Error::Failed {
        command: line.to_owned(),
        status: describe(output.status),
        tail: tail(said),
    })
}

fn describe(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Ends each process with its group: SIGTERM would let a tool such as cargo leave grandchildren behind.
fn end_group(pids: &[u32]) {
    for pid in pids.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
        // ESRCH says that it is gone already, which is what is wanted.
        killpg(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
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
        assert_eq!((lines, code), (vec!["one".to_owned(), "two".to_owned()], 5));
    }
}
