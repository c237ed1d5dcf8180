//! cargo: builds the programs of a run and the suites from the checkout, and programs of a team's own workspace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::bundle;
use crate::exit::{Exit, Failure};
use crate::paths::Paths;
use crate::process::{Command, Runner};
use crate::settings::{cargo, cargo_home};
use crate::table::image::Cargo;
use crate::tools::compiler::{self, Line};

/// The target of the static programs that become images from scratch (D6). The local target has its own, which share what the tool
/// is compiled from.
pub const STATIC_TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// The package that has no code and all the features that the tool was compiled with: named in a call, dependencies get them too.
const FEATURES: [&str; 2] = ["--package", "one-build"];

/// Whether this host builds the binary that a node runs.
pub const BUILDS_STATIC: bool = cfg!(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
));

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

/// How programs of the checkout are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For this machine, as the tool itself was: what the two have in common is compiled already.
    Dev,
    /// For a node: optimised and, on Linux, static.
    Release,
}

/// Builds programs of the checkout, each named as its package, by one call, so that what they share is compiled once; returns where
/// each lies.
///
/// The suites are not among them: cargo takes `--test` for all the packages that it is given, and the features that their own tests
/// ask of a dependency with it.
pub fn build_binaries(
    runner: &Runner,
    paths: &Paths,
    packages: &[&str],
    form: Form,
    deadline: Duration,
    on_line: impl FnMut(&str),
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut command = in_checkout(runner, paths).arg("build");
    for package in packages {
        command = command.args(["--package", package, "--bin", package]);
    }
    command = command.args(features(packages));
    command = match form {
        Form::Dev => command.args(FEATURES),
        Form::Release if BUILDS_STATIC => released(command, paths),
        Form::Release => command.arg("--release"),
    };
    executables(&command.deadline(deadline), runner, packages, on_line)
}

/// The features that programs of these packages are built with: one of them is off in a build of the whole workspace.
pub fn features(packages: &[&str]) -> &'static [&'static str] {
    if packages.contains(&bundle::PUSHER) {
        &["--features", "image-push/registry"]
    } else {
        &[]
    }
}

/// Static, in release form.
fn released(command: Command, paths: &Paths) -> Command {
    command
        .args(["--release", "--target", STATIC_TARGET])
        .env("CARGO_ENCODED_RUSTFLAGS", flags(paths))
}

/// The compiler's flags for a static program that holds no path of the machine that built it: the same bytes from any checkout.
fn flags(paths: &Paths) -> String {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    let places = [
        (Some(paths.source.clone()), "kubernaut-e2e"),
        (cargo_home(), "cargo"),
        (Some(paths.target.clone()), "target"),
    ];
    for (place, name) in places {
        flags.extend(place.map(|place| format!("--remap-path-prefix={}=/{name}", place.display())));
    }
    // The separator that cargo reads this variable with, so that paths may hold spaces.
    flags.join("\u{1f}")
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
    let command = in_checkout(runner, paths)
        .args(["test", "--no-run", "--package", package, "--test", "it"])
        .args(FEATURES);
    executable(&command.deadline(deadline), runner, "it", on_line)
}

/// Builds a package's integration test binary as a static program in release form and returns its path.
pub fn build_static_tests(
    runner: &Runner,
    paths: &Paths,
    package: &str,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    let command =
        in_checkout(runner, paths).args(["test", "--no-run", "--package", package, "--test", "it"]);
    let command = released(command, paths).deadline(Duration::MAX);
    executable(&command, runner, "it", on_line)
}

fn in_checkout(runner: &Runner, paths: &Paths) -> Command {
    in_directory(runner, &paths.source)
}

fn in_directory(runner: &Runner, dir: &Path) -> Command {
    runner
        .command(cargo())
        .dir(dir)
        .env("CARGO_TERM_COLOR", "never")
        // Into a pipe cargo says how far it is only where it is told to, and how wide that may be.
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
}

fn executable(
    command: &Command,
    runner: &Runner,
    name: &str,
    on_line: impl FnMut(&str),
) -> Result<PathBuf, Failure> {
    let mut found = executables(command, runner, &[name], on_line)?;
    found
        .remove(name)
        .ok_or_else(|| Failure::new(Exit::Setup, format!("cargo built no {name}")))
}

/// Runs cargo and returns where the executables of these names are, all of them.
fn executables(
    command: &Command,
    runner: &Runner,
    names: &[&str],
    on_line: impl FnMut(&str),
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let command = command
        .clone()
        .args(["--message-format", "json-render-diagnostics"]);
    let (mut found, mut far) = (BTreeMap::new(), String::new());
    let is = |line: &str| {
        // What it says of its progress ends with a carriage return and stands before what else it prints.
        let (before, line) = line.rsplit_once('\r').unwrap_or(("", line));
        if let Some(now) = before.rsplit('\r').find_map(progress) {
            far = now;
        }
        if let Ok(message) = serde_json::from_str::<Message>(line) {
            let name = message.target.map(|target| target.name);
            let name = name.filter(|name| names.contains(&name.as_str()));
            if message.reason == "compiler-artifact"
                && let (Some(name), Some(executable)) = (name, message.executable)
            {
                found.insert(name, executable);
            }
            return match far.as_str() {
                "" => Line::Hidden,
                far => Line::At(far.to_owned()),
            };
        }
        // A name alone does not say how much is still to come.
        let count = far.split(':').next().filter(|count| !count.is_empty());
        Line::Said(match count {
            Some(count) if line.trim_start().starts_with("Compiling ") => {
                format!("{count} {}", line.trim_start())
            }
            _ => line.to_owned(),
        })
    };
    let (status, said) = compiler::run(&command, on_line, is)
        .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    if status.is_success() && names.iter().all(|name| found.contains_key(*name)) {
        return Ok(found);
    }
    let broken = said.iter().find_map(|line| {
        let rest = line.strip_prefix("error: could not compile `")?;
        rest.split('`').next()
    });
    let line = command.line();
    let what = match broken {
        Some(package) => format!("{package} does not compile: `{line}` ended with {status}"),
        None => format!("`{line}` built nothing ({status})"),
    };
    Err(Failure::new(Exit::Setup, what).detail(compiler::shown(&said)))
}

/// `45/120: tokio, hyper` of a line in which cargo says so.
fn progress(text: &str) -> Option<String> {
    let (_, at) = text
        .trim_start()
        .strip_prefix("Building [")?
        .split_once("] ")?;
    Some(at.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::cancel::Cancel;
    use crate::tools::elf;

    #[test]
    fn what_cargo_says_of_its_progress_is_read() {
        let said = "    Building [==>     ] 12/145: ring(build), toml            ";
        assert_eq!(progress(said).as_deref(), Some("12/145: ring(build), toml"));
        assert_eq!(progress("   Compiling toml v1.2.1"), None);
    }

    #[test]
    fn a_package_that_does_not_compile_is_named_with_its_error_and_what_compiles_with_its_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace =
            "[workspace]\nmembers = [\"sound\", \"broken\", \"one-build\"]\nresolver = \"3\"\n";
        std::fs::write(dir.path().join("Cargo.toml"), workspace).expect("a file");
        let on_features = "[dependencies]\none-build = { path = \"../one-build\" }\n";
        for (name, file, text, dependencies) in [
            ("sound", "main.rs", "fn main() {}\n", on_features),
            ("broken", "main.rs", "fn main() { nonsense }\n", ""),
            ("one-build", "lib.rs", "", ""),
        ] {
            let package = dir.path().join(name);
            std::fs::create_dir_all(package.join("src")).expect("a directory");
            let manifest =
                format!("[package]\nname = \"{name}\"\nedition = \"2021\"\n{dependencies}");
            std::fs::write(package.join("Cargo.toml"), manifest).expect("a file");
            std::fs::write(package.join("src").join(file), text).expect("a file");
        }
        let paths = Paths {
            source: dir.path().to_owned(),
            target: dir.path().join("target"),
        };
        let runner = Runner::new(Cancel::default()).env("CARGO_TARGET_DIR", &paths.target);
        let mut lines = Vec::new();
        let mut built = |packages: &[&str]| {
            build_binaries(
                &runner,
                &paths,
                packages,
                Form::Dev,
                Duration::MAX,
                |line| {
                    lines.push(line.to_owned());
                },
            )
        };
        let programs = built(&["sound"]).expect("it builds");
        assert!(programs["sound"].is_file(), "{programs:?}");
        let failure = built(&["sound", "broken"]).expect_err("it does not compile");
        assert!(
            failure.summary.starts_with("broken does not compile: "),
            "{failure}"
        );
        assert!(
            failure
                .detail
                .as_ref()
                .is_some_and(|detail| detail.contains("nonsense")),
            "{failure}"
        );
        let counted = |line: &String| line.contains("/2 Compiling sound ");
        assert!(lines.iter().any(counted), "{lines:?}");
    }

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
