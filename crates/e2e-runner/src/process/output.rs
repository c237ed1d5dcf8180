//! What a process leaves: its status, and the end of what it printed.

use std::fmt;
use std::io::BufReader;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use nix::sys::signal::Signal;

/// How many bytes of a command's output a message repeats.
const TAIL: usize = 2_000;
/// How many bytes of one line are kept: a program that prints no line break must not fill the memory.
const LINE: usize = 1 << 20;
/// How many lines may wait for whoever takes them: a program that prints faster is held up, as by any pipe.
const WAITING: usize = 1_000;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether a process that it started in the background still held its output open.
    pub leaked: bool,
}

impl Status {
    /// A process that ended with success.
    pub const SUCCESS: Self = Self {
        code: Some(0),
        signal: None,
        leaked: false,
    };

    /// Whether the process succeeded.
    pub fn is_success(self) -> bool {
        self.code == Some(0)
    }
}

impl From<ExitStatus> for Status {
    fn from(status: ExitStatus) -> Self {
        Self {
            code: status.code(),
            signal: status.signal(),
            leaked: false,
        }
    }
}

/// `exit 3`, or `signal 9 (SIGKILL)`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(name) => write!(f, "signal {signal} ({name})"),
                Err(_) => write!(f, "signal {signal}"),
            },
            (None, None) => f.write_str("an unknown status"),
        }
    }
}

/// The end of a file, for a message; empty if it cannot be read.
pub fn tail_of(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    tail(&bytes)
}

pub(super) fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let from = text
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| text.len() - at <= TAIL)
        .unwrap_or(0);
    text[from..].trim().to_owned()
}

/// The end of what a running command prints.
#[derive(Default)]
pub(super) struct Tail(String);

impl Tail {
    pub(super) fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
        if self.0.len() > 4 * TAIL {
            self.0 = tail(self.0.as_bytes()) + "\n";
        }
    }

    pub(super) fn text(&self) -> String {
        tail(self.0.as_bytes())
    }
}

/// The lines of a command, as they come; the channel ends when nobody holds the output open any more.
pub(super) fn lines_of(reader: Arc<duct::ReaderHandle>) -> Receiver<String> {
    let (send, receive) = sync_channel(WAITING);
    std::thread::spawn(move || {
        let mut output = BufReader::new(&*reader);
        let mut line = Vec::new();
        while let Ok(read) = read_line(&mut output, &mut line)
            && read > 0
        {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']).to_owned();
            if send.send(text).is_err() {
                break;
            }
            line.clear();
        }
    });
    receive
}

/// Reads to the end of a line, of which no more than [`LINE`] bytes are kept; returns how many there were.
fn read_line(output: &mut impl std::io::BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut read = 0;
    loop {
        let buffer = match output.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            return Ok(read);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        let kept = taken.min(LINE.saturating_sub(line.len()));
        line.extend_from_slice(&buffer[..kept]);
        output.consume(taken);
        read += taken;
        if end.is_some() {
            return Ok(read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_end_is_cut_and_the_next_one_is_whole() {
        let text = [vec![b'x'; LINE + 5], b"\nnext\nlast".to_vec()].concat();
        let (mut output, mut line) = (BufReader::new(text.as_slice()), Vec::new());
        assert_eq!(read_line(&mut output, &mut line).unwrap(), LINE + 6);
        assert_eq!(line.len(), LINE);
        for expected in [&b"next\n"[..], b"last", b""] {
            line.clear();
            read_line(&mut output, &mut line).unwrap();
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn a_signal_is_named() {
        let killed = Status::from(ExitStatus::from_raw(9));
        assert_eq!(killed.to_string(), "signal 9 (SIGKILL)");
        assert_eq!(
            Status::from(ExitStatus::from_raw(3 << 8)).to_string(),
            "exit 3"
        );
    }
}
