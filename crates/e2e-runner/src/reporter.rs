//! The one writer of a run's events: each goes to the run's log, without passwords, then to whoever watches.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use e2e_report::{Event, Record};
use jiff::Timestamp;

use crate::secrets::Secrets;
use crate::settings;

/// Gets each event, and its line in the log.
pub type Watcher = Box<dyn Fn(&Event, &str) + Send + Sync>;

/// How many lines of a stage the log has from its beginning, and how many from its end: what lies between is in `suite.log`, and
/// would make the reports of a chatty suite as long as its output.
const FIRST: usize = 500;
const LAST: usize = 200;
/// How much of a text the log has, in bytes: its beginning, where a failure's message is, and its end.
const TEXT: usize = 64 << 10;

/// Writes the events of a run.
pub struct Reporter {
    began: Instant,
    log: Option<Mutex<Log>>,
    secrets: Secrets,
    watcher: Watcher,
}

/// The log, with the lines of stages that are held back until the stage ends.
struct Log {
    file: File,
    lines: HashMap<(String, Option<String>), Lines>,
}

#[derive(Default)]
struct Lines {
    written: usize,
    left_out: usize,
    last: VecDeque<String>,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

impl Reporter {
    /// A reporter that nobody watches and that writes no log, for tests.
    #[cfg(test)]
    pub fn silent() -> Self {
        Self {
            began: Instant::now(),
            log: None,
            secrets: Secrets::default(),
            watcher: Box::new(|_, _| {}),
        }
    }

    /// A reporter that appends to the log at `path` and tells `watcher`.
    pub fn logging_to(path: &Path, secrets: Secrets, watcher: Watcher) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            began: Instant::now(),
            log: Some(Mutex::new(Log {
                file,
                lines: HashMap::new(),
            })),
            secrets,
            watcher,
        })
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is taken out of every text.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Records an event and shows it. Of a stage's lines the log keeps the first and the last.
    pub fn emit(&self, event: Event) {
        let record = Record {
            seconds: self.began.elapsed().as_secs_f64(),
            at: Some(Timestamp::now()),
            event: self.cleaned(event),
        };
        let line = serde_json::to_string(&record).unwrap_or_default();
        if let Some(log) = &self.log {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk must not fail the run that the log only describes.
            drop(log.write(&record.event, &line));
        }
        (self.watcher)(&record.event, &line);
    }

    /// Shows a sentence that fails nothing.
    pub fn note(&self, text: &str) {
        self.emit(Event::Note {
            text: text.to_owned(),
        });
    }

    /// The event without passwords, its texts no longer than a report shows.
    fn cleaned(&self, mut event: Event) -> Event {
        let clean = |text: &str| self.secrets.clean(text).into_owned();
        // What this tool says itself, and not what a suite has printed.
        let own = |text: &str| settings::named(&self.secrets.clean(text)).into_owned();
        match &mut event {
            Event::Line { text, .. } => *text = clean(text),
            Event::Note { text } => *text = own(text),
            Event::StageEnded { note, .. } => *note = clean(note),
            Event::Test { text, .. } => *text = both_ends(clean(text)),
            Event::Failed(failed) => {
                failed.summary = clean(&failed.summary);
                failed.detail = both_ends(clean(&failed.detail));
                failed.hint = own(&failed.hint);
            }
            _ => {}
        }
        event
    }
}

impl Log {
    fn write(&mut self, event: &Event, line: &str) -> std::io::Result<()> {
        match event {
            Event::Line { stage, service, .. } => {
                let key = (stage.clone(), service.clone());
                let lines = self.lines.entry(key).or_default();
                if lines.written >= FIRST {
                    if lines.last.len() == LAST {
                        lines.last.pop_front();
                        lines.left_out += 1;
                    }
                    lines.last.push_back(line.to_owned());
                    return Ok(());
                }
                lines.written += 1;
            }
            Event::StageEnded { stage, service, .. } => {
                let lines = self.lines.remove(&(stage.clone(), service.clone()));
                for line in lines.unwrap_or_default().last {
                    writeln!(self.file, "{line}")?;
                }
            }
            _ => {}
        }
        writeln!(self.file, "{line}")
    }
}

/// A text of which the middle is left out where it is too long.
fn both_ends(text: String) -> String {
    if text.len() <= TEXT {
        return text;
    }
    let boundary = |from: usize| (0..=from).rev().find(|at| text.is_char_boundary(*at));
    let head = boundary(TEXT / 2).unwrap_or(0);
    let tail = boundary(text.len() - TEXT / 2).unwrap_or(text.len());
    format!(
        "{}\n[{} bytes left out]\n{}",
        &text[..head],
        tail - head,
        &text[tail..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use e2e_report::{Failed, Outcome};

    #[test]
    fn the_log_of_a_chatty_stage_keeps_its_first_and_last_lines_and_every_other_event() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let reporter =
            Reporter::logging_to(&path, Secrets::default(), Box::new(|_, _| {})).unwrap();
        let stage = || "run suite".to_owned();
        for number in 0..40_000 {
            reporter.emit(Event::Line {
                stage: stage(),
                service: None,
                text: format!("line {number}"),
            });
        }
        reporter.emit(Event::StageEnded {
            stage: stage(),
            service: None,
            outcome: Outcome::Failed,
            seconds: 1.0,
            note: String::new(),
        });
        let log = std::fs::read_to_string(path).unwrap();
        assert_eq!(log.lines().count(), FIRST + LAST + 1);
        assert!(log.contains("line 0\"") && log.contains("line 39999\""));
        assert!(log.lines().last().unwrap().contains("stage-ended"));
    }

    #[test]
    fn no_event_has_a_password() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let secrets = Secrets::default();
        let reporter = Reporter::logging_to(
            &path,
            secrets.clone(),
            Box::new(|_, line| assert!(!line.contains("hunter22"))),
        )
        .unwrap();
        secrets.add("hunter22");
        let text = || "it is hunter22".to_owned();
        reporter.note(&text());
        reporter.emit(Event::Test {
            service: "s".to_owned(),
            suite: None,
            name: "n".to_owned(),
            outcome: Outcome::Failed,
            seconds: None,
            text: text(),
        });
        reporter.emit(Event::Failed(Failed {
            summary: text(),
            detail: text(),
            hint: text(),
        }));
        let log = std::fs::read_to_string(path).unwrap();
        assert_eq!(log.matches("it is ***").count(), 5, "{log}");
    }

    #[test]
    fn a_long_text_keeps_both_ends() {
        let text = both_ends(format!("begin{}end", "ä".repeat(TEXT)));
        assert!(text.starts_with("begin") && text.ends_with("end") && text.len() < TEXT + 100);
    }
}
