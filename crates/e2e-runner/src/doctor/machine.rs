//! The machine itself: memory, disk, inotify, ports.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::doctor::check::{Check, For, Level};
use crate::paths::Paths;
use crate::process::Runner;
use crate::run::kind::ports::{owner_of, taken};
use crate::run::walk::available_memory;
use crate::settings;
use crate::state::Run;
use crate::table::Table;
use crate::table::service::Policy;

const GB: u64 = 1_000_000_000;
/// Below the first a run fails, below the second it may: a node image is 1 to 1.5 GB, a build of Data Storage about 2.
const DISK: (u64, u64) = (2 * GB, 10 * GB);
/// The most that all seven services on Kind were seen to hold at once is 1.1 GB in the node and 0.5 GB of processes beside it
/// (`cargo xtask bench footprint`); a linker needs as much again.
const MEMORY: (u64, u64) = (3 * GB / 2, 3 * GB);
/// What kind's own notes ask for (<https://kind.sigs.k8s.io/docs/user/known-issues/#pod-errors-due-to-too-many-open-files>),
/// less what one node alone does not need.
const INOTIFY: [(&str, u64); 2] = [("max_user_watches", 65_536), ("max_user_instances", 256)];

/// Every check on the machine.
pub(super) fn checks(runner: &Runner, table: &anyhow::Result<Table>) -> Vec<Check> {
    let mut checks = vec![
        memory(available_memory()),
        inotify(|name| read_number(Path::new("/proc/sys/fs/inotify").join(name))),
    ];
    let target = Paths::find(runner)
        .map(|paths| paths.target)
        .unwrap_or_default();
    let existing = target.ancestors().find(|path| path.exists());
    checks.push(disk(
        "disk, build",
        For::Both,
        existing.unwrap_or(Path::new("/")),
    ));
    let docker = Path::new("/var/lib/docker");
    if docker.exists() {
        checks.push(disk("disk, Docker", For::Kind, docker));
    }
    let kept = Paths::find(runner).map(|paths| Run::list(&paths.runs()));
    let kept = kept.unwrap_or_default();
    checks.extend(table.iter().map(|table| ports(runner, table, &kept)));
    checks
}

fn read_number(path: impl AsRef<Path>) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn level(value: u64, (least, enough): (u64, u64)) -> Level {
    match value {
        value if value < least => Level::Problem,
        value if value < enough => Level::Warning,
        _ => Level::Ok,
    }
}

/// Whole and tenths.
fn gigabytes(bytes: u64) -> String {
    format!("{}.{} GB", bytes / GB, bytes % GB / (GB / 10))
}

fn memory(available: Option<u64>) -> Check {
    let Some(available) = available else {
        return Check::ok("memory", For::Both, "not known on this system");
    };
    let check = Check::ok(
        "memory",
        For::Both,
        format!("{} available", gigabytes(available)),
    );
    match level(available, MEMORY) {
        Level::Ok => check,
        level => check.with_problem(
            level,
            "close programs, or remove kept environments: cargo xtask down",
        ),
    }
}

fn disk(name: &'static str, target: For, path: &Path) -> Check {
    let Ok(found) = statvfs(path) else {
        return Check::ok(name, target, format!("{}: not known", path.display()));
    };
    free(
        name,
        target,
        path,
        found.blocks_available() * found.fragment_size(),
    )
}

fn free(name: &'static str, target: For, path: &Path, bytes: u64) -> Check {
    let check = Check::ok(
        name,
        target,
        format!("{} free at {}", gigabytes(bytes), path.display()),
    );
    let fix = match (target, settings::RELEASE) {
        (For::Kind, _) => "docker system prune",
        (_, None) => "cargo clean, or CARGO_TARGET_DIR on a larger disk",
        (_, Some(_)) => "remove what is not needed, or set XDG_STATE_HOME to a larger disk",
    };
    match level(bytes, DISK) {
        Level::Ok => check,
        level => check.with_problem(level, fix),
    }
}

fn inotify(read: impl Fn(&str) -> Option<u64>) -> Check {
    let found = INOTIFY.map(|(name, _)| read(name));
    let shown: Vec<String> = INOTIFY
        .iter()
        .zip(found)
        .map(|((name, _), value)| {
            value.map_or(format!("{name} unknown"), |value| format!("{name} {value}"))
        })
        .collect();
    let check = Check::ok("inotify", For::Kind, shown.join(", "));
    let low = INOTIFY
        .iter()
        .zip(found)
        .any(|((_, enough), value)| value.is_some_and(|value| value < *enough));
    if low {
        check.with_problem(
            Level::Warning,
            "sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512",
        )
    } else {
        check
    }
}

/// Whether an environment of a service that is up has a port.
fn is_of_kept(kept: &[Run], service: &str, port: u16) -> bool {
    let number = port.to_string();
    let has = |address: &String| {
        let mut numbers = address.split(|digit: char| !digit.is_ascii_digit());
        numbers.any(|found| found == number)
    };
    kept.iter()
        .any(|run| run.state().environment(service).values().any(has))
}

/// The host ports of the table. A service that only prefers its own gets another, and the run says so.
fn ports(runner: &Runner, table: &Table, kept: &[Run]) -> Check {
    let mut seen = Vec::new();
    let mut fixed = false;
    let mut numbers: Vec<u16> = Vec::new();
    let own = |port: Option<u16>, service| port.map(|port| (port, service));
    let pairs = table.all().iter().flat_map(|service| {
        let published = service.own.publish.iter().map(|publish| publish.host);
        let ports = [service.ports.datastorage, service.ports.service];
        let ports = ports.into_iter().chain(published);
        ports.map(|port| own(port, service)).collect::<Vec<_>>()
    });
    for (port, service) in pairs.flatten() {
        if numbers.contains(&port) {
            continue;
        }
        numbers.push(port);
        if taken(port) && is_of_kept(kept, &service.name, port) {
            seen.push(format!(
                "{port} of {} is its own environment's, which is up",
                service.name
            ));
        } else if taken(port) {
            fixed |= service.ports.policy == Policy::Fixed;
            let owner = owner_of(runner, port);
            let owner = owner.split("users:").nth(1).unwrap_or(&owner).trim();
            seen.push(format!("{port} of {} is in use by {owner}", service.name));
        }
    }
    let free = format!(
        "{} of the table's ports are free",
        numbers.len() - seen.len()
    );
    let detail = std::iter::once(free).chain(seen.iter().cloned());
    let check = Check::ok("ports", For::Kind, detail.collect::<Vec<_>>().join("; "));
    if fixed {
        check.with_problem(
            Level::Problem,
            "end the owner of the fixed port, or leave out `policy = \"fixed\"` in the table of services",
        )
    } else {
        // A run leases another port for a service that only prefers its own, and says so.
        check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_memory_and_disk_warn_and_too_little_stops() {
        let levels = [500_000_000, 2 * GB, 20 * GB].map(|bytes| {
            (
                memory(Some(bytes)).level,
                free("disk", For::Both, Path::new("/"), bytes).level,
            )
        });
        assert_eq!(
            levels,
            [
                (Level::Problem, Level::Problem),
                (Level::Warning, Level::Warning),
                (Level::Ok, Level::Ok)
            ]
        );
        assert_eq!(gigabytes(2_560_000_000), "2.5 GB");
    }

    #[test]
    fn low_inotify_limits_come_with_the_line_that_raises_them() {
        let check = inotify(|name| {
            Some(if name == "max_user_instances" {
                128
            } else {
                1_000_000
            })
        });
        assert_eq!(check.level, Level::Warning);
        assert!(
            check
                .fix
                .is_some_and(|fix| fix.contains("max_user_instances=512"))
        );
        assert_eq!(inotify(|_| None).level, Level::Ok);
    }
}
