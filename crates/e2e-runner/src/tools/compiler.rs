//! A compiler at work: compiling is not hanging (D44), so what it is at is said again and again while it is silent.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::process::{Command, Error, Status};

/// How long a compiler may be silent before a line says what it is at.
const SILENCE: Duration = Duration::from_secs(10);
/// How many lines of what it said a failure shows.
const SHOWN: usize = 20;

/// What a line of a compiler is.
#[derive(Debug)]
pub enum Line {
    /// Something to read, such as an error.
    Said(String),
    /// How far it is, which it prints by the hundred.
    At(String),
    /// Something for programs.
    Hidden,
}

/// Runs a compiler to its end and returns how that was, and what it said; each line is what `is` takes it for.
pub fn run(
    command: &Command,
    on_line: impl FnMut(&str),
    is: impl FnMut(&str) -> Line,
) -> Result<(Status, Vec<String>), Error> {
    run_within(command, SILENCE, on_line, is)
}

fn run_within(
    command: &Command,
    silence: Duration,
    on_line: impl FnMut(&str),
    mut is: impl FnMut(&str) -> Line,
) -> Result<(Status, Vec<String>), Error> {
    let at_work = RefCell::new(AtWork {
        began: Instant::now(),
        told: Instant::now(),
        at: String::new(),
        said: Vec::new(),
        on_line,
    });
    let status = command.follow(
        |line| {
            let line = is(line);
            at_work.borrow_mut().hear(line);
        },
        || {
            at_work.borrow_mut().tell(silence);
            false
        },
    )?;
    Ok((status, at_work.into_inner().said))
}

/// The lines of a failure: from the first error on, else the last ones.
pub fn shown(said: &[String]) -> String {
    let from = said
        .iter()
        .position(|line| line.starts_with("error"))
        .unwrap_or(said.len().saturating_sub(SHOWN));
    said[from..said.len().min(from + SHOWN)].join("\n")
}

struct AtWork<F> {
    began: Instant,
    told: Instant,
    at: String,
    said: Vec<String>,
    on_line: F,
}

impl<F: FnMut(&str)> AtWork<F> {
    fn hear(&mut self, line: Line) {
        match line {
            Line::Hidden => {}
            Line::At(at) => self.at = at,
            Line::Said(line) => {
                line.trim().clone_into(&mut self.at);
                self.told = Instant::now();
                (self.on_line)(&line);
                self.said.push(line);
            }
        }
    }

    fn tell(&mut self, silence: Duration) {
        if self.told.elapsed() < silence {
            return;
        }
        self.told = Instant::now();
        let at = if self.at.is_empty() {
            "nothing said yet"
        } else {
            &self.at
        };
        let seconds = self.began.elapsed().as_secs();
        (self.on_line)(&format!("still compiling, {seconds} s: {at}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Runner;
    use crate::process::cancel::Cancel;

    #[test]
    fn a_silent_compiler_is_told_of_and_what_it_prints_by_the_hundred_is_not() {
        let runner = Runner::new(Cancel::default());
        // It goes on until it has been told of: a file says so.
        let dir = tempfile::tempdir().expect("a directory");
        let told = dir.path().join("told");
        let script = "echo pkg/one; echo pkg/two; echo '{}'; \
            for _ in $(seq 500); do [ ! -e told ] || break; sleep 0.02; done; echo 'error: no'; exit 3";
        let command = runner.command("sh").args(["-c", script]).dir(dir.path());
        let mut lines = Vec::new();
        let (status, said) = run_within(
            &command,
            Duration::from_millis(100),
            |line| {
                lines.push(line.to_owned());
                std::fs::write(&told, "").expect("a file");
            },
            |line| match line {
                "{}" => Line::Hidden,
                line if line.starts_with("pkg/") => Line::At(line.to_owned()),
                _ => Line::Said(line.to_owned()),
            },
        )
        .expect("it runs");
        assert!(!status.is_success());
        assert_eq!(said, ["error: no"]);
        assert!(
            lines[0].starts_with("still compiling, ") && lines[0].ends_with(" s: pkg/two"),
            "{lines:?}"
        );
        assert_eq!(lines.last().map(String::as_str), Some("error: no"));
        assert_eq!(shown(&said), "error: no");
    }
}
