//! `cargo xtask doctor`: whether this machine can hold a run, and the line that puts right what would stop one.

use std::fmt::Write as _;

use clap::Args;

use serde_json::json;

use crate::commands::args::{Format, TargetChoice};
use crate::terminal;
use e2e_runner::doctor;
use e2e_runner::doctor::check::{Check, For, Level};
use e2e_runner::exit::Exit;
use e2e_runner::process::Runner;
use e2e_runner::settings::named;
use e2e_runner::table::Table;

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The target that must be able to run; `auto` is content with one of the two
    #[arg(long, value_enum, default_value_t = TargetChoice::Auto)]
    pub target: TargetChoice,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Runs the verb.
pub fn run(runner: &Runner, table: &anyhow::Result<Table>, args: &Doctor) -> anyhow::Result<Exit> {
    let checks = doctor::checks(runner, table);
    runner.cancel().check()?;
    let usable = |target| doctor::is_usable(&checks, target);
    let (kind, local) = (usable(For::Kind), usable(For::Local));
    let fit = match args.target {
        TargetChoice::Auto => kind || local,
        TargetChoice::Kind => kind,
        TargetChoice::Local => local,
    };
    let exit = if fit { Exit::Passed } else { Exit::Preflight };
    terminal::print(&match args.format {
        Format::Human => named(&page(&checks, (kind, local))).into_owned(),
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
