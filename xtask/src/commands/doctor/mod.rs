//! `cargo xtask doctor`: whether this machine can hold a run, and the line that puts right what would stop one.

mod machine;
mod runs;
mod tools;

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::commands::args::{Format, Target};
use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::process::Door;
use e2e_runner::table::Table;

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The target that must be able to run; `auto` is content with one of the two
    #[arg(long, value_enum, default_value_t = Target::Auto)]
    pub target: Target,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

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
    /// Only a cluster needs it.
    Kind,
    /// Only processes of this machine need it.
    Local,
    /// Both.
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
    pub fn not(mut self, level: Level, fix: impl Into<String>) -> Self {
        self.level = level;
        self.fix = Some(fix.into());
        self
    }
}

/// Runs the verb.
pub fn run(door: &Door, table: &Table, args: &Doctor) -> anyhow::Result<Exit> {
    let mut checks = tools::checks(door);
    checks.extend(machine::checks(door, table));
    checks.extend(runs::checks(door));
    door.cancel().check()?;
    let usable = |target: For| {
        !checks.iter().any(|check| {
            check.level == Level::Problem && (check.target == target || check.target == For::Both)
        })
    };
    let (kind, local) = (usable(For::Kind), usable(For::Local));
    let fit = match args.target {
        Target::Auto => kind || local,
        Target::Kind => kind,
        Target::Local => local,
    };
    let exit = if fit { Exit::Passed } else { Exit::Preflight };
    terminal::print(&match args.format {
        Format::Human => page(&checks, (kind, local)),
        Format::Json => serde_json::to_string_pretty(&json!({
            "version": 1, "verb": "doctor", "exit": exit.code(),
            "result": {"kind": kind, "local": local, "checks": checks},
        }))?,
    });
    Ok(exit)
}

fn page(checks: &[Check], (kind, local): (bool, bool)) -> String {
    let mut text = String::new();
    for check in checks {
        let word = match check.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        writeln!(text, "{word:<8} {:<18} {}", check.name, check.detail).unwrap_or_default();
        if let Some(fix) = &check.fix {
            writeln!(text, "{:<8} {:<18} fix: {fix}", "", "").unwrap_or_default();
        }
    }
    let word = |usable| if usable { "can run" } else { "cannot run" };
    write!(text, "\nkind {}, local {}", word(kind), word(local)).unwrap_or_default();
    text
}
