//! The launcher beside a tool that is a script, with a cargo that is one: what it starts, and when it asks cargo.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};

/// A directory with the launcher, and a cargo that writes down what it is asked and makes the tool.
struct Place(tempfile::TempDir);

impl Place {
    fn new(cargo: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let launcher = env!("CARGO_BIN_EXE_launcher");
        fs::copy(launcher, dir.path().join("launcher")).expect("a copy");
        let place = Self(dir);
        place.script("cargo", cargo);
        place
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn script(&self, name: &str, text: &str) {
        let (part, whole) = (self.dir().join("part"), self.dir().join(name));
        fs::write(&part, format!("#!/bin/sh\n{text}\n")).expect("a file");
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::rename(part, whole).expect("it is ours");
    }

    /// Does what the tool of a checkout does once it has found out that it is what that makes.
    fn stamp(&self, checkout: &Path) {
        let found = fs::metadata(self.dir().join("xtask")).expect("the tool");
        let stamp = format!(
            "{} {} {} {} {}",
            found.mtime(),
            found.mtime_nsec(),
            found.size(),
            found.ino(),
            checkout.display()
        );
        fs::write(self.dir().join("xtask.stamp"), stamp).expect("a file");
    }

    fn launch(&self) -> Output {
        Command::new(self.dir().join("launcher"))
            .args(["e2e", "two words"])
            .env("CARGO", self.dir().join("cargo"))
            .env("PLACE", self.dir())
            .env("CARGO_PKG_NAME", "launcher")
            .env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("it starts")
    }
}

/// The checkout of these tests.
fn own() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("the checkout")
}

const TOOL: &str = r#"echo "tool: $# $2"; exit 7"#;
const CARGO: &str = r#"echo "cargo: $* ${CARGO_PKG_NAME:-nothing}"
printf '#!/bin/sh\necho "made: $2"\n' >"$PLACE/made"; chmod 755 "$PLACE/made"; mv "$PLACE/made" "$PLACE/xtask""#;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_tool_that_left_its_stamp_is_started_at_once_with_its_arguments_and_its_exit_code_is_that_of_the_command()
 {
    let place = Place::new(CARGO);
    place.script("xtask", TOOL);
    place.stamp(own());
    let output = place.launch();
    assert_eq!(said(&output), "tool: 2 two words\n");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn one_that_is_not_there_or_left_none_or_was_replaced_is_built_by_cargo_first() {
    let built = "cargo: build --package xtask nothing\nmade: two words\n";
    let place = Place::new(CARGO);
    assert_eq!(said(&place.launch()), built);
    // It has left no stamp: an earlier version of it does not look whether it is up to date.
    assert_eq!(said(&place.launch()), built);
    place.stamp(own());
    assert_eq!(said(&place.launch()), "made: two words\n");
    place.script("xtask", TOOL);
    assert_eq!(said(&place.launch()), built);
    // Made by another checkout in the same target directory.
    place.stamp(Path::new("/elsewhere"));
    assert_eq!(said(&place.launch()), built);
}

#[test]
fn what_does_not_compile_ends_as_cargo_does_and_starts_nothing() {
    let place = Place::new("echo 'error: nonsense' >&2; exit 101");
    place.script("xtask", TOOL);
    let output = place.launch();
    assert_eq!(
        (said(&output).as_str(), output.status.code()),
        ("", Some(101))
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: nonsense\n");
}
