//! What `cargo xtask` runs: the tool as it was built last, or through cargo.
//!
//! Cargo looks at everything that the tool is made from before it runs it, which takes longer than many a command. This package depends on
//! nothing, so cargo has done with it in half the time; what it starts finds out by itself whether anything has changed since it was built,
//! by what cargo wrote (`xtask/src/renewal.rs`). Here is decided only whether the program that lies there is one that does so: it has
//! left its stamp beside itself.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

/// The name that the tool is started by, which tells it that it is to renew itself.
const NAME: &str = "xtask-launched";

fn main() -> ExitCode {
    match launch() {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Ends only where the tool cannot be built or started.
fn launch() -> Result<ExitCode, String> {
    let own = env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let tool = own.with_file_name("xtask");
    if !is_known(&tool) {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let built = build(&cargo)?;
        if !built.success() {
            // Cargo has said why.
            let code = built.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
    }
    let arguments = env::args_os().skip(1);
    let error = Command::new(&tool).arg0(NAME).args(arguments).exec();
    Err(format!(
        "{} does not start: {error}; `cargo build --package xtask` makes it anew",
        tool.display()
    ))
}

fn build(cargo: &OsStr) -> Result<ExitStatus, String> {
    let mut build = Command::new(cargo);
    build.args(["build", "--package", "xtask"]);
    // What cargo says of this package would be taken for a change of what that one is made from.
    let of_this = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    let names = env::vars_os().map(|(name, _)| name);
    for name in names.filter(of_this) {
        build.env_remove(name);
    }
    let status = build.status();
    status.map_err(|error| format!("{} does not start: {error}", Path::new(cargo).display()))
}

/// Whether the tool that lies there is the one that left its stamp.
fn is_known(tool: &Path) -> bool {
    let found = fs::read_to_string(stamp_of(tool));
    found.is_ok_and(|found| Some(found) == stamp(tool))
}

fn stamp_of(tool: &Path) -> PathBuf {
    tool.with_extension("stamp")
}

/// What changes with a file, and where it was made, as the tool writes it: two checkouts may share a target directory.
fn stamp(tool: &Path) -> Option<String> {
    let found = fs::metadata(tool).ok()?;
    // As cargo says now: for a checkout elsewhere it takes the same program, whatever that was compiled with.
    let own = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    let checkout = own.ancestors().nth(2)?;
    Some(format!(
        "{} {} {} {} {}",
        found.mtime(),
        found.mtime_nsec(),
        found.size(),
        found.ino(),
        checkout.display()
    ))
}

#[expect(clippy::print_stderr, reason = "nobody else is there yet to say it")]
fn complain(text: &str) {
    eprintln!("{text}");
}
