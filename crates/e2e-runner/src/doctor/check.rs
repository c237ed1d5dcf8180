//! One check: its target, its result, its fix.

use serde::Serialize;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// A run works, and something about it will surprise.
    Warning,
    /// It stops every run on the target.
    Problem,
}

/// Which targets a thing is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum For {
    /// Only a Kind cluster needs it.
    Kind,
    /// Only processes of this machine need it.
    Local,
    /// Only a run on an existing cluster needs it.
    Cluster,
    /// All of them.
    Both,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What it is.
    pub name: &'static str,
    /// Who needs it.
    pub target: For,
    /// How it stands.
    pub level: Level,
    /// What was seen.
    pub detail: String,
    /// The line that puts it right.
    pub fix: Option<String>,
}

impl Check {
    /// Something as it should be.
    pub fn ok(name: &'static str, target: For, detail: impl Into<String>) -> Self {
        Self {
            name,
            target,
            level: Level::Ok,
            detail: detail.into(),
            fix: None,
        }
    }

    /// Something that is not, with what puts it right.
    #[must_use]
    pub fn with_problem(mut self, level: Level, fix: impl Into<String>) -> Self {
        self.level = level;
        self.fix = Some(fix.into());
        self
    }
}
