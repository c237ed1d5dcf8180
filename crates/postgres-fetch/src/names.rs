//! The look-up of host names where this program, which may be static, cannot do it by itself.

use std::io;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use host_names::{Names, PROGRAM, QUESTION};

/// How long a look-up may take.
const LOOK_UP: Duration = Duration::from_secs(20);

/// How names are looked up here; `None` leaves it to the C library.
pub(crate) fn of_machine() -> Option<Names> {
    Names::of_machine(ask)
}

fn ask(name: &str) -> io::Result<String> {
    let mut command = Command::new(PROGRAM);
    command.args([QUESTION, name]).stdin(Stdio::null());
    let (told, heard) = mpsc::channel();
    // One that does not end is left behind: it is not the time of this program that it takes.
    std::thread::spawn(move || told.send(command.output()));
    let late = |_| {
        let what = format!("{PROGRAM} did not end within {} s", LOOK_UP.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, what)
    };
    let output = heard.recv_timeout(LOOK_UP).map_err(late)?;
    let output = output.map_err(|error| {
        let what =
            format!("{PROGRAM}, which looks names up on this machine, cannot be run: {error}");
        io::Error::new(error.kind(), what)
    })?;
    if !output.status.success() {
        let said = format!("`{PROGRAM} {QUESTION} {name}`: {}", output.status);
        return Err(io::Error::other(said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_machine_knows_itself_and_says_of_what_it_does_not_know() {
        let known = ask("localhost").expect("an answer");
        assert!(
            known.starts_with("127.0.0.1 ") || known.starts_with("::1 "),
            "{known}"
        );
        let unknown = ask("host.invalid").expect_err("no such host").to_string();
        assert!(unknown.contains("getent ahosts host.invalid"), "{unknown}");
    }
}
