//! The first hour of a newcomer: from a clean copy of the checkout, an empty target directory and empty caches to the first green.
//!
//! What cargo downloads is there already: a registry's speed is not the workspace's. What is not committed is not in the copy.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bench::disk::taken;
use bench::row::{Bound, Measured, Row, Topic};
use bench::tool::{checkout as source, clean};
use clap::{Parser, ValueEnum};

/// Measures the first run on a machine
#[derive(Debug, Parser)]
struct Args {
    /// Where the service and its Data Storage run
    #[arg(long, value_enum, default_value_t = Target::Local)]
    target: Target,
    /// Adds what was found to this file, a line of JSON for each row
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Half of what it took when the goal was set.
const GOAL: Duration = Duration::from_secs(267);
/// The most packages that a first run is to compile.
const PACKAGES: f64 = 160.0;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    Local,
    Kind,
}

/// What a run printed, and when.
#[derive(Default)]
struct Seen {
    /// Until the tool's own first line.
    first: Option<Duration>,
    /// The stages that ended, as they say themselves.
    stages: Vec<String>,
    /// How often each package was compiled.
    compiled: BTreeMap<String, usize>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let target = match args.target {
        Target::Local => "local",
        Target::Kind => "kind",
    };
    let dir = tempfile::tempdir()?;
    // The account that runs PostgreSQL for root has to reach the cache.
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))?;
    let [checkout, built, cache] =
        ["checkout", "target", "cache"].map(|name| dir.path().join(name));
    let mut clone = Command::new("git");
    clone
        .args(["clone", "--quiet"])
        .arg(source())
        .arg(&checkout);
    ensure!(clone.status()?.success(), "{clone:?} failed");
    let mut fetch = Command::new("cargo");
    fetch.args(["fetch", "--quiet"]).current_dir(&checkout);
    ensure!(fetch.status()?.success(), "{fetch:?} failed");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);

    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec cargo xtask e2e workflowexecution --target \"$0\" 2>&1",
            target,
        ])
        .current_dir(&checkout)
        .env("CARGO_TARGET_DIR", &built)
        .env("E2E_CACHE_DIR", &cache)
        .env_remove("E2E_SOURCE");
    clean(&mut command);
    let (seen, whole) = run(&mut command)?;

    say(&format!(
        "\nfirst run, {target}: {cores} cores, load at its start {}",
        load.trim()
    ));
    let first = seen.first.context("the tool printed nothing")?;
    row("the tool's first line after", &seconds(first));
    for stage in &seen.stages {
        say(&format!("  {stage}"));
    }
    row("green after", &seconds(whole));
    let twice: Vec<_> = seen
        .compiled
        .iter()
        .filter(|(_, count)| **count > 1)
        .collect();
    row("packages compiled", &seen.compiled.len().to_string());
    row("of them more than once", &twice.len().to_string());
    row("target directory", &megabytes(&built));
    row("cache", &megabytes(&cache));
    let time = Measured::new(whole.as_secs_f64(), "s").goal(Bound::AtMost(GOAL.as_secs_f64()));
    let count = u32::try_from(seen.compiled.len())?;
    let packages = Measured::new(f64::from(count), "crates").goal(Bound::AtMost(PACKAGES));
    for (what, figure) in [
        ("empty target directory to the first green", time),
        ("crates that it compiles", packages),
    ] {
        let what = format!("{what}, `--target {target}`");
        Row::measured(Topic::FirstRun, &what, figure).append_to(args.json.as_deref())?;
    }
    Ok(())
}

/// Runs to success and returns what was seen, and how long it took.
fn run(command: &mut Command) -> anyhow::Result<(Seen, Duration)> {
    let mut seen = Seen::default();
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let output = child.stdout.take().context("a pipe was asked for")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some((_, package)) = line.split_once("Compiling ") {
            let package = package.split(" (").next().unwrap_or(package);
            *seen.compiled.entry(package.to_owned()).or_default() += 1;
            continue;
        }
        say(&format!("{:>6.1}  {line}", began.elapsed().as_secs_f64()));
        if line.starts_with("run workflowexecution-") {
            seen.first = Some(began.elapsed());
        }
        // Of a green run: the mark of a stage that ended well.
        if let Some(stage) = line.trim_start().strip_prefix("✓ ") {
            seen.stages.push(stage.to_owned());
        }
    }
    ensure!(child.wait()?.success(), "the run is not green");
    Ok((seen, began.elapsed()))
}

fn megabytes(dir: &Path) -> String {
    format!("{} MB", taken(dir) / 1_000_000)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn row(what: &str, value: &str) {
    say(&format!("{what:<28} {value:>10}"));
}

fn say(line: &str) {
    // Nobody may be reading any more; the measurement goes on to its clean-up all the same.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}
