//! The metrics of the process itself, by the names that Prometheus's own clients give them, from Linux's /proc (proc(5)).

use std::fs::{read_dir, read_to_string};

/// Ticks in a second of the times that /proc shows: `USER_HZ`, which is 100 on every architecture that Linux runs on today.
const TICKS: f64 = 100.0;

/// The metrics in the text format; without those that this system does not show.
pub(crate) fn render() -> String {
    let stat = read_to_string("/proc/self/stat").ok();
    // The second field is a name in parentheses and may hold anything; those behind it are numbers.
    let fields: Vec<f64> = stat
        .iter()
        .filter_map(|stat| stat.rsplit_once(')'))
        .flat_map(|(_, rest)| rest.split_whitespace().skip(1))
        .filter_map(|field| field.parse().ok())
        .collect();
    // By the numbers of proc(5), of which the first here is the fourth.
    let field = |number: usize| fields.get(number - 4).copied();
    let both = field(14).zip(field(15));
    let started = number_after("/proc/stat", "btime").zip(field(22));
    [
        metric(
            "process_cpu_seconds_total counter",
            "Total user and system CPU time spent in seconds.",
            both.map(|(user, system)| (user + system) / TICKS),
        ),
        metric(
            "process_open_fds gauge",
            "Number of open file descriptors.",
            open_files(),
        ),
        metric(
            "process_max_fds gauge",
            "Maximum number of open file descriptors.",
            most_files(),
        ),
        metric(
            "process_virtual_memory_bytes gauge",
            "Virtual memory size in bytes.",
            number_after("/proc/self/status", "VmSize:").map(|kilobytes| kilobytes * 1024.0),
        ),
        metric(
            "process_resident_memory_bytes gauge",
            "Resident memory size in bytes.",
            number_after("/proc/self/status", "VmRSS:").map(|kilobytes| kilobytes * 1024.0),
        ),
        metric(
            "process_start_time_seconds gauge",
            "Start time of the process since unix epoch in seconds.",
            started.map(|(booted, after)| booted + after / TICKS),
        ),
    ]
    .concat()
}

/// A metric of this name and type; nothing where there is no value.
fn metric(name_and_type: &str, help: &str, value: Option<f64>) -> String {
    let name = name_and_type.split(' ').next().unwrap_or_default();
    value.map_or_else(String::new, |value| {
        format!("# HELP {name} {help}\n# TYPE {name_and_type}\n{name} {value}\n\n")
    })
}

/// How many files and connections the process may have open.
pub(crate) fn most_files() -> Option<f64> {
    number_after("/proc/self/limits", "Max open files")
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn open_files() -> Option<f64> {
    // The look at the directory has one open itself.
    Some(read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

/// The number behind `label` at the start of a line.
fn number_after(file: &str, label: &str) -> Option<f64> {
    let text = read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}
