//! The tool looks whether it is what the checkout makes before it does anything, where `cargo xtask` starts it: cargo builds it if
//! anything has changed that it was made from, and the new one takes over.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::terminal;
use e2e_runner::paths::Paths;
use e2e_runner::process::{Runner, become_program};
use e2e_runner::tools::cargo::{Form, Wanted, build};

/// The name by which the launcher starts it.
const NAME: &str = "xtask-launched";
/// The name of one that has taken over.
const RENEWED: &str = "xtask-renewed";
/// Itself, as cargo knows it.
const PACKAGE: &str = "xtask";

/// Does so where the launcher has started this process. Returns where it is up to date, and fails where it does not compile any more.
pub fn renew(runner: &Runner) -> anyhow::Result<()> {
    if env::args_os().next().is_none_or(|name| name != NAME) {
        return Ok(());
    }
    // Whatever checkout it is to build from and to test: this one is where it comes from.
    let Some(paths) = Paths::of_tool(runner)? else {
        return Ok(());
    };
    let own = env::current_exe().context("where does this program lie?")?;
    let was = stamp(&own, &paths);
    let wanted = Wanted {
        programs: &[PACKAGE],
        suites: None,
    };
    let built = build(
        runner,
        &paths,
        wanted,
        Form::Dev,
        Duration::MAX,
        terminal::message,
    )?;
    let now = &built.executables[PACKAGE];
    if !built.is_unchanged {
        // Without it the launcher asks cargo the next time too.
        drop(fs::write(
            stamp_of(now),
            stamp(now, &paths).unwrap_or_default(),
        ));
    }
    if stamp(now, &paths) == was {
        return Ok(());
    }
    // It was made just now, and looks no more: a machine on which every look makes it anew would never come to an end.
    let error = become_program(now, RENEWED, env::args_os().skip(1));
    Err(error).with_context(|| format!("{} does not start", now.display()))
}

fn stamp_of(tool: &Path) -> PathBuf {
    tool.with_extension("stamp")
}

/// What changes with a file, and where it was made, as the launcher compares it: two checkouts may share a target directory.
fn stamp(tool: &Path, made_in: &Paths) -> Option<String> {
    let found = fs::metadata(tool).ok()?;
    Some(format!(
        "{} {} {} {} {}",
        found.mtime(),
        found.mtime_nsec(),
        found.size(),
        found.ino(),
        made_in.source.display()
    ))
}
