//! The tests of a service.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// The tests: a module of a package of this workspace, or any command.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Suite {
    /// Cargo package of the checkout whose `it` test holds the module.
    pub package: Option<String>,
    /// Module name, which selects the tests.
    pub module: Option<String>,
    /// A command in any language that exits with 0 when the tests passed.
    pub command: Vec<String>,
    /// Where the command runs.
    pub dir: PathBuf,
    /// The JUnit file that the command writes, whose tests are reported as the tool's own.
    pub junit: Option<PathBuf>,
    deadline_seconds: Option<u64>,
}

/// The tests of a suite, as one of the two kinds.
#[derive(Clone, Copy, Debug)]
pub enum Tests<'a> {
    /// A package and its module.
    Cargo(&'a str, &'a str),
    /// A program with its arguments.
    Command(&'a [String]),
}

impl Suite {
    /// How long the whole suite may take: ten minutes unless the table says otherwise.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds.unwrap_or(600))
    }

    /// What is run.
    pub fn tests(&self) -> Tests<'_> {
        match (&self.package, &self.module) {
            (Some(package), Some(module)) => Tests::Cargo(package, module),
            _ => Tests::Command(&self.command),
        }
    }

    /// The tests in a few words.
    pub fn describe(&self) -> String {
        match self.tests() {
            Tests::Cargo(package, module) => format!("{package}::{module}"),
            Tests::Command(command) => command.join(" "),
        }
    }
}
