//! A team with a table of services of its own, whose suites are shell scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::Place;

/// A team's directory with a table of services and the files that its entries name.
pub(crate) struct Team {
    pub(crate) place: Place,
    pub(crate) dir: tempfile::TempDir,
}

/// How a process ends, which it does within a minute.
pub(crate) fn ends(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a status") {
            return status.code();
        }
        assert!(began.elapsed() < Duration::from_mins(1), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Team {
    /// Starts a run whose suite waits, and returns once it does.
    pub(crate) fn until_it_waits(&self, mut command: Command) -> Child {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("the tool starts");
        self.await_file("waits");
        child
    }

    pub(crate) fn new(entries: &[String]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("services.toml"), entries.join("\n")).expect("a table");
        Self {
            place: Place::new(),
            dir,
        }
    }

    /// Runs a verb with the team's table and returns its exit code and both streams.
    pub(crate) fn run(&self, args: &[&str]) -> (i32, String, String) {
        self.run_with(args, |_| {})
    }

    /// Runs a verb whose command is changed before, for example by a variable.
    pub(crate) fn run_with(
        &self,
        args: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> (i32, String, String) {
        let mut command = self.command(args);
        change(&mut command);
        let output = command.output().expect("the tool starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// A verb with the team's table, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        command.env("E2E_SERVICES", self.dir.path().join("services.toml"));
        command
    }

    /// A file of a run, of the only one that has it.
    pub(crate) fn of_run(&self, name: &str) -> String {
        let runs = fs::read_dir(self.place.0.path().join("e2e")).expect("runs");
        let files = runs.flatten().map(|run| run.path().join(name));
        let mut texts = files.filter_map(|file| fs::read_to_string(file).ok());
        texts.next().unwrap_or_default()
    }

    /// Waits for a file of the team's directory.
    pub(crate) fn await_file(&self, name: &str) {
        let began = Instant::now();
        while !self.dir.path().join(name).exists() {
            assert!(began.elapsed() < Duration::from_mins(1), "no {name}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A file of the team's directory; empty if it is not there.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

/// An entry whose suite is a shell script.
pub(crate) fn entry(name: &str, components: &str, more: &str, script: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nprofile = \"gateway\"\nnamespace = \"{name}\"\ncomponents = [{components}]\nports = {{}}\n\
         {more}\nsuite = {{ command = [\"sh\", \"-c\", '''{script}'''], junit = \"{name}.xml\" }}\n"
    )
}

/// A script that writes a JUnit file with one passed test, and goes on.
pub(crate) fn junit(name: &str, cases: &str) -> String {
    format!("echo \"<testsuite>{cases}</testsuite>\" > {name}.xml")
}

/// An entry whose suite is a shell script that writes no JUnit file.
pub(crate) fn bare(name: &str, components: &str, more: &str, script: &str) -> String {
    entry(name, components, more, script).replace(&format!(", junit = \"{name}.xml\""), "")
}

/// The components of a service that has PostgreSQL and Data Storage only.
pub(crate) const STORAGE: &str = "\"postgres\", \"datastorage\"";

/// Writes a script that can be started.
pub(crate) fn executable(path: &Path, text: &str) {
    fs::write(path, text).expect("a script");
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("an executable");
}
