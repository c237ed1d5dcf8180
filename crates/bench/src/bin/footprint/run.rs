//! One run of the tool, watched from its start to its end.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bench::processor::Process;
use bench::tool::{Tool, cause};
use serde_json::Value;

/// Between two looks at what runs.
const LOOKS: Duration = Duration::from_millis(200);
/// Between two looks whether it has ended.
const ENDS: Duration = Duration::from_millis(10);

/// A run that has ended well.
pub(crate) struct Run {
    /// From its start to its end.
    pub(crate) seconds: f64,
    /// Processor seconds of the tool, and of all that it or its children have waited for.
    pub(crate) processors: f64,
    /// Where its files are.
    pub(crate) dir: PathBuf,
}

/// Runs `e2e` with these arguments to its end; `look` is called again and again with the tool's process id and, once it has said that,
/// the run's name.
pub(crate) fn run(
    tool: &Tool,
    args: &[&str],
    mut look: impl FnMut(u32, Option<&str>) -> anyhow::Result<()>,
) -> anyhow::Result<Run> {
    let files = tempfile::tempdir()?;
    let [result, complaints] = ["result", "complaints"].map(|name| files.path().join(name));
    let used = || Process::own().map(|own| own.used_by_ended.as_secs_f64());
    let (began, before) = (Instant::now(), used()?);
    let mut child = tool
        .command()
        .arg("e2e")
        .args(args)
        .args(["--format", "json"])
        .stdin(Stdio::null())
        .stdout(File::create(&result)?)
        .stderr(File::create(&complaints)?)
        .spawn()?;
    let mut next = began;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= next {
            let said = std::fs::read_to_string(&complaints)?;
            look(child.id(), name(&said))?;
            next = Instant::now() + LOOKS;
        }
        std::thread::sleep(ENDS);
    };
    let (seconds, processors) = (began.elapsed().as_secs_f64(), used()? - before);
    let said = std::fs::read_to_string(&complaints)?;
    ensure!(
        status.success(),
        "the run ended with {status}: {}",
        cause(&said)
    );
    let document: Value = serde_json::from_str(&std::fs::read_to_string(&result)?)?;
    let dir = document["directory"]
        .as_str()
        .context("the run names no directory")?;
    Ok(Run {
        seconds,
        processors,
        dir: dir.into(),
    })
}

/// The run's name, which is in the tool's first line: `run NAME on TARGET: …`.
fn name(said: &str) -> Option<&str> {
    let line = said.lines().find_map(|line| line.strip_prefix("run "))?;
    line.split_once(" on ").map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_is_named_by_the_tools_first_line() {
        let said = "note: something\nrun gateway-de5756 on local: --target local\n  … preflight\n";
        assert_eq!(name(said), Some("gateway-de5756"));
        assert_eq!(name("run gate"), None);
    }
}
