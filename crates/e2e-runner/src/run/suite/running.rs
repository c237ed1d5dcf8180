//! A suite that is about to run: its service, its variables, its time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::process::{Command, Error};
use crate::run::service_run::ServiceRun;
use crate::run::session::{SUITE, Session};
use crate::run::suite::job::InJob;
use crate::table::suite::Suite;

/// How long a suite may take to end by itself, once its deadline or a signal ends it: its own clean-up runs, and its reports are
/// written.
const GRACE: Duration = Duration::from_secs(8);

/// A suite that is about to run.
pub(super) struct SuiteRun<'a> {
    /// The run that it is a part of.
    pub(super) session: &'a Session,
    /// The service.
    pub(super) service_run: &'a ServiceRun,
    /// What runs it where it is a Job.
    pub(super) in_job: &'a InJob<'a>,
    /// Its entry in the table.
    pub(super) suite: &'a Suite,
    /// Its variables.
    pub(super) environment: BTreeMap<String, String>,
}

impl SuiteRun<'_> {
    /// A command with the suite's variables, deadline and grace.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let command = self.timed(self.session.runner.command(program));
        self.environment
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value))
    }

    /// A command with the suite's deadline and grace.
    pub(super) fn timed(&self, command: Command) -> Command {
        let command = command.deadline(self.suite.deadline());
        command.grace(GRACE).label(SUITE)
    }

    /// Why a command that did not come to its end did not.
    pub(super) fn failed(&self, error: Error) -> Failure {
        error.into_failure(Exit::TestsFailed, self.session.runner.cancel())
    }

    pub(super) fn note_leak(&self, leaked: bool) {
        if leaked {
            self.session.report.note(&format!(
                "the suite of {} ended and left a process in the background that holds its output open; it ends with the environment",
                self.service_run.service.name
            ));
        }
    }
}
