//! cargo: builds Data Storage, the suites and the fetcher from the checkout, and programs of a team's own workspace.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::paths::Paths;
use crate::process::{Command, Runner};
use crate::settings::cargo;
use crate::table::image::Cargo;
use crate::tools::compiler::{self, Line};

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
        command = linked_statically(command, false);
    }
    executable(&command.deadline(deadline), runner, package, on_line)
}

/// Builds a static program of a team's own workspace and returns its path. With `coverage` it writes at its exit which lines ran.
pub fn build_program(
    runner: &Runner,
    cargo: &Cargo,
    root: &Path,
    coverage: bool,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    let (package, name) = (&cargo.cargo, cargo.bin.as_ref().unwrap_or(&cargo.cargo));
    let dir = root.join(&cargo.dir);
    if !BUILDS_STATIC {
        let what = format!("{name} cannot be built here as a static program for a node");
        return Err(Failure::new(Exit::Setup, what)
            .hint("build its image by a Dockerfile: `build = \"DIRECTORY\"`"));
    }
    let build = ["build", "--release", "--package", package, "--bin", name];
    let command = in_directory(runner, &dir).args(build);
    let command = linked_statically(command, coverage).args(&cargo.args);
    let command = command.deadline(Duration::MAX);
    executable(&command, runner, name, on_line).map_err(|failure| {
        let retry = format!("cd {} && cargo {}", dir.display(), build.join(" "));
        failure.hint(retry)
    })
}

/// With the target named, so that what runs while it compiles, such as macros, stays as it has to be.
fn linked_statically(command: Command, coverage: bool) -> Command {
    let flags = if coverage {
        "-Ctarget-feature=+crt-static -Cinstrument-coverage"
    } else {
        "-Ctarget-feature=+crt-static"
    };
    command
        .args(["--target", STATIC_TARGET])
        .env("RUSTFLAGS", flags)
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
    in_directory(runner, &paths.source)
}

fn in_directory(runner: &Runner, dir: &Path) -> Command {
    runner
        .command(cargo())
        .dir(dir)
        .env("CARGO_TERM_COLOR", "never")
}

fn executable(
    command: &Command,
    runner: &Runner,
    name: &str,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    let command = command
        .clone()
        .args(["--message-format", "json-render-diagnostics"]);
    let mut found = None;
    let is = |line: &str| {
        let Ok(message) = serde_json::from_str::<Message>(line) else {
            return Line::Said;
        };
        let of_name = message.target.is_some_and(|target| target.name == name);
        if message.reason == "compiler-artifact" && of_name {
            found = message.executable.or(found.take());
        }
        Line::Hidden
    };
    let (status, said) = compiler::run(&command, on_line, is)
        .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    match found {
        Some(path) if status.is_success() => Ok(path),
        _ => {
            let what = format!("`{}` built nothing ({status})", command.line());
            Err(Failure::new(Exit::Setup, what).detail(compiler::shown(&said)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::cancel::Cancel;
    use crate::tools::elf;

    #[test]
    fn a_program_of_a_team_s_workspace_is_static_and_one_that_is_not_there_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in [
            (
                "Cargo.toml",
                "[workspace]\n[package]\nname = \"team\"\nedition = \"2021\"\n",
            ),
            ("src/bin/server.rs", "fn main() {}\n"),
        ] {
            let path = dir.path().join("rust").join(path);
            let parent = path.parent().expect("a directory above");
            std::fs::create_dir_all(parent).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        let built = |bin: &str| {
            let cargo = Cargo {
                cargo: "team".to_owned(),
                bin: Some(bin.to_owned()),
                dir: PathBuf::from("rust"),
                args: vec!["--target-dir".to_owned(), "out".to_owned()],
            };
            let runner = Runner::new(Cancel::default());
            build_program(&runner, &cargo, dir.path(), false, |_| {})
        };
        if !BUILDS_STATIC {
            let failure = built("server").expect_err("no such host");
            assert!(failure.hint.is_some_and(|hint| hint.contains("Dockerfile")));
            return;
        }
        let program = built("server").expect("it builds");
        assert!(program.starts_with(dir.path()), "{}", program.display());
        let program = std::fs::read(program).expect("the program");
        assert!(program.starts_with(b"\x7fELF") && !elf::is_dynamic(&program));
        let failure = built("client").expect_err("no such program");
        assert!(failure.to_string().contains("client"), "{failure}");
        assert!(
            failure
                .hint
                .is_some_and(|hint| hint.contains("cargo build"))
        );
    }
}
