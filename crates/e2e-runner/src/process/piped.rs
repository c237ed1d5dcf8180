//! Commands whose input or output this process itself makes or takes while they run: never whole in memory, and in no file.

use std::io::{ErrorKind, Read, Write};
use std::panic::resume_unwind;
use std::thread::scope;

use crate::process::error::Error;
use crate::process::record::MARK;
use crate::process::runner::{Command, text};

impl Command {
    /// Runs to success and writes standard output to `sink` as it comes. A sink that fails ends the command.
    pub fn write_to(&self, sink: &mut impl Write) -> Result<(), Error> {
        let (line, mark) = (self.line(), self.mark()?);
        let io = |source| Error::Io {
            command: line.clone(),
            source,
        };
        let (mut from, to) = std::io::pipe().map_err(io)?;
        let expression = self.with_input()?.env(MARK, &mark).stdout_file(to);
        scope(|scope| {
            // The expression goes with its thread: while this process has the other end of the pipe too, there is no end of file.
            let running = scope.spawn({
                let line = line.clone();
                move || self.finish(&line, &expression, &mark, self.deadline)
            });
            let copied = std::io::copy(&mut from, sink);
            drop(from);
            let ended = running
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))?;
            copied.map_err(io)?;
            text(&line, &ended).map(drop)
        })
    }

    /// Runs to success with what `source` gives as its standard input, and returns as [`Command::read`] does. A source that fails ends
    /// the command's input early, and is what is told.
    pub fn read_while(&self, source: &mut impl Read) -> Result<String, Error> {
        let (line, mark) = (self.line(), self.mark()?);
        let io = |source| Error::Io {
            command: line.clone(),
            source,
        };
        let (from, mut to) = std::io::pipe().map_err(io)?;
        let expression = self.expression()?.env(MARK, &mark).stdin_file(from);
        scope(|scope| {
            let running = scope.spawn({
                let line = line.clone();
                move || self.finish(&line, &expression, &mark, self.deadline)
            });
            let copied = std::io::copy(source, &mut to);
            drop(to);
            let ended = running
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))?;
            match copied {
                // It has ended before it read everything; its own words say why.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(io(error)),
                _ => text(&line, &ended),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::cancel::Cancel;
    use crate::process::runner::Runner;

    fn sh(script: &str) -> Command {
        Runner::new(Cancel::default())
            .command("sh")
            .args(["-c", script])
    }

    /// Gives this much, then fails.
    struct Fails(usize);

    impl Read for Fails {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let given = self.0.min(into.len());
            self.0 -= given;
            into[..given].fill(b'x');
            match given {
                0 => Err(std::io::Error::other("the archive ends early")),
                given => Ok(given),
            }
        }
    }

    impl Write for Fails {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = self.0.min(bytes.len());
            self.0 -= taken;
            match taken {
                0 => Err(std::io::Error::other("the disk is full")),
                taken => Ok(taken),
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn more_than_a_pipe_holds_goes_through_in_both_directions() {
        let mut taken = Vec::new();
        sh("head -c 1000000 /dev/zero")
            .write_to(&mut taken)
            .expect("it is taken");
        assert_eq!(taken.len(), 1_000_000);
        let counted = sh("wc -c").read_while(&mut &taken[..]);
        assert_eq!(counted.expect("it is counted").trim(), "1000000");
    }

    #[test]
    fn whichever_side_fails_is_told() {
        let told = |error: Error| error.to_string();
        let full = sh("cat /dev/zero").write_to(&mut Fails(100_000));
        assert!(told(full.expect_err("full")).contains("the disk is full"));
        let refused = sh("echo why >&2; exit 3").write_to(&mut Vec::new());
        assert!(told(refused.expect_err("refused")).contains("why"));
        let cut = sh("cat >/dev/null").read_while(&mut Fails(100_000));
        assert!(told(cut.expect_err("cut")).contains("the archive ends early"));
        let refused = sh("echo why >&2; exit 3").read_while(&mut Fails(1_000_000));
        assert!(told(refused.expect_err("refused")).contains("why"));
    }

    #[test]
    fn a_deadline_ends_one_that_reads_nothing() {
        let error = sh("sleep 600")
            .deadline(Duration::from_millis(300))
            .read_while(&mut Fails(1_000_000))
            .expect_err("too late");
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    }
}
