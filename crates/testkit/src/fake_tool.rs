//! Programs that stand in for kind, kubectl or docker: scripts in a directory for PATH that log how they are called.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Ends an argument and a call in the log; neither is in a sensible argument.
const SEPARATORS: [char; 2] = ['\u{1f}', '\u{1e}'];

/// A directory of fake tools, removed when dropped.
#[derive(Debug)]
pub struct FakeTools {
    directory: TempDir,
}

impl FakeTools {
    /// Creates an empty directory; add tools with [`FakeTools::tool`].
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be created");
        fs::create_dir(directory.path().join("bin")).expect("a directory can be created");
        fs::write(directory.path().join("calls"), "").expect("a file can be created");
        Self { directory }
    }

    /// Adds a tool that logs its arguments and then runs `script` (POSIX shell) with them, for example
    /// `case "$1" in version) echo v1 ;; *) exit 1 ;; esac`.
    #[must_use]
    pub fn tool(self, name: &str, script: &str) -> Self {
        let log = self.directory.path().join("calls");
        let log = log.display();
        // One printf: calls that run at the same time do not mix.
        let text = format!(
            "#!/bin/sh\nprintf '%s' \"$(printf '%s\\037' '{name}' \"$@\")\" \"$(printf '\\036')\" >>'{log}'\n{script}\n"
        );
        write_program(&self.bin().join(name), &text);
        self
    }

    /// Returns the directory of the tools.
    pub fn bin(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    /// Returns a PATH on which the tools come before everything else.
    pub fn path(&self) -> OsString {
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.bin()).chain(std::env::split_paths(&rest));
        std::env::join_paths(all).expect("a PATH has no colon in its parts")
    }

    /// Returns all calls so far, each the tool's name and its arguments, in the order in which they began.
    pub fn calls(&self) -> Vec<Vec<String>> {
        let log =
            fs::read_to_string(self.directory.path().join("calls")).expect("the log can be read");
        let [argument_end, call_end] = SEPARATORS;
        log.split_terminator(call_end)
            .map(|call| {
                call.split_terminator(argument_end)
                    .map(str::to_owned)
                    .collect()
            })
            .collect()
    }
}

/// Writes an executable file by way of a child process.
///
/// A descriptor open for writing in this process could be inherited by a child that another thread starts at that moment,
/// and while it is, the kernel refuses to execute the file (ETXTBSY).
fn write_program(path: &Path, text: &str) {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("/bin/sh runs");
    shell
        .stdin
        .take()
        .expect("it is piped")
        .write_all(text.as_bytes())
        .expect("the shell reads");
    assert!(
        shell.wait().expect("the shell ends").success(),
        "cannot write {}",
        path.display()
    );
}
