//! `cargo xtask self`: which release this tool is of, what lies in its bundle, and what a run would take its programs from.

use std::fmt::Write as _;

use clap::Subcommand;
use e2e_runner::bundle::Bundle;
use e2e_runner::exit::Exit;
use e2e_runner::paths::{self, Paths};
use e2e_runner::process::Runner;
use e2e_runner::settings;
use e2e_runner::tools::release;
use serde_json::{Value, json};

use crate::commands::args::Format;
use crate::terminal;

/// The version of this tool; of a released one with its commit, its time and its target.
pub const VERSION: &str = match settings::RELEASE {
    Some(release) => release,
    None => concat!(
        env!("CARGO_PKG_VERSION"),
        ", built from a checkout: `cargo xtask self version` says more"
    ),
};

/// What is done with the tool itself.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Own {
    /// Says version, commit and target, whether each program of the bundle is what it should be, and where programs come from
    Version {
        /// Output format
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
}

/// Runs `self version`. Exit 3 where the bundle is not whole.
pub fn version(runner: &Runner, format: Format) -> anyhow::Result<Exit> {
    let release = settings::RELEASE;
    let told = match release {
        Some(release) => release.to_owned(),
        None => format!("{}, built from a checkout", env!("CARGO_PKG_VERSION")),
    };
    let (mut text, mut whole) = (format!("xtask {told}\n"), true);
    let mut programs = Vec::new();
    let bundle = Bundle::named()?;
    if let Some(bundle) = &bundle {
        writeln!(text, "{}, for {}", bundle.describe(), bundle.target)?;
        for program in &bundle.programs {
            let intact = bundle.is_intact(program);
            whole &= intact;
            let word = if intact {
                "intact"
            } else {
                "NOT what it should be"
            };
            let (name, size) = (&program.name, program.size);
            writeln!(text, "  {name:<16} {size:>10} bytes  {word}")?;
            programs.push(
                json!({"name": name, "size": size, "sha256": program.sha256, "intact": intact}),
            );
        }
    }
    let source = source(runner);
    write!(text, "{}", source.0)?;
    let exit = if whole { Exit::Passed } else { Exit::Preflight };
    terminal::print(&match format {
        Format::Human => settings::named(&text).into_owned(),
        Format::Json => serde_json::to_string_pretty(&json!({
            "version": 1, "verb": "self version", "exit": exit.code(),
            "result": {
                "tool": env!("CARGO_PKG_VERSION"),
                "release": release,
                "bundle": bundle.map(|bundle| json!({
                    "version": bundle.version, "commit": bundle.commit, "target": bundle.target,
                    "built": bundle.built, "directory": bundle.dir, "programs": programs,
                })),
                "programs_from": source.1,
            },
        }))?,
    });
    Ok(exit)
}

/// Where a run would take its programs from, for people and for programs.
fn source(runner: &Runner) -> (String, Value) {
    match paths::bundle() {
        Ok(Some(bundle)) => {
            let told = "a run takes its programs from the bundle".to_owned();
            return (told, json!({"bundle": bundle.dir}));
        }
        Ok(None) => {}
        Err(failure) => {
            return (
                format!("a run refuses: {failure}"),
                json!({"error": failure.summary}),
            );
        }
    }
    let paths = match Paths::find(runner) {
        Ok(paths) => paths,
        Err(error) => {
            return (
                format!("a run refuses: {error:#}"),
                json!({"error": error.to_string()}),
            );
        }
    };
    if let Err(failure) = paths.can_build("name each program by its variable") {
        return (
            format!("a run refuses: {failure}"),
            json!({"error": failure.summary}),
        );
    }
    let checkout = paths.source.display();
    match release::commit(runner, &paths) {
        Ok(commit) => {
            let changed = if commit.changed { ", with changes" } else { "" };
            let told = format!(
                "a run builds its programs from {checkout} at {}{changed}",
                commit.id
            );
            let value =
                json!({"checkout": paths.source, "commit": commit.id, "changed": commit.changed});
            (told, value)
        }
        // A copy without its history.
        Err(_) => (
            format!("a run builds its programs from {checkout}, whose commit is not known"),
            json!({"checkout": paths.source}),
        ),
    }
}
