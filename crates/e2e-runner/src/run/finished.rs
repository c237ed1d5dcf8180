//! Directories of runs that have ended: reports and evidence, which stay for as long as anybody may still want them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::reports::EVENTS;
use crate::state::lock::{Lock, Taken};
use crate::state::{STATE, directories};

/// So many stay, however old.
const NEWEST: usize = 20;
/// Of the others those that have ended since.
const WEEK: Duration = Duration::from_hours(7 * 24);
/// No more than so many stay in all.
const MOST: usize = 500;

/// Removes the directories of runs that have ended, but for the newest and those of the last week, and returns how many went. One that a
/// process still has, or that cannot be removed, stays.
pub fn sweep(runs: &Path, now: SystemTime) -> usize {
    let removed = outdated(ended(runs), now).into_iter().filter(|dir| {
        let Ok(Taken::Ours(_lock)) = Lock::take(dir) else {
            return false;
        };
        // Taken up again meanwhile.
        !dir.join(STATE).exists() && std::fs::remove_dir_all(dir).is_ok()
    });
    removed.count()
}

/// The runs that have ended, each with when its last event was written.
fn ended(runs: &Path) -> Vec<(SystemTime, PathBuf)> {
    let mut ended = Vec::new();
    for dir in directories(runs) {
        let log = std::fs::metadata(dir.join(EVENTS)).and_then(|log| log.modified());
        if let Ok(at) = log
            && !dir.join(STATE).exists()
        {
            ended.push((at, dir));
        }
    }
    ended
}

fn outdated(mut ended: Vec<(SystemTime, PathBuf)>, now: SystemTime) -> Vec<PathBuf> {
    ended.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let is_old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > WEEK);
    let ended = ended.into_iter().enumerate();
    let goes = ended.filter(|(place, (at, _))| *place >= MOST || *place >= NEWEST && is_old(*at));
    goes.map(|(_, (_, dir))| dir).collect()
}

/// What a directory and all in it hold, in bytes.
pub fn bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn the_newest_stay_whatever_their_age_and_so_do_those_of_a_week_up_to_a_number() {
        let now = SystemTime::now();
        let of = |count: usize, days: u32| {
            let name = move |number| format!("{days}-{number}").into();
            (0..count).map(move |number| (now - DAY * days, name(number)))
        };
        let gone = |ended: Vec<_>| outdated(ended, now).len();
        assert_eq!(gone(of(NEWEST, 30).collect()), 0);
        assert_eq!(gone(of(NEWEST + 3, 30).collect()), 3);
        assert_eq!(gone(of(NEWEST, 1).chain(of(5, 6)).collect()), 0);
        let mixed: Vec<_> = of(5, 8).chain(of(NEWEST, 1)).collect();
        assert_eq!(outdated(mixed, now)[..1], [PathBuf::from("8-0")]);
        assert_eq!(gone(of(MOST + 7, 1).collect()), 7);
    }

    #[test]
    fn a_run_that_lives_or_is_worked_on_and_what_is_no_run_stay() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 30 * DAY;
        let run = |name: &str| {
            let run = dir.path().join(name);
            fs::create_dir_all(run.join("deep")).unwrap();
            fs::write(run.join("deep/log"), "four").unwrap();
            let log = fs::File::create(run.join(EVENTS)).unwrap();
            log.set_modified(old).unwrap();
            run
        };
        for number in 0..NEWEST {
            let newer = run(&format!("newer-{number}"));
            let log = fs::File::create(newer.join(EVENTS)).unwrap();
            log.set_modified(SystemTime::now()).unwrap();
        }
        let (ended, lives, held) = (run("ended"), run("lives"), run("held"));
        fs::write(lives.join(STATE), "{}").unwrap();
        let _held = Lock::take(&held).unwrap();
        let other = dir.path().join("notes");
        fs::create_dir(&other).unwrap();
        assert_eq!(bytes(&ended), 4);
        assert_eq!(sweep(dir.path(), SystemTime::now()), 1);
        assert!(!ended.exists() && lives.exists() && held.exists() && other.exists());
        assert!(dir.path().join("newer-0").exists());
    }
}
