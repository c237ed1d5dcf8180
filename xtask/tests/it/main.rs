//! What the command line promises: help, usage errors, plans, exit codes.

mod architecture;
mod cleanup;
mod cluster;
mod coverage;
mod diagnose;
mod doctor;
mod documents;
mod given;
mod inputs;
mod lifecycle;
mod local;
mod migrate;
mod modules;
mod negative;
mod own;
mod packages;
mod parts;
mod place;
mod progress;
mod red;
mod renewal;
mod reports;
mod sharding;
mod shell;
mod suites;
mod table;
mod team;
mod tls;
mod tunnel;
mod usage;
mod versions;
mod workflows;

use std::process::{Command, Output};

/// The tool as it was built for this test.
fn xtask(args: &[&str]) -> Command {
    // A target directory of its own: what this machine has learnt from real runs is no part of a golden output.
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("xtask-tests");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(args)
        .env("CARGO_TARGET_DIR", target)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .env_remove("E2E_PROGRESS")
        // Nor is what its Docker holds.
        .env("E2E_PREPARED_NODE", "never")
        // What a test makes fail is no failure of the job that runs the tests.
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_STEP_SUMMARY");
    command
}

/// Runs the tool and returns its exit code and both streams.
fn run(args: &[&str]) -> (i32, String, String) {
    output(&mut xtask(args))
}

/// The same of a command that is put together already.
fn output(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the tool starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}
