//! What an answer was made from, files, directories and variables, and whether any of it has changed since: as long as none has, the
//! answer is kept and whoever gave it is not asked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fingerprint::hex;
use crate::state::write_private;

/// How coarse the times of files may be: a file that changes within it of another change looks the same.
const COARSE: Duration = Duration::from_millis(20);

/// Files, directories and variables as they were at one moment.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Inputs {
    /// What is not there is known as that: it may come.
    files: BTreeMap<PathBuf, Option<Stamp>>,
    /// The names in directories, hashed.
    listings: BTreeMap<PathBuf, Option<String>>,
    /// The values of variables, hashed: one may be a secret.
    variables: BTreeMap<String, Option<String>>,
}

/// By what a change of a file shows, one that keeps its time and its size included.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Stamp {
    seconds: i64,
    nanoseconds: i64,
    size: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            seconds: found.mtime(),
            nanoseconds: found.mtime_nsec(),
            size: found.size(),
            inode: found.ino(),
        })
    }
}

/// When a file was written, or put where it is.
fn last_changed(found: &Metadata) -> SystemTime {
    let time = |seconds: i64, nanoseconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or_default();
        let nanoseconds = u64::try_from(nanoseconds).unwrap_or_default();
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds)
    };
    let written = time(found.mtime(), found.mtime_nsec());
    written.max(time(found.ctime(), found.ctime_nsec()))
}

impl Inputs {
    /// Adds a file, or that there is none.
    pub fn file(&mut self, path: impl Into<PathBuf>) {
        let path = path.into();
        let stamp = Stamp::of(&path);
        self.files.insert(path, stamp);
    }

    /// Adds which names a directory holds, or that there is none.
    pub fn listing(&mut self, path: impl Into<PathBuf>) {
        let path = path.into();
        let names = listed(&path);
        self.listings.insert(path, names);
    }

    /// Adds a file, or a directory with all that is in it.
    pub fn tree(&mut self, path: impl Into<PathBuf>) {
        let path = path.into();
        if !path.is_dir() {
            return self.file(path);
        }
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        entries.for_each(|entry| self.tree(entry.path()));
        self.listing(path);
    }

    /// Adds a variable with its value.
    pub fn variable(&mut self, name: &str, value: Option<OsString>) {
        self.variables.insert(name.to_owned(), hashed(value));
    }

    /// Adds what others hold.
    pub fn extend(&mut self, others: Self) {
        self.files.extend(others.files);
        self.listings.extend(others.listings);
        self.variables.extend(others.variables);
    }

    /// Whether none of the files and directories that are there has changed at this time or later, nor come from elsewhere, as far as
    /// their times tell.
    pub fn are_older_than(&self, time: SystemTime) -> bool {
        let is_older = |path: &PathBuf| match std::fs::metadata(path) {
            Ok(found) => last_changed(&found) + COARSE < time,
            Err(_) => true,
        };
        self.files.keys().chain(self.listings.keys()).all(is_older)
    }

    /// What has changed first of all, if anything has: a path, or the name of a variable, whose value `value_of` tells.
    pub fn changed(&self, value_of: impl Fn(&str) -> Option<OsString>) -> Option<String> {
        let variable = |(name, was): (&String, &Option<String>)| {
            (hashed(value_of(name)) != *was).then(|| name.clone())
        };
        let file = |(path, was): (&PathBuf, &Option<Stamp>)| {
            (Stamp::of(path) != *was).then(|| path.display().to_string())
        };
        let listing = |(path, was): (&PathBuf, &Option<String>)| {
            (listed(path) != *was).then(|| path.display().to_string())
        };
        let variables = || self.variables.iter().find_map(variable);
        let files = || self.files.iter().find_map(file);
        let listings = || self.listings.iter().find_map(listing);
        variables().or_else(files).or_else(listings)
    }
}

fn hashed(value: Option<OsString>) -> Option<String> {
    value.map(|value| hex(value.as_bytes()))
}

fn listed(path: &Path) -> Option<String> {
    let entries = std::fs::read_dir(path).ok()?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let names: Vec<_> = names.iter().map(|name| name.as_bytes()).collect();
    Some(hex(&names.join(&b"\0"[..])))
}

/// An answer with what it was made from.
#[derive(Debug, Deserialize, Serialize)]
pub struct Kept<T> {
    /// Whoever keeps it otherwise is another tool.
    form: u32,
    /// What it was made from, and what it names: a program that somebody has replaced is not the answer any more.
    inputs: Inputs,
    answer: T,
}

/// Changes with what is kept, and with what is looked at.
const FORM: u32 = 1;

impl<T: Serialize + DeserializeOwned> Kept<T> {
    /// The answer that a file keeps, unless anything that it was made from has changed.
    pub fn read(file: &Path, value_of: impl Fn(&str) -> Option<OsString>) -> Option<T> {
        let kept: Self = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        (kept.form == FORM && kept.inputs.changed(value_of).is_none()).then_some(kept.answer)
    }

    /// Keeps an answer in a file. Where that is impossible it is asked for again the next time.
    pub fn write(file: &Path, inputs: Inputs, answer: T) {
        let kept = Self {
            form: FORM,
            inputs,
            answer,
        };
        let made = file.parent().map(std::fs::create_dir_all);
        if let (Some(Ok(())), Ok(text)) = (made, serde_json::to_vec(&kept)) {
            drop(write_private(file, &text));
            forget_oldest(file);
        }
    }
}

/// So many answers are kept in one directory: each environment, each set of programs has its own.
const MOST: usize = 64;

/// Removes those beside a file that were written first, where there are too many.
fn forget_oldest(file: &Path) {
    let entries = file.parent().map(std::fs::read_dir);
    let entries = entries.into_iter().flatten().flatten().flatten();
    let written = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let is_one = path.extension() == file.extension();
        Some((entry.metadata().ok()?.modified().ok()?, path)).filter(|_| is_one)
    };
    let mut all: Vec<_> = entries.filter_map(written).collect();
    all.sort();
    let surplus = all.len().saturating_sub(MOST);
    for (_, path) in &all[..surplus] {
        drop(std::fs::remove_file(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_changes_comes_or_goes_is_named_and_what_stays_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("tree/deep")).unwrap();
        for file in ["file", "tree/deep/file"] {
            fs::write(at(file), "as it was").unwrap();
        }
        let mut inputs = Inputs::default();
        inputs.file(at("file"));
        inputs.file(at("none"));
        inputs.tree(at("tree"));
        inputs.variable("SET", Some("value".into()));
        inputs.variable("UNSET", None);
        let set = |name: &str| (name == "SET").then(|| "value".into());
        let told = |inputs: &Inputs| inputs.changed(set).unwrap_or_default();
        assert_eq!(told(&inputs), "");
        assert_eq!(inputs.changed(|_| None).unwrap(), "SET");
        assert_eq!(inputs.changed(|_| Some("value".into())).unwrap(), "UNSET");

        for (name, change) in [
            ("file", "longer than it was"),
            ("none", "it came"),
            ("tree/deep/file", "as it is!"),
        ] {
            let before = fs::metadata(at(name)).and_then(|found| found.modified());
            fs::write(at(name), change).unwrap();
            assert_eq!(told(&inputs), at(name).display().to_string());
            // As it was to the byte and the time, for the next one.
            if let Ok(before) = before {
                fs::write(at(name), "as it was").unwrap();
                let file = fs::File::options().write(true).open(at(name)).unwrap();
                file.set_modified(before).unwrap();
            } else {
                fs::remove_file(at(name)).unwrap();
            }
            assert_eq!(told(&inputs), "");
        }
        fs::write(at("tree/new"), "").unwrap();
        assert_eq!(told(&inputs), at("tree").display().to_string());
        fs::remove_file(at("tree/new")).unwrap();

        // Another file of the same name, time and size.
        let modified = fs::metadata(at("file")).unwrap().modified().unwrap();
        fs::write(at("other"), "as it is!").unwrap();
        let other = fs::File::options().write(true).open(at("other")).unwrap();
        other.set_modified(modified).unwrap();
        fs::rename(at("other"), at("file")).unwrap();
        assert_eq!(told(&inputs), at("file").display().to_string());
    }

    #[test]
    fn what_changes_while_an_answer_is_made_is_no_input_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let mut inputs = Inputs::default();
        inputs.file(&file);
        let now = fs::metadata(&file).unwrap().modified().unwrap();
        assert!(inputs.are_older_than(now + Duration::from_secs(1)));
        assert!(!inputs.are_older_than(now));
        assert!(!inputs.are_older_than(now - Duration::from_secs(1)));
    }

    #[test]
    fn an_answer_is_kept_until_what_it_was_made_from_changes_and_no_value_is_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kept/answer.json");
        let mut inputs = Inputs::default();
        inputs.variable("TOKEN", Some("very-secret".into()));
        Kept::write(&file, inputs, "yes".to_owned());
        let read = |value: &str| Kept::<String>::read(&file, |_| Some(value.into()));
        assert_eq!(read("very-secret").as_deref(), Some("yes"));
        assert_eq!(read("another"), None);
        assert!(!fs::read_to_string(&file).unwrap().contains("very-secret"));
        fs::write(&file, "half").unwrap();
        assert_eq!(read("very-secret"), None);
    }

    #[test]
    fn answers_do_not_grow_without_end_and_what_is_none_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("stamp"), "").unwrap();
        let old = SystemTime::now() - Duration::from_secs(9);
        for number in 0..MOST + 3 {
            let file = dir.path().join(format!("{number}.json"));
            Kept::write(&file, Inputs::default(), number);
            if number < 3 {
                let file = fs::File::options().write(true).open(file).unwrap();
                file.set_modified(old).unwrap();
            }
        }
        let read = |number: usize| {
            let file = dir.path().join(format!("{number}.json"));
            Kept::<usize>::read(&file, |_| None)
        };
        assert_eq!((read(2), read(3)), (None, Some(3)));
        assert_eq!(read(MOST + 2), Some(MOST + 2));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), MOST + 1);
    }
}
