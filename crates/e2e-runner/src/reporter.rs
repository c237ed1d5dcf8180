//! The one writer of a run's events: each goes to the run's log, then to whoever watches.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use e2e_report::{Event, Record};
use jiff::Timestamp;

/// Gets each event, and its line in the log.
pub type Watcher = Box<dyn Fn(&Event, &str) + Send + Sync>;

/// Writes the events of a run.
pub struct Reporter {
    began: Instant,
    log: Option<Mutex<File>>,
    watcher: Watcher,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl Reporter {
    /// A reporter that nobody watches and that writes no log, for tests.
    #[cfg(test)]
    pub fn silent() -> Self {
        Self {
            began: Instant::now(),
            log: None,
            watcher: Box::new(|_, _| {}),
        }
    }

    /// A reporter that appends to the log at `path` and tells `watcher`.
    pub fn logging_to(path: &Path, watcher: Watcher) -> std::io::Result<Self> {
        // The evidence of a failure shortens the file in place: every line goes to its end, wherever that is by then.
        let log = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            began: Instant::now(),
            log: Some(Mutex::new(log)),
            watcher,
        })
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Records an event and shows it.
    pub fn emit(&self, event: Event) {
        let record = Record {
            seconds: self.began.elapsed().as_secs_f64(),
            at: Some(Timestamp::now()),
            event,
        };
        let line = serde_json::to_string(&record).unwrap_or_default();
        if let Some(log) = &self.log
            && let Ok(mut file) = log.lock()
        {
            // A full disk must not fail the run that the log only describes.
            drop(writeln!(file, "{line}"));
        }
        (self.watcher)(&record.event, &line);
    }

    /// Shows a sentence that fails nothing.
    pub fn note(&self, text: &str) {
        self.emit(Event::Note {
            text: text.to_owned(),
        });
    }
}
