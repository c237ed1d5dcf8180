//! What the figures belong to: the commit, and the machine.

use std::process::Command;

use anyhow::Context as _;
use bench::history::Machine;
use bench::tool::{checkout, timed};

/// The commit of the checkout, shortened, and whether files of it are changed.
pub(crate) fn commit() -> anyhow::Result<(String, bool)> {
    let git = |args: &[&str]| -> anyhow::Result<String> {
        let (_, output) = timed(Command::new("git").args(args).current_dir(checkout()))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Ok((git(&["rev-parse", "--short", "HEAD"])?, !changes.is_empty()))
}

/// This machine.
pub(crate) fn machine() -> anyhow::Result<Machine> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
    let field = |text: &str, name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.trim() == name);
        found.map(|(_, value)| value.trim().to_owned())
    };
    let processor = field(&read("/proc/cpuinfo")?, "model name");
    let memory = field(&read("/proc/meminfo")?, "MemTotal").context("MemTotal in /proc/meminfo")?;
    let kibibytes: u64 = memory.trim_end_matches("kB").trim().parse()?;
    let release = read("/proc/sys/kernel/osrelease")?;
    Ok(Machine {
        // Not every architecture names it.
        processor: processor.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory: kibibytes >> 10,
        kernel: format!("Linux {}", release.trim()),
    })
}
