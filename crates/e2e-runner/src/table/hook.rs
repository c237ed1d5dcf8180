//! A command before or after a suite.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// A command that runs with the suite's variables.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Entry")]
pub struct Hook {
    /// Its name; its program's, where the table gives none.
    pub name: String,
    /// Program and arguments.
    pub run: Vec<String>,
    /// Where it runs.
    pub dir: PathBuf,
    /// How long it may take: two minutes, where the table does not say.
    pub deadline: Duration,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a command is its words, or { run, name, dir, deadline_seconds }"
)]
enum Entry {
    Words(Vec<String>),
    Whole(Whole),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    run: Vec<String>,
    name: Option<String>,
    #[serde(default)]
    dir: PathBuf,
    deadline_seconds: Option<u64>,
}

impl From<Entry> for Hook {
    fn from(entry: Entry) -> Self {
        let whole = match entry {
            Entry::Words(run) => Whole {
                run,
                name: None,
                dir: PathBuf::new(),
                deadline_seconds: None,
            },
            Entry::Whole(whole) => whole,
        };
        let program = whole.run.first().map_or("", String::as_str);
        let program = program.rsplit('/').next().unwrap_or_default();
        Self {
            name: whole.name.unwrap_or_else(|| program.to_owned()),
            run: whole.run,
            dir: whole.dir,
            deadline: Duration::from_secs(whole.deadline_seconds.unwrap_or(120)),
        }
    }
}
