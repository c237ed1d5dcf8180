//! `cargo xtask flakes`: the tests that both passed and failed lately on this machine.

use std::fmt::Write as _;

use serde_json::json;

use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Door;
use e2e_runner::reports;

/// Runs the verb.
pub fn run(door: &Door, json: bool) -> anyhow::Result<Exit> {
    let tests = reports::tests(&Paths::find(door)?.runs());
    let flaky = tests.flaky();
    if json {
        let list: Vec<_> = flaky
            .iter()
            .map(|(name, record)| json!({"test": name, "record": record}))
            .collect();
        let document = json!({"version": 1, "verb": "flakes", "exit": 0, "result": {"known": tests.count(), "flaky": list}});
        terminal::print(&serde_json::to_string_pretty(&document)?);
        return Ok(Exit::Passed);
    }
    if flaky.is_empty() {
        terminal::print(&format!("none of {} known tests is flaky", tests.count()));
        return Ok(Exit::Passed);
    }
    let mut text = String::new();
    for (name, record) in flaky {
        let (failed, of) = (record.recent.matches('F').count(), record.recent.len());
        writeln!(
            text,
            "{name}\n    failed {failed} of the last {of} times: {}",
            record.recent
        )?;
    }
    terminal::print(&text);
    Ok(Exit::Passed)
}
