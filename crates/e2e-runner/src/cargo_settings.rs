//! What decides what cargo does in a directory beside the packages themselves: its configuration, its variables, the toolchain.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::fingerprint::fingerprint;
use crate::inputs::Inputs;
use crate::process::{Command, Runner};
use crate::settings::{cargo_home, is_of_cargo, rustup_home};

/// What cargo and rustup look for in a directory and in all above it, beside configuration (The Cargo Book, "Workspaces"; the rustup
/// book, "Overrides").
const LOOKED_FOR: [&str; 4] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "rust-toolchain",
];
/// The programs that cargo compiles by, by their variables, and by their names in the table `build` of a configuration.
const PROGRAMS: [(&str, &str); 3] = [
    ("RUSTC", "rustc"),
    ("RUSTC_WRAPPER", "rustc-wrapper"),
    ("RUSTC_WORKSPACE_WRAPPER", "rustc-workspace-wrapper"),
];
/// Stands for all variables that cargo, rustc and rustup read, those included that are not set yet.
const VARIABLES: &str = "CARGO_*, RUSTC*, RUSTFLAGS, RUSTUP_*";

/// The inputs of a call of cargo that no package names. None where they cannot be told: a configuration leads to further files, in itself
/// (`include`) or by a word of the call.
pub fn inputs(command: &Command, dir: &Path) -> Option<Inputs> {
    let files = configuration_files(dir);
    let configured = configurations(&files);
    let leads_on = |config: &toml::Table| config.contains_key("include");
    if configured.values().any(leads_on) || command.names("--config") {
        return None;
    }
    let mut inputs = Inputs::default();
    for above in dir.ancestors() {
        for name in LOOKED_FOR {
            inputs.file(above.join(name));
        }
    }
    for file in &files {
        inputs.file(file);
    }
    inputs.file(rustup_home().unwrap_or_default().join("settings.toml"));
    for program in programs(command, &configured) {
        // A name without a place is looked for on the PATH, which may lead elsewhere tomorrow.
        if let Ok(found) = Runner::find(&program, Some(dir)) {
            inputs.file(found);
        }
    }
    for name in [VARIABLES, "PATH", "HOME"] {
        inputs.variable(name, value(command, name));
    }
    Some(inputs)
}

/// Where cargo looks for its configuration: in a directory, in all above it, and in its home (The Cargo Book, "Configuration").
fn configuration_files(dir: &Path) -> Vec<PathBuf> {
    let above = dir.ancestors().map(|above| above.join(".cargo"));
    let places = above.chain(cargo_home());
    let files = places.flat_map(|place| ["config.toml", "config"].map(|name| place.join(name)));
    files.collect()
}

/// What those of them say that are there.
fn configurations(files: &[PathBuf]) -> BTreeMap<&Path, toml::Table> {
    let read = |file: &'_ PathBuf| {
        let text = std::fs::read_to_string(file).ok()?;
        Some(text.parse().unwrap_or_default())
    };
    let files = files.iter();
    files
        .filter_map(|file| Some((file.as_path(), read(file)?)))
        .collect()
}

/// The name of the file that keeps what a call in a directory came to: a terminal and an editor, which see other variables, each have
/// one of their own.
pub fn key(command: &Command, dir: &Path) -> String {
    let seen = [VARIABLES, "PATH"].map(|name| format!("{:?}", value(command, name)));
    let dir = dir.display().to_string();
    let key = fingerprint(&[&command.line(), &dir, &seen[0], &seen[1]]);
    format!("{}.json", &key[..32])
}

/// The value that a command sees of an input's variable.
pub fn value(command: &Command, name: &str) -> Option<OsString> {
    if name != VARIABLES {
        return command.variable(name);
    }
    let mut all: Vec<_> = command.variables();
    all.retain(|(name, _)| is_of_cargo(name));
    all.sort();
    let mut text = OsString::new();
    for (name, value) in all {
        for part in [&*name, OsStr::new("="), &*value, OsStr::new("\n")] {
            text.push(part);
        }
    }
    Some(text)
}

/// The programs that a call runs: cargo, the compiler, and what stands before it.
fn programs(command: &Command, configurations: &BTreeMap<&Path, toml::Table>) -> Vec<OsString> {
    let mut programs = vec![command.program().to_owned(), "rustc".into()];
    for (variable, _) in PROGRAMS {
        let under = format!("CARGO_BUILD_{variable}");
        let named = [variable, &under].map(|name| command.variable(name));
        programs.extend(named.into_iter().flatten());
    }
    for (file, config) in configurations {
        let build = config.get("build").and_then(toml::Value::as_table);
        for (_, name) in PROGRAMS {
            let named = build.and_then(|build| build.get(name)?.as_str());
            programs.extend(named.map(|named| placed(named, file)));
        }
    }
    programs.retain(|program| !program.is_empty());
    programs
}

/// A program of a configuration: one with a `/` starts from where the configuration's directory lies.
fn placed(program: &str, file: &Path) -> OsString {
    let from = file.ancestors().nth(2).filter(|_| program.contains('/'));
    from.map_or_else(PathBuf::new, Path::to_owned)
        .join(program)
        .into()
}
