//! A suite that is about to run: its service, its variables, its time, and where its tests are reported.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e_report::{Event, Outcome};

use crate::process::{Command, Runner};
use crate::reporter::Reporter;
use crate::run::session::SUITE;
use crate::table::service::Service;

/// How long a suite may take to end by itself, once its deadline or a signal ends it: its own clean-up runs, and its reports are
/// written.
const GRACE: Duration = Duration::from_secs(8);

/// A suite that is about to run.
pub(super) struct SuiteRun<'a> {
    /// For its processes.
    pub(super) runner: &'a Runner,
    /// What its tests are reported to.
    pub(super) report: &'a Reporter,
    /// The service.
    pub(super) service: &'a Service,
    /// Its variables.
    pub(super) environment: &'a BTreeMap<String, String>,
    /// How long all of it may take.
    pub(super) deadline: Duration,
}

impl SuiteRun<'_> {
    /// A command with the suite's variables, deadline and grace.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let command = self.runner.command(program);
        let command = command.deadline(self.deadline).grace(GRACE).label(SUITE);
        self.environment
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value))
    }

    pub(super) fn emit(&self, name: String, outcome: Outcome, seconds: Option<f64>, text: String) {
        self.report.emit(Event::Test {
            service: self.service.name.clone(),
            name,
            outcome,
            seconds,
            text,
        });
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
