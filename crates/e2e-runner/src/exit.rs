//! Exit codes, and the failure that carries one.

use std::fmt;

/// What the process answers to its caller. The README's table and these constants are held equal by a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done and every test passed.
    Passed = 0,
    /// The suite ran and did not pass.
    TestsFailed = 1,
    /// The command line, the table of services or a name is wrong.
    Usage = 2,
    /// Something the run needs is missing before anything was made.
    Preflight = 3,
    /// Cluster, PostgreSQL, image or service could not be set up.
    Setup = 4,
    /// A migration failed.
    Migration = 5,
    /// A deadline passed.
    Deadline = 6,
    /// All else passed, yet something was left behind.
    LeftBehind = 7,
    /// Something is pending or missing (`status`, `verify`).
    Pending = 10,
    /// The database has another shape than the schema says.
    Drift = 11,
    /// SIGHUP.
    HungUp = 129,
    /// SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Every code with the line that the README shows for it.
    pub const TABLE: [(Self, &'static str); 13] = [
        (Self::Passed, "passed"),
        (Self::TestsFailed, "tests failed"),
        (
            Self::Usage,
            "usage: a flag, a name or the table of services is wrong",
        ),
        (
            Self::Preflight,
            "preflight: something the run needs is missing; nothing was made",
        ),
        (
            Self::Setup,
            "set-up failed: cluster, PostgreSQL, image or service",
        ),
        (Self::Migration, "migration failed"),
        (Self::Deadline, "a deadline passed"),
        (
            Self::LeftBehind,
            "all else passed, but something was left behind",
        ),
        (
            Self::Pending,
            "pending or missing (`migrate status`, `migrate verify`)",
        ),
        (
            Self::Drift,
            "drift: the database has another shape than the schema",
        ),
        (Self::HungUp, "hung up (SIGHUP)"),
        (Self::Interrupted, "interrupted (SIGINT)"),
        (Self::Terminated, "terminated (SIGTERM)"),
    ];

    /// The table as the help shows it.
    pub fn help() -> String {
        let rows = Self::TABLE
            .iter()
            .map(|(exit, meaning)| format!("  {:>3}  {meaning}", exit.code()));
        format!("Exit codes:\n{}", rows.collect::<Vec<_>>().join("\n"))
    }

    /// The number handed to the operating system.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// A failure told to a person: a summary, the detail behind it, a hint at the next move, and the exit code.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The code that the process answers.
    pub exit: Exit,
    /// What failed, as one sentence without a period.
    pub summary: String,
    /// Evidence, such as the last state seen or the tail of a log; may have several lines.
    pub detail: Option<String>,
    /// The next move, as a command or a sentence.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with nothing but its sentence.
    pub fn new(exit: Exit, summary: impl Into<String>) -> Self {
        Self {
            exit,
            summary: summary.into(),
            detail: None,
            hint: None,
        }
    }

    /// A set-up failure told by an error of another kind, its causes included.
    pub fn setup(error: impl fmt::Display) -> Self {
        Self::new(Exit::Setup, format!("{error:#}"))
    }

    /// Adds the evidence; an empty text adds none.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into()).filter(|text| !text.trim().is_empty());
        self
    }

    /// Adds the next move.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)?;
        if let Some(detail) = &self.detail {
            write!(
                f,
                "\n  detail: {}",
                detail.trim_end().replace('\n', "\n          ")
            )?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// The exit code of an error: that of the failure in its chain, else [`Exit::Setup`].
pub fn exit_of(error: &anyhow::Error) -> Exit {
    error
        .downcast_ref::<Failure>()
        .map_or(Exit::Setup, |failure| failure.exit)
}
