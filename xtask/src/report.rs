//! What people see, made from one log of events (D13): each event goes to `events.jsonl`, then to the terminal.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::lifecycle::plan::Id;
pub use crate::terminal::{print, say};

/// Something that happened in a run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// A run began.
    Run {
        /// Its identity.
        run: &'a str,
        /// `kind` or `local`.
        target: &'a str,
        /// Why that target.
        why: &'a str,
    },
    /// A stage that the run means to perform.
    Planned {
        /// The stage's name.
        stage: &'a str,
        /// The service it is done for, of several.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<&'a str>,
        /// The stages that come before it, with their services' names before theirs.
        needs: &'a [String],
        /// Least seconds that it ever took on this machine.
        #[serde(skip_serializing_if = "Option::is_none")]
        fastest: Option<f64>,
    },
    /// A stage began.
    StageStarted {
        /// The stage's name.
        stage: &'a str,
        /// The service it is done for, of several.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<&'a str>,
    },
    /// A stage ended.
    StageEnded {
        /// The stage's name.
        stage: &'a str,
        /// The service it was done for, of several.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<&'a str>,
        /// How it ended.
        outcome: Outcome,
        /// Its duration in seconds; `seconds` is when it happened.
        #[serde(rename = "took")]
        seconds: f64,
        /// What it made or saw, in a few words.
        note: &'a str,
    },
    /// A line of a command's output.
    Line {
        /// The stage's name.
        stage: &'a str,
        /// The service it is of, of several.
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<&'a str>,
        /// The line.
        text: &'a str,
    },
    /// A test of a suite ended.
    Test {
        /// The service whose suite it is.
        service: &'a str,
        /// The test's name.
        name: &'a str,
        /// Whether it passed.
        outcome: Outcome,
        /// Its duration in seconds, where the suite tells it.
        #[serde(rename = "took", skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        /// What it said, where it failed.
        text: &'a str,
    },
    /// Something worth knowing that fails nothing.
    Note {
        /// The sentence.
        text: &'a str,
    },
    /// What failed, as people are told.
    Failed {
        /// The sentence.
        what: &'a str,
        /// The evidence.
        seen: &'a str,
        /// The next move.
        next: &'a str,
    },
    /// The run is over.
    Ended {
        /// The exit code.
        exit: u8,
    },
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did what it was to do.
    Ok,
    /// It failed.
    Failed,
    /// Another stage's failure or a signal ended it.
    Stopped,
}

impl Outcome {
    /// The word in a line or table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// A finished stage, for the closing table.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The stage.
    pub id: Id,
    /// When it began, counted from the run's start.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// What it made or saw.
    pub note: String,
}

/// The one writer of a run's log and of the terminal.
#[derive(Debug)]
pub struct Reporter {
    began: Instant,
    log: Option<Mutex<PathBuf>>,
    /// Whether anybody looks at the terminal.
    shown: bool,
}

impl Reporter {
    /// A reporter that writes the terminal only.
    pub fn terminal() -> Self {
        Self {
            began: Instant::now(),
            log: None,
            shown: true,
        }
    }

    /// A reporter that shows nothing, for tests.
    #[cfg(test)]
    pub fn silent() -> Self {
        Self {
            shown: false,
            ..Self::terminal()
        }
    }

    /// A reporter that writes `path` too.
    pub fn logging_to(path: &Path) -> std::io::Result<Self> {
        open(path)?;
        Ok(Self {
            log: Some(Mutex::new(path.to_owned())),
            ..Self::terminal()
        })
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Records an event and shows it.
    pub fn emit(&self, event: &Event<'_>) {
        #[derive(Serialize)]
        struct Line<'a> {
            seconds: f64,
            at: jiff::Timestamp,
            #[serde(flatten)]
            event: &'a Event<'a>,
        }
        let line = serde_json::to_string(&Line {
            seconds: self.began.elapsed().as_secs_f64(),
            at: jiff::Timestamp::now(),
            event,
        })
        .unwrap_or_default();
        if let Some(log) = &self.log
            && let Ok(path) = log.lock()
        {
            // A full disk must not fail the run that the log only describes.
            drop(open(&path).and_then(|mut file| writeln!(file, "{line}")));
        }
        if self.shown {
            crate::terminal::event(event, &line);
        }
    }

    /// Shows a sentence that fails nothing.
    pub fn note(&self, text: &str) {
        self.emit(&Event::Note { text });
    }
}

/// Opens the log for one line: the evidence of a failure replaces the file by one without passwords.
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
}

/// The service as a prefix, where a run has several.
pub fn whose(service: Option<&str>) -> String {
    service.map(|name| format!("{name}: ")).unwrap_or_default()
}

/// The closing table: when each stage began, how long it took, how it ended.
pub fn table(timings: &[Timing], total: Duration) -> String {
    let width = timings
        .iter()
        .map(|timing| timing.id.name().len())
        .max()
        .unwrap_or_default()
        .max(24);
    let mut text = format!(
        "{:<width$} {:>8} {:>9}  {:<8} {}\n",
        "stage", "began", "took", "outcome", ""
    );
    for Timing {
        id,
        began,
        took,
        outcome,
        note,
    } in timings
    {
        let (began, took) = (began.as_secs_f64(), took.as_secs_f64());
        let row = format!(
            "{:<width$} {began:>6.1} s {took:>7.1} s  {:<8} {note}",
            id.name(),
            outcome.word()
        );
        writeln!(text, "{}", crate::terminal::row(row.trim_end())).unwrap_or_default();
    }
    let row = format!(
        "{:<width$} {:>8} {:>7.1} s",
        "total",
        "",
        total.as_secs_f64()
    );
    text + row.trim_end()
}
