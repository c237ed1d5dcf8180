//! The processor time of processes, and of the machine.

use std::time::Duration;

use anyhow::Context as _;

/// A process, as far as `/proc/PID/stat` is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// That of the process that started it.
    pub parent: u32,
    /// That of its process group.
    pub group: u32,
    /// The command's name, never what it was told: arguments may hold secrets.
    pub name: String,
    /// When it began, in ticks since the machine did: a number that is used again is another process.
    pub began: u64,
    /// The processor time of its own.
    pub used: Duration,
    /// That of the children that it has waited for.
    pub used_by_ended: Duration,
}

impl Process {
    /// Reads the text of `/proc/PID/stat` (`proc_pid_stat(5)`); none if it is not such a text.
    fn parse(stat: &str) -> Option<Self> {
        // The name in parentheses may hold blanks and parentheses; state, parent, … follow it.
        let (id, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            id: id.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            name: name.chars().filter(|each| !each.is_control()).collect(),
            began: number(19)?,
            used: ticks(number(11)? + number(12)?),
            used_by_ended: ticks(number(13)? + number(14)?),
        })
    }

    /// All that run.
    ///
    /// # Errors
    /// If there is no `/proc`.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let entries = std::fs::read_dir("/proc").context("processes are read from /proc")?;
        let stats = entries
            .flatten()
            // One that has ended meanwhile cannot be read.
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        Ok(stats.filter_map(|stat| Self::parse(&stat)).collect())
    }

    /// This one.
    ///
    /// # Errors
    /// If there is no `/proc`.
    pub fn own() -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        Self::parse(&stat).context("/proc/self/stat has other fields")
    }
}

/// Processor time of the processes that are meant. Unlike a rate it does not depend on what else the machine does.
///
/// # Errors
/// If there is no `/proc`.
pub fn of(meant: impl Fn(&Process) -> bool) -> anyhow::Result<Duration> {
    let all = Process::all()?;
    Ok(all
        .iter()
        .filter(|process| meant(process))
        .map(|process| process.used)
        .sum())
}

/// Processor time of everything that runs on this machine (`proc_stat(5)`).
///
/// # Errors
/// If `/proc/stat` cannot be read.
pub fn of_machine() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().context("a first line in /proc/stat")?;
    let fields = fields.split_whitespace().skip(1).map(str::parse::<u64>);
    let all = fields.collect::<Result<Vec<_>, _>>()?;
    // user nice system idle iowait irq softirq steal; the rest is within these.
    let busy = all.iter().take(8).sum::<u64>() - all.iter().skip(3).take(2).sum::<u64>();
    Ok(ticks(busy))
}

/// The load averages of one, five and fifteen minutes.
///
/// # Errors
/// If `/proc/loadavg` cannot be read.
pub fn load() -> anyhow::Result<[f64; 3]> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let mut fields = text.split_whitespace().map(str::parse::<f64>);
    let mut next = || fields.next().context("three figures in /proc/loadavg");
    Ok([next()??, next()??, next()??])
}

/// Linux gives a hundredth of a second (`USER_HZ`) whatever the kernel's own tick is.
const fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_moves_no_field() {
        let stat = "42 (a) b (c) S 7 6 1 0 -1 4194304 1 2 3 4 150 50 10 20 20 0 1 0 9876 0 0";
        let process = Process::parse(stat).expect("a process");
        assert_eq!((process.id, process.parent, process.group), (42, 7, 6));
        assert_eq!(process.name, "a) b (c");
        assert_eq!(process.used, Duration::from_secs(2));
        assert_eq!(process.used_by_ended, Duration::from_millis(300));
        assert_eq!(process.began, 9876);
    }

    #[test]
    fn this_process_is_among_all() {
        let own = std::process::id();
        let all = Process::all().expect("processes");
        assert!(all.iter().any(|process| process.id == own));
        assert_eq!(Process::own().expect("this process").id, own);
    }
}
