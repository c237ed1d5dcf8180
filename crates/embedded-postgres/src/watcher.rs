//! The process that ends a server whose owner is gone.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Error;

/// `read` returns when the owner's end of the pipe is closed, and the kernel closes it however the owner ends.
///
/// The number in postmaster.pid is trusted only when that process has the directory on its command line.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
ours() { { tr '\0' ' ' <"/proc/$pid/cmdline" || ps -o args= -p "$pid"; } 2>/dev/null | grep -qF -- "$1/data"; }
if [ -n "$pid" ] && ours "$1"; then
    kill -QUIT "$pid"
    i=0
    while [ $i -lt 200 ] && ours "$1"; do i=$((i + 1)); sleep 0.05; done
fi
rm -rf -- "$1"
"#;

/// Watches over one server until released; dropping it without release ends the server.
#[derive(Debug)]
pub(crate) struct Watcher(Child);

impl Watcher {
    /// Starts to watch the server in the instance directory.
    pub(crate) fn start(directory: &Path) -> Result<Self, Error> {
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg(SCRIPT)
            .arg("postgres-watcher")
            .arg(directory)
            .current_dir("/")
            .process_group(0);
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        shell
            .spawn()
            .map(Self)
            .map_err(Error::io("start a watcher for", directory))
    }

    /// Ends the watch and leaves the server alone.
    pub(crate) fn release(mut self) {
        // SIGKILL before the pipe closes: the script does not get to read its end. One that is gone already is released.
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}
