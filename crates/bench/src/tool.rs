//! The tool as it is started: typed, through cargo, or as a program that is built already.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// A way to start the tool.
#[derive(Clone, Debug)]
pub enum Tool {
    /// `cargo xtask` in the checkout, as people type it: cargo looks first whether it is built.
    Typed,
    /// A program.
    Program(PathBuf),
}

impl Tool {
    /// A command of the tool, without arguments.
    pub fn command(&self) -> Command {
        let mut command = match self {
            Self::Typed => {
                let mut command = Command::new("cargo");
                command.arg("xtask").current_dir(checkout());
                command
            }
            Self::Program(program) => Command::new(program),
        };
        clean(&mut command);
        command
    }
}

/// The checkout that this benchmark was built from.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Takes away what cargo tells the program that it runs about its package: a cargo within it would build anew for it.
pub fn clean(command: &mut Command) {
    let of_package =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_package) {
            command.env_remove(name);
        }
    }
}

/// Refuses what a compiler had a part in: its time is not the tool's.
///
/// # Errors
/// If cargo has said that it compiled something.
pub fn ensure_built(said: &[u8]) -> anyhow::Result<()> {
    let said = String::from_utf8_lossy(said);
    let mut lines = said.lines().map(str::trim_start);
    match lines.find(|line| line.starts_with("Compiling ")) {
        Some(line) => anyhow::bail!("cargo built within the measurement ({line}); run it again"),
        None => Ok(()),
    }
}

/// Runs a command that has to succeed, and how long it took.
///
/// # Errors
/// If it cannot be started or fails; the end of what it said is in the error.
pub fn timed(command: &mut Command) -> anyhow::Result<(Duration, Output)> {
    let began = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "{} ended with {}: {}",
        shown(command),
        output.status,
        cause(&said)
    );
    Ok((took, output))
}

/// A command as it is typed.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Why something failed, from what it said, as one line: what it calls its error, with its hint, else its last three lines.
pub fn cause(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.collect();
    let called = |name: &str| lines.iter().rfind(|line| line.starts_with(name));
    match called("error: ") {
        Some(error) => [Some(error), called("hint: ")]
            .into_iter()
            .flatten()
            .copied()
            .collect::<Vec<_>>()
            .join("; "),
        None => lines[lines.len().saturating_sub(3)..].join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cargo_within_is_not_told_of_this_package() {
        let mut command = Command::new("env");
        clean(&mut command);
        let (_, output) = timed(&mut command).expect("the environment");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        // Of this test cargo has told both.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        assert!(
            !told.contains("CARGO_MANIFEST_") && !told.contains("CARGO_PKG_"),
            "{told}"
        );
    }

    #[test]
    fn what_a_compiler_had_a_part_in_is_no_figure() {
        let quick = b"    Finished `dev` profile\n     Running `target/debug/xtask`\n";
        assert!(ensure_built(quick).is_ok());
        let slow = b"   Compiling ring v0.17.14\n    Finished `dev` profile\n";
        let error = ensure_built(slow).expect_err("it was built");
        assert!(error.to_string().contains("ring v0.17.14"), "{error}");
    }

    #[test]
    fn a_command_that_fails_is_told_with_its_error_or_its_last_lines() {
        let script = "echo first >&2; echo >&2; for i in 2 3 4; do echo line $i >&2; done; exit 3";
        let failed = timed(Command::new("sh").args(["-c", script]));
        let error = failed.expect_err("it fails").to_string();
        assert!(
            error.ends_with("exit status: 3: line 2; line 3; line 4"),
            "{error}"
        );
        let said = "error: 2 of 14 tests failed\n  detail: at one\n  at two\n  at three\n  hint: see the log\n";
        assert_eq!(
            cause(said),
            "error: 2 of 14 tests failed; hint: see the log"
        );
    }
}
