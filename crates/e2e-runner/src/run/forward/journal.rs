//! The journal of a tunnel, one line for each event with its time and its cause, and what it comes to.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

/// Its name in a run's directory; it is evidence.
pub const JOURNAL: &str = "port-forward.log";

/// The words that lines begin with after their time, and that are read back.
pub(super) const STARTED: &str = "started";
pub(super) const LOST: &str = "lost";
pub(super) const RESUMED: &str = "resumed";
pub(super) const CONNECTED: &str = "connected";
pub(super) const DROPPED: &str = "dropped";

/// Writes the journal of a run's tunnel.
#[derive(Clone, Debug)]
pub(super) struct Journal(PathBuf);

impl Journal {
    /// That of a run.
    pub(super) fn of(dir: &Path) -> Self {
        Self(dir.join(JOURNAL))
    }

    /// Adds a line.
    pub(super) fn write(&self, word: &str, cause: &str) {
        let cause = cause.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = format!("{:.3} {word} {cause}\n", Timestamp::now());
        let file = OpenOptions::new().create(true).append(true).open(&self.0);
        // The journal is evidence, not function: a full disk must not end the tunnel.
        drop(file.and_then(|mut file| file.write_all(line.as_bytes())));
    }

    /// Adds that the session goes on, after this long.
    pub(super) fn resumed(&self, away: Duration) {
        self.write(RESUMED, &format!("{:.3} s", away.as_secs_f64()));
    }
}

/// What happened to a tunnel in some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interruptions {
    /// How often it was cut.
    pub cuts: usize,
    /// For how long at most.
    pub longest: Duration,
    /// The cause of the last one.
    pub cause: Option<String>,
    /// Whether it is cut at the end of the time.
    pub is_cut: bool,
    /// How often its connections were reset, since it was cut for too long or the relay was started again.
    pub dropped: usize,
    /// How often its process was started again, which resets its connections too.
    pub restarted: usize,
}

impl Interruptions {
    /// Whether a suite may have noticed something: a connection was reset, or nothing goes through.
    pub fn may_be_noticed(&self) -> bool {
        self.is_cut || self.dropped > 0 || self.restarted > 0
    }
}

/// What happened to the tunnel of a run since some time.
pub fn interruptions(dir: &Path, since: Timestamp) -> Interruptions {
    let text = std::fs::read_to_string(dir.join(JOURNAL)).unwrap_or_default();
    let mut found = Interruptions::default();
    let mut lost: Option<Timestamp> = None;
    let mut lives = 0;
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        let (time, word) = (words.next().unwrap_or_default(), words.next());
        let cause = words.next().unwrap_or_default();
        // A line may be cut short by a full disk.
        let (Ok(time), Some(word)) = (time.parse::<Timestamp>(), word) else {
            continue;
        };
        let counts = time >= since;
        match word {
            STARTED => {
                found.restarted += usize::from(counts && lives > 0);
                lives += 1;
                lost = None;
            }
            LOST => {
                lost = Some(time);
                if counts {
                    found.cuts += 1;
                    found.cause = Some(cause.to_owned());
                }
            }
            RESUMED => {
                lost = None;
                let seconds: Option<f64> = cause.split(' ').next().and_then(|it| it.parse().ok());
                let away = seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
                if let Some(away) = away.filter(|_| counts) {
                    found.longest = found.longest.max(away);
                }
            }
            DROPPED => found.dropped += usize::from(counts),
            CONNECTED => lost = None,
            _ => {}
        }
    }
    if let Some(lost) = lost {
        found.is_cut = true;
        let away = Timestamp::now().duration_since(lost.max(since));
        let away = Duration::try_from(away).unwrap_or_default();
        found.longest = found.longest.max(away);
    }
    found
}

impl fmt::Display for Interruptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |count: usize| match count {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        if self.cuts == 0 {
            f.write_str("never cut")?;
        } else {
            let longest = self.longest.as_secs_f64();
            write!(f, "cut {}, longest {longest:.1} s", times(self.cuts))?;
        }
        if self.dropped > 0 {
            write!(f, ", its connections reset {}", times(self.dropped))?;
        }
        if self.restarted > 0 {
            write!(f, ", started again {}", times(self.restarted))?;
        }
        match &self.cause {
            Some(cause) if self.is_cut => write!(f, ", and is cut now: {cause}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &str, since: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(JOURNAL), lines).unwrap();
        interruptions(dir.path(), since.parse().unwrap()).to_string()
    }

    const LINES: &str = "\
2026-01-01T10:00:00.000Z started process 7
2026-01-01T10:00:00.200Z connected
2026-01-01T10:00:05.000Z lost the connection was closed
2026-01-01T10:00:05.400Z resumed 0.400 s
2026-01-01T10:01:00.000Z lost the connection was closed
2026-01-01T10:01:00.100Z resumed 0.100 s
2026-01-01T10:01:00.1
";

    #[test]
    fn cuts_are_counted_since_a_time_with_the_longest() {
        let all = told(LINES, "2026-01-01T10:00:00Z");
        assert_eq!(all, "cut 2 times, longest 0.4 s");
        let last = told(LINES, "2026-01-01T10:00:30Z");
        assert_eq!(last, "cut once, longest 0.1 s");
        assert_eq!(told(LINES, "2026-01-01T11:00:00Z"), "never cut");
        assert_eq!(told("", "2026-01-01T11:00:00Z"), "never cut");
    }

    #[test]
    fn what_a_suite_may_notice_is_told() {
        let more = format!(
            "{LINES}2026-01-01T10:02:00Z started process 9\n2026-01-01T10:02:01Z connected\n2026-01-01T10:02:02Z dropped after 300 s: gone\n2026-01-01T10:02:03Z lost nothing came for 4s\n"
        );
        let told = told(&more, "2026-01-01T10:00:00Z");
        assert!(told.starts_with("cut 3 times, longest "), "{told}");
        assert!(
            told.ends_with(" s, its connections reset once, started again once, and is cut now: nothing came for 4s"),
            "{told}"
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::of(dir.path());
        journal.write(LOST, "a cause\nof two lines");
        journal.resumed(Duration::from_millis(1250));
        let found = interruptions(dir.path(), Timestamp::UNIX_EPOCH);
        assert_eq!(
            (found.cuts, found.longest, found.is_cut),
            (1, Duration::from_millis(1250), false)
        );
        assert_eq!(found.cause.as_deref(), Some("a cause of two lines"));
        assert!(!found.may_be_noticed());
    }
}
