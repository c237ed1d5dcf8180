//! getent: host names where the tool, which may be static, cannot look them up by itself.

use std::io;
use std::time::Duration;

use host_names::{Names, PROGRAM, QUESTION};

use crate::process::Runner;

/// How long a look-up may take.
const LOOK_UP: Duration = Duration::from_secs(20);

/// How names are looked up on this machine; `None` leaves it to the C library.
pub fn of_machine(runner: &Runner) -> Option<Names> {
    let runner = runner.clone();
    Names::of_machine(move |name| {
        let question = runner.command(PROGRAM).args([QUESTION, name]);
        question.deadline(LOOK_UP).read().map_err(io::Error::other)
    })
}
