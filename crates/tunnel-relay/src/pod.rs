//! What the program does beside others in their pods, where nobody has a shell: it waits, it packs a directory, it kills.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Writes a directory as an archive to standard output, by paths within it.
pub(crate) fn pack(directory: &Path) -> anyhow::Result<()> {
    let mut archive = tar::Builder::new(io::BufWriter::new(io::stdout().lock()));
    archive.follow_symlinks(false);
    let packed = archive
        .append_dir_all(".", directory)
        .and_then(|()| archive.into_inner())
        .and_then(|mut output| output.flush());
    packed.with_context(|| format!("cannot pack {}", directory.display()))
}

/// Kills every process of a program by SIGKILL: of this pod, whose containers share their processes.
pub(crate) fn kill_all(program: &str) -> anyhow::Result<()> {
    // All of them first: one that is started again meanwhile is spared.
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").context("cannot read /proc")? {
        let Ok(process) = process else { continue };
        let Ok(pid) = process.file_name().to_string_lossy().parse() else {
            continue;
        };
        let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        // The kernel keeps the first fifteen bytes of a name (proc(5), comm).
        let known = program.get(..15).unwrap_or(program);
        if name.trim_end() == known {
            found.push(pid);
        }
    }
    let mut killed = 0;
    for pid in found {
        match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) => killed += 1,
            // Ended with its parent.
            Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => anyhow::bail!("cannot kill {program} (process {pid}): {error}"),
        }
    }
    anyhow::ensure!(killed > 0, "no process of {program} runs in this pod");
    Ok(())
}
