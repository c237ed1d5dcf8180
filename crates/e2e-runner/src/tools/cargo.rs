//! cargo: builds Data Storage, the suites and the fetcher from the checkout.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::paths::Paths;
use crate::process::{Command, Runner};
use crate::settings::cargo;

/// The target of the static Data Storage binary, the same file for a scratch image and for this machine (D6).
pub const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Whether this host builds the binary that a node runs.
pub const BUILDS_STATIC: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds a binary of the workspace in release form and returns its path. On Linux it is static.
pub fn build_binary(
    runner: &Runner,
    paths: &Paths,
    package: &str,
    deadline: Duration,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    let mut command = in_checkout(runner, paths).args([
        "build",
        "--release",
        "--package",
        package,
        "--bin",
        package,
    ]);
    if BUILDS_STATIC {
        command = command
            .args(["--target", STATIC_TARGET])
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    }
    executable(&command.deadline(deadline), runner, package, on_line)
}

/// Builds a package's integration test binary and returns its path.
pub fn build_tests(
    runner: &Runner,
    paths: &Paths,
    package: &str,
    deadline: Duration,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    let command =
        in_checkout(runner, paths).args(["test", "--no-run", "--package", package, "--test", "it"]);
    executable(&command.deadline(deadline), runner, "it", on_line)
}

/// Where the fetcher of PostgreSQL's binaries lies: a workspace of its own, which nothing links.
const FETCHER: &str = "crates/postgres-fetch/Cargo.toml";

/// Fetches PostgreSQL's binaries into the cache, and returns the directory that holds them.
pub fn fetch_postgres(
    runner: &Runner,
    paths: &Paths,
    deadline: Duration,
) -> Result<String, Failure> {
    in_checkout(runner, paths)
        .args(["run", "--quiet", "--manifest-path", FETCHER])
        .deadline(deadline)
        .read()
        .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))
}

fn in_checkout(runner: &Runner, paths: &Paths) -> Command {
    runner
        .command(cargo())
        .dir(&paths.source)
        .env("CARGO_TERM_COLOR", "never")
}

fn executable(
    command: &Command,
    runner: &Runner,
    name: &str,
    mut on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    let command = command
        .clone()
        .args(["--message-format", "json-render-diagnostics"]);
    let mut found = None;
    let mut said = Vec::new();
    let status = command
        .stream(|line| match serde_json::from_str::<Message>(line) {
            Ok(message)
                if message.reason == "compiler-artifact"
                    && message
                        .target
                        .as_ref()
                        .is_some_and(|target| target.name == name) =>
            {
                found = message.executable.or(found.take());
            }
            Ok(_) => {}
            Err(_) => {
                said.push(line.to_owned());
                on_line(line);
            }
        })
        .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    match found {
        Some(path) if status.is_success() => Ok(path),
        _ => {
            let from = said
                .iter()
                .position(|line| line.starts_with("error"))
                .unwrap_or(said.len().saturating_sub(12));
            let shown = said[from..]
                .iter()
                .take(20)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n");
            Err(Failure::new(
                Exit::Setup,
                format!("`{}` built nothing ({status})", command.line()),
            )
            .detail(shown))
        }
    }
}
