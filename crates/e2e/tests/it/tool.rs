//! The tool that made the environment, asked for something that a suite cannot do itself.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::environment::variable;

/// Longest time for it to end.
const DEADLINE: Duration = Duration::from_mins(1);

/// Runs the tool to its end, whatever that is.
pub(crate) async fn run(args: &[&str]) -> Output {
    let tool = variable(e2e_env::TOOL);
    let output = Command::new(&tool)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(DEADLINE, output)
        .await
        .unwrap_or_else(|_| {
            panic!(
                "`{tool} {}` did not end within {DEADLINE:?}",
                args.join(" ")
            )
        })
        .unwrap_or_else(|error| panic!("`{tool}` does not start: {error}"))
}
