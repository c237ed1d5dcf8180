//! A place where runs without Docker are tried: a target directory of its own, with real binaries.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::process::cancel::Cancel;
use e2e_runner::tools::cargo::{Built, Form, SUITES, Wanted, build};
use serde_json::Value;

use crate::xtask;

/// A target directory of its own, with the runs in it.
pub(crate) struct Place(pub(crate) tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        // Its binaries are there before a run needs them.
        testkit::postgres::installation();
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask(args);
        command
            .env("CARGO_TARGET_DIR", self.0.path())
            .env("E2E_DATASTORAGE_BIN", built("datastorage"))
            .env("E2E_FAKE_BIN", built("service-fake"));
        command
    }

    /// Runs a verb to success and returns standard output and standard error.
    pub(crate) fn run(&self, args: &[&str]) -> (String, String) {
        let output = self.command(args).output().expect("the tool starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {stderr}");
        (String::from_utf8_lossy(&output.stdout).into_owned(), stderr)
    }

    pub(crate) fn up(&self) -> (BTreeMap<String, String>, String) {
        let (stdout, stderr) = self.run(&[
            "up",
            "workflowexecution",
            "--target",
            "local",
            "--format",
            "env",
        ]);
        let pairs = stdout
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        (pairs.collect(), stderr)
    }

    pub(crate) fn states(&self) -> Vec<Value> {
        let runs = fs::read_dir(self.0.path().join("e2e"))
            .into_iter()
            .flatten()
            .flatten();
        runs.filter_map(|run| {
            serde_json::from_str(&fs::read_to_string(run.path().join("state.json")).ok()?).ok()
        })
        .collect()
    }

    /// No state, no process of the runs, no directory of a PostgreSQL server.
    pub(crate) fn assert_clean(&self, runs: &[String], servers: &[PathBuf]) {
        assert_eq!(self.states(), Vec::<Value>::new());
        for run in runs {
            assert_eq!(processes(run), Vec::<String>::new(), "{run} left processes");
        }
        for server in servers {
            assert!(!server.exists(), "{} is left", server.display());
        }
    }
}

/// A program of the workspace, or the suites of a package, built once for all tests here and as a run builds them: by one call, which sees
/// nothing of what cargo tells these tests of their own package.
pub(crate) fn built(package: &str) -> &'static Path {
    static BUILT: LazyLock<Built> = LazyLock::new(|| {
        let runner = Runner::new(Cancel::default());
        let paths = Paths::find(&runner).expect("the checkout");
        let wanted = Wanted {
            programs: &["datastorage", "service-fake"],
            suites: Some(SUITES),
        };
        let deadline = Duration::from_mins(30);
        build(&runner, &paths, wanted, Form::Dev, deadline, |_| {})
            .unwrap_or_else(|failure| panic!("{failure}"))
    });
    &BUILT.executables[package]
}

pub(crate) fn processes(run: &str) -> Vec<String> {
    let mark = format!("E2E_RUN={run}");
    let dirs = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .map(|entry| entry.path());
    dirs.filter(|dir| {
        fs::read(dir.join("environ"))
            .unwrap_or_default()
            .split(|byte| *byte == 0)
            .any(|pair| pair == mark.as_bytes())
    })
    .map(|dir| {
        fs::read_to_string(dir.join("cmdline"))
            .unwrap_or_default()
            .replace('\0', " ")
    })
    .collect()
}
