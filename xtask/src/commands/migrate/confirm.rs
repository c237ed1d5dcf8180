//! Asking a person before something is lost.

use std::io::{BufRead as _, IsTerminal as _};

use tokio_util::sync::CancellationToken;

use crate::terminal;

/// Whether somebody can be asked.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Shows `what` and waits for an answer; anything but yes is no. `None` when the run was cancelled meanwhile.
pub async fn is_confirmed(what: &str, cancelled: &CancellationToken) -> Option<bool> {
    terminal::message(&format!("{what}\nrevert them? type yes to go on"));
    let (answer, answered) = tokio::sync::oneshot::channel();
    // A thread of its own: nothing ends a read from a terminal, and the runtime would wait for it.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        // Nobody receives it once the run was cancelled.
        answer
            .send(read.is_ok() && line.trim().eq_ignore_ascii_case("yes"))
            .ok();
    });
    tokio::select! {
        () = cancelled.cancelled() => None,
        answer = answered => Some(answer.unwrap_or(false)),
    }
}
