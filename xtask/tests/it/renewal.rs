//! The tool as the launcher starts it: it asks cargo whether it is up to date only where something has changed, and hands over to what
//! cargo has made.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const TOOL: &str = env!("CARGO_BIN_EXE_xtask");

/// A directory with a cargo that writes down what it is asked before it does it.
struct Asked(tempfile::TempDir);

impl Asked {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let cargo = dir.path().join("cargo");
        let log = dir.path().join("asked");
        let script = format!(
            "#!/bin/sh\necho \"$1\" >>{}\nexec {} \"$@\"\n",
            log.display(),
            env!("CARGO")
        );
        fs::write(&cargo, script).expect("a file");
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(dir)
    }

    fn launched(&self, program: &Path) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let target = Path::new(TOOL)
            .ancestors()
            .nth(2)
            .expect("the target directory");
        let mut command = Command::new(program);
        command
            .arg0("xtask-launched")
            .env("PATH", format!("{}:{path}", self.0.path().display()))
            .env("CARGO_TARGET_DIR", target)
            .env_remove("CARGO");
        command
    }

    /// How often cargo was asked to build.
    fn builds(&self) -> usize {
        let asked = fs::read_to_string(self.0.path().join("asked")).unwrap_or_default();
        asked.lines().filter(|line| *line == "build").count()
    }
}

fn stamp() -> PathBuf {
    Path::new(TOOL).with_extension("stamp")
}

#[test]
fn cargo_is_asked_once_as_long_as_nothing_changes_and_the_stamp_is_that_of_the_tool() {
    let asked = Asked::new();
    for _ in 0..3 {
        let output = asked
            .launched(Path::new(TOOL))
            .args(["self", "version"])
            .output();
        let output = output.expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with("xtask "), "{output:?}");
        assert_eq!(asked.builds(), 1, "{output:?}");
    }
    let found = fs::metadata(TOOL).expect("the tool");
    let stamp = fs::read_to_string(stamp()).expect("its stamp");
    assert!(
        stamp.starts_with(&format!("{} {} ", found.mtime(), found.mtime_nsec())),
        "{stamp}"
    );
}

#[test]
fn one_that_is_not_what_cargo_makes_becomes_it() {
    let asked = Asked::new();
    let dir = tempfile::tempdir().expect("a directory");
    let (earlier, table) = (dir.path().join("xtask"), dir.path().join("table"));
    fs::copy(TOOL, &earlier).expect("a copy");
    // It waits there for as long as it is looked at.
    nix::unistd::mkfifo(&table, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let mut tool = asked
        .launched(&earlier)
        .args(["services", "--services"])
        .arg(&table)
        .spawn()
        .expect("it starts");
    let now = fs::canonicalize(TOOL).expect("the tool");
    let link = format!("/proc/{}/exe", tool.id());
    let became = || fs::read_link(&link).is_ok_and(|program| program == now);
    let began = Instant::now();
    while !became() && began.elapsed() < Duration::from_mins(2) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let became = became();
    tool.kill().expect("it is ours");
    tool.wait().expect("it has ended");
    assert!(became, "it went on as {}", earlier.display());
}
