//! A suite that is about to run: its service, its variables, its time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::process::{Command, Runner};
use crate::reporter::Reporter;
use crate::run::session::SUITE;
use crate::table::service::Service;
use crate::table::suite::Suite;

/// How long a suite may take to end by itself, once its deadline or a signal ends it: its own clean-up runs, and its reports are
/// written.
const GRACE: Duration = Duration::from_secs(8);

/// A suite that is about to run.
pub(super) struct SuiteRun<'a> {
    /// For its processes.
    pub(super) runner: &'a Runner,
    /// For what is worth knowing.
    pub(super) report: &'a Reporter,
    /// The service.
    pub(super) service: &'a Service,
    /// Its entry in the table.
    pub(super) suite: &'a Suite,
    /// Its variables.
    pub(super) environment: BTreeMap<String, String>,
}

impl SuiteRun<'_> {
    /// A command with the suite's variables, deadline and grace.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let command = self.runner.command(program);
        let command = command.deadline(self.suite.deadline());
        let command = command.grace(GRACE).label(SUITE);
        self.environment
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value))
    }

    pub(super) fn note_leak(&self, leaked: bool) {
        if leaked {
            self.report.note(&format!(
                "the suite of {} ended and left a process in the background that holds its output open; it ends with the environment",
                self.service.name
            ));
        }
    }
}
