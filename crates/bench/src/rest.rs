//! Whether the machine is at rest: what else used its processors for two seconds, and its load.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use crate::processor::{self, Process};

/// How long the processes are watched.
const SAMPLE: Duration = Duration::from_secs(2);
/// What all others may use together, in cores: a machine's own services need some.
const OTHERS: f64 = 0.2;
/// The least share of a core that a process is named for.
const NAMED: f64 = 0.02;
/// How many are named.
const MOST: usize = 10;
/// The load a core that is no work any more but its echo.
const LOAD: f64 = 0.5;
/// How long a load without work may take to fall: the build of this program leaves one.
const SETTLES: Duration = Duration::from_mins(3);

/// What ran at a moment, and what the machine had used by then.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Every process.
    pub processes: Vec<Process>,
    /// Processor time of the machine.
    pub machine: Duration,
}

impl Moment {
    fn now() -> anyhow::Result<Self> {
        Ok(Self {
            processes: Process::all()?,
            machine: processor::of_machine()?,
        })
    }
}

/// A process that used the processors.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Its number.
    pub id: u32,
    /// Its command's name.
    pub name: String,
    /// In cores.
    pub share: f64,
}

/// What a machine does.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing that counts.
    AtRest,
    /// Nothing now; the load of the last minute has not fallen yet.
    Settles(f64),
    /// Something else.
    Busy(Busy),
}

/// Why a machine is not at rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Busy {
    /// Who used most, at most ten, the first the most.
    pub users: Vec<User>,
    /// In cores, what others used that is not among them: many that use little, and what has ended meanwhile.
    pub unnamed: f64,
    /// The load of the last minute.
    pub load: f64,
}

impl Display for Busy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this machine is not at rest: load {:.2}, and within {} s others used",
            self.load,
            SAMPLE.as_secs()
        )?;
        for User { id, name, share } in &self.users {
            write!(f, "\n  {:>4.0} % of a core: {name} ({id})", share * 100.0)?;
        }
        if self.unnamed >= NAMED {
            let share = self.unnamed * 100.0;
            write!(
                f,
                "\n  {share:>4.0} % of a core: processes that used little or have ended meanwhile"
            )?;
        }
        if self.users.is_empty() && self.unnamed < NAMED {
            write!(f, " next to nothing; the load does not fall")?;
        }
        write!(
            f,
            "\nwait until they have ended, or leave --at-rest out: the table then says that the machine was not at rest"
        )
    }
}

/// Decides from two moments, as far apart as `elapsed`; `own` and the processes that lead to it are not others.
pub fn decide(
    [before, after]: [&Moment; 2],
    elapsed: Duration,
    own: u32,
    load: f64,
    cores: f64,
) -> Verdict {
    let shares = |process: &Process| {
        let same = |earlier: &&Process| (earlier.id, earlier.began) == (process.id, process.began);
        let earlier = before.processes.iter().find(same);
        let earlier = earlier.map_or(Duration::ZERO, |earlier| earlier.used);
        process.used.saturating_sub(earlier).as_secs_f64() / elapsed.as_secs_f64()
    };
    let mut line = vec![own];
    while let Some(parent) = parent_of(&after.processes, &line) {
        line.push(parent);
    }
    let (ours, others): (Vec<_>, Vec<_>) = after
        .processes
        .iter()
        .map(|process| User {
            id: process.id,
            name: process.name.clone(),
            share: shares(process),
        })
        .partition(|user| line.contains(&user.id));
    let share = |users: &[User]| users.iter().map(|user| user.share).sum::<f64>();
    let machine = after.machine.saturating_sub(before.machine).as_secs_f64();
    let all_others = (machine / elapsed.as_secs_f64() - share(&ours)).max(share(&others));
    let mut users = others;
    users.retain(|user| user.share >= NAMED);
    users.sort_by(|one, other| other.share.total_cmp(&one.share));
    users.truncate(MOST);
    let unnamed = all_others - share(&users);
    if all_others > OTHERS {
        Verdict::Busy(Busy {
            users,
            unnamed,
            load,
        })
    } else if load > LOAD * cores {
        Verdict::Settles(load)
    } else {
        Verdict::AtRest
    }
}

/// The parent of the last of the line, unless it is in it.
fn parent_of(processes: &[Process], line: &[u32]) -> Option<u32> {
    let last = line.last()?;
    let process = processes.iter().find(|process| process.id == *last)?;
    Some(process.parent).filter(|parent| *parent != 0 && !line.contains(parent))
}

/// Looks at the machine until it is at rest or busy; `say` is told that a load has to fall first.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn look(say: impl Fn(&str)) -> anyhow::Result<Result<(), Busy>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 cores")]
    let cores = cores as f64;
    let until = Instant::now() + SETTLES;
    let mut is_told = false;
    loop {
        let (before, began) = (Moment::now()?, Instant::now());
        std::thread::sleep(SAMPLE);
        let (after, elapsed) = (Moment::now()?, began.elapsed());
        let [load, ..] = processor::load()?;
        match decide([&before, &after], elapsed, std::process::id(), load, cores) {
            Verdict::AtRest => return Ok(Ok(())),
            Verdict::Busy(busy) => return Ok(Err(busy)),
            Verdict::Settles(load) if Instant::now() > until => {
                return Ok(Err(Busy {
                    users: Vec::new(),
                    unnamed: 0.0,
                    load,
                }));
            }
            Verdict::Settles(load) if !is_told => {
                is_told = true;
                say(&format!(
                    "nothing else runs; waiting until the load of {load:.2} has fallen below {:.2}, at most {} s",
                    LOAD * cores,
                    SETTLES.as_secs()
                ));
            }
            Verdict::Settles(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELAPSED: Duration = Duration::from_secs(2);

    /// A shell (10) that started cargo (11) that started this (12), and others; milliseconds that each has used.
    fn moment(machine: u64, used: &[(u32, u32, &str, u64)]) -> Moment {
        let process = |&(id, parent, name, used): &(u32, u32, &str, u64)| Process {
            id,
            parent,
            name: name.to_owned(),
            began: 1,
            used: Duration::from_millis(used),
            ..Process::default()
        };
        Moment {
            processes: used.iter().map(process).collect(),
            machine: Duration::from_millis(machine),
        }
    }

    fn decided(before: &Moment, after: &Moment, load: f64) -> Verdict {
        decide([before, after], ELAPSED, 12, load, 2.0)
    }

    #[test]
    fn what_leads_to_this_process_is_not_another() {
        let before = moment(
            0,
            &[(10, 1, "sh", 0), (11, 10, "cargo", 0), (12, 11, "all", 0)],
        );
        let after = moment(
            3000,
            &[
                (10, 1, "sh", 1000),
                (11, 10, "cargo", 1000),
                (12, 11, "all", 1000),
            ],
        );
        assert_eq!(decided(&before, &after, 0.3), Verdict::AtRest);
    }

    #[test]
    fn who_uses_the_processors_is_named_with_the_share_the_greatest_first() {
        let before = moment(
            0,
            &[
                (12, 1, "all", 0),
                (20, 1, "little", 0),
                (21, 1, "rustc", 500),
            ],
        );
        let after = moment(
            2300,
            &[
                (12, 1, "all", 100),
                (20, 1, "little", 200),
                (21, 1, "rustc", 2500),
            ],
        );
        let Verdict::Busy(busy) = decided(&before, &after, 1.5) else {
            panic!("it is busy");
        };
        let text = busy.to_string();
        let wanted = "load 1.50, and within 2 s others used\n   100 % of a core: rustc (21)\n    10 % of a core: little (20)\nwait until";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("leave --at-rest out"), "{text}");
    }

    #[test]
    fn what_has_ended_between_two_looks_counts_too() {
        let before = moment(0, &[(12, 1, "all", 0)]);
        let after = moment(3000, &[(12, 1, "all", 0)]);
        let Verdict::Busy(busy) = decided(&before, &after, 0.1) else {
            panic!("it is busy");
        };
        assert!(busy.users.is_empty());
        let text = busy.to_string();
        assert!(
            text.contains("150 % of a core: processes that used little"),
            "{text}"
        );
    }

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let before = moment(0, &[(12, 1, "all", 0), (20, 1, "old", 9000)]);
        let mut after = moment(1000, &[(12, 1, "all", 0), (20, 1, "new", 1000)]);
        after.processes[1].began = 2;
        let Verdict::Busy(busy) = decided(&before, &after, 0.1) else {
            panic!("it is busy");
        };
        assert_eq!(busy.users[0].name, "new");
    }

    #[test]
    fn a_load_without_work_is_waited_for_and_a_little_work_is_rest() {
        let before = moment(0, &[(12, 1, "all", 0), (20, 1, "sshd", 0)]);
        let after = moment(100, &[(12, 1, "all", 0), (20, 1, "sshd", 100)]);
        assert_eq!(decided(&before, &after, 1.1), Verdict::Settles(1.1));
        assert_eq!(decided(&before, &after, 1.0), Verdict::AtRest);
    }

    #[test]
    fn no_more_than_ten_are_named() {
        let many: Vec<_> = (20..40).map(|id| (id, 1, "cc", 1000)).collect();
        let Verdict::Busy(busy) = decided(&moment(0, &[]), &moment(20_000, &many), 9.0) else {
            panic!("it is busy");
        };
        assert_eq!(busy.users.len(), 10);
        assert!((busy.unnamed - 5.0).abs() < 1e-9, "{}", busy.unnamed);
    }
}
