//! A run as its event log tells it: stages, tests, what failed.

use std::collections::{HashMap, VecDeque};

use crate::event::{Event, Failed, Outcome, Record, full_name};
use crate::text::plain;

/// How many failures of one test are kept.
const FAILURES: usize = 5;
/// How many lines of a stage's output are kept: the end, where a failure is.
const LINES: usize = 400;

/// A run.
#[derive(Debug, Default)]
pub struct Log {
    /// Its identity.
    pub run: String,
    /// `kind` or `local`.
    pub target: String,
    /// Why that target.
    pub why: String,
    /// The services whose suites it runs; none in the log of an earlier version of the tool.
    pub services: Vec<String>,
    /// The version of Kubernetes that was asked for.
    pub kubernetes: Option<String>,
    /// Which part of all services these are, where several jobs share them.
    pub shard: Option<String>,
    /// When it began, RFC 3339.
    pub at: String,
    /// Its stages, in the order they began.
    pub stages: Vec<Stage>,
    /// Its tests, in the order in which each was first seen.
    pub tests: Vec<Test>,
    /// What people were told besides.
    pub notes: Vec<String>,
    /// What failed first.
    pub failure: Option<Failed>,
    /// Its exit code, unless it was killed.
    pub exit: Option<u8>,
    /// Seconds from its first event to its last.
    pub seconds: f64,
    /// Where each test stands: a suite may have many thousands.
    pub(crate) known: HashMap<Key, usize>,
}

/// A test by its service, its suite and its name.
type Key = (String, Option<String>, String);

/// One stage that began.
#[derive(Debug, Default)]
pub struct Stage {
    /// Its name, with the service's before it where there are several.
    pub name: String,
    /// The stages it comes after.
    pub needs: Vec<String>,
    /// Second at which it began.
    pub began: f64,
    /// Second at which it ended; none if the run was killed in it.
    pub ended: Option<f64>,
    /// How it ended; none if the run was killed in it.
    pub outcome: Option<Outcome>,
    /// What it made or saw.
    pub note: String,
    /// Least seconds that it ever took on this machine.
    pub fastest: Option<f64>,
    /// The end of what its commands printed.
    pub lines: VecDeque<String>,
    /// How many lines were left out before.
    pub cut: usize,
}

/// One test of a suite, with every attempt at it.
#[derive(Debug)]
pub struct Test {
    /// The service whose suite it is.
    pub service: String,
    /// The suite, where the service has several.
    pub suite: Option<String>,
    /// Its name.
    pub name: String,
    /// How each attempt ended: true for passed.
    pub attempts: Vec<bool>,
    /// Seconds of all attempts, where the suite tells them.
    pub seconds: Option<f64>,
    /// What the failed attempts said, the first of them first and not more than 5.
    pub failures: Vec<String>,
}

/// How a test stands after all attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every attempt passed.
    Passed,
    /// Some attempts passed, some failed: neither green nor red.
    Flaky,
    /// Every attempt failed.
    Failed,
}

impl Standing {
    /// The word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Flaky => "flaky",
            Self::Failed => "failed",
        }
    }
}

impl Test {
    /// Its name with its suite's before it, where the service has several.
    pub fn full_name(&self) -> String {
        full_name(self.suite.as_deref(), &self.name)
    }

    /// Its service with its suite, where that has several.
    pub fn suite_name(&self) -> String {
        match &self.suite {
            Some(suite) => format!("{}.{suite}", self.service),
            None => self.service.clone(),
        }
    }

    /// What the first failed attempt said.
    pub fn said(&self) -> &str {
        self.failures.first().map_or("", String::as_str)
    }

    /// The first line of that which says more than where it failed.
    pub fn why(&self) -> &str {
        let mut lines = self.said().lines().map(str::trim);
        let says = |line: &&str| {
            !line.is_empty() && !line.starts_with("thread '") && !line.starts_with("----")
        };
        lines.find(says).unwrap_or("failed")
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let passed = self.attempts.iter().filter(|passed| **passed).count();
        match passed {
            0 => Standing::Failed,
            all if all == self.attempts.len() => Standing::Passed,
            _ => Standing::Flaky,
        }
    }

    /// Failed attempts of all, in words; nothing where there was one attempt.
    pub fn tally(&self) -> String {
        if self.attempts.len() == 1 {
            return String::new();
        }
        let failed = self.attempts.iter().filter(|passed| !**passed).count();
        format!("failed {failed} of {} times", self.attempts.len())
    }
}

impl Log {
    /// Reads a log's text. A line that is no event, such as the half line of a killed run, is left out. A directory that was kept holds
    /// several runs' events; the last run's count.
    pub fn parse(text: &str) -> Self {
        let mut log = Self::default();
        let mut planned: Vec<Stage> = Vec::new();
        for record in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Record>(line).ok())
        {
            log.seconds = record.seconds;
            match record.event {
                Event::Run { run, target, why } => {
                    planned.clear();
                    log = Self {
                        run,
                        target,
                        why,
                        at: record.at.map(|at| at.to_string()).unwrap_or_default(),
                        ..Self::default()
                    };
                }
                Event::About {
                    services,
                    kubernetes,
                    shard,
                } => {
                    log.services = services;
                    log.kubernetes = kubernetes;
                    log.shard = shard;
                }
                Event::Planned {
                    stage,
                    service,
                    needs,
                    fastest,
                } => planned.push(Stage {
                    name: full_name(service.as_deref(), &stage),
                    needs,
                    fastest,
                    ..Stage::default()
                }),
                Event::StageStarted { stage, service } => {
                    let name = full_name(service.as_deref(), &stage);
                    let at = planned.iter().position(|stage| stage.name == name);
                    let mut stage = at.map_or_else(Stage::default, |at| planned.swap_remove(at));
                    stage.name = name;
                    stage.began = record.seconds;
                    log.stages.push(stage);
                }
                Event::StageEnded {
                    stage,
                    service,
                    outcome,
                    note,
                    ..
                } => {
                    if let Some(stage) = log.running(&full_name(service.as_deref(), &stage)) {
                        stage.ended = Some(record.seconds);
                        stage.outcome = Some(outcome);
                        stage.note = note;
                    }
                }
                Event::Line {
                    stage,
                    service,
                    text,
                } => {
                    if let Some(stage) = log.running(&full_name(service.as_deref(), &stage)) {
                        stage.line(plain(&text));
                    }
                }
                Event::Test {
                    service,
                    suite,
                    name,
                    outcome,
                    seconds,
                    text,
                } => {
                    let passed = outcome == Outcome::Ok;
                    log.test((service, suite, name), passed, seconds, &plain(&text));
                }
                Event::Note { text } => log.notes.push(plain(&text)),
                Event::Failed(failed) => log.fails(&failed),
                Event::Ended { exit } => log.exit = Some(exit),
                Event::Unknown => {}
            }
        }
        if log.failure.is_none() {
            log.failure = log.stages.iter().find_map(Stage::failure);
        }
        log
    }

    fn running(&mut self, name: &str) -> Option<&mut Stage> {
        self.stages
            .iter_mut()
            .rev()
            .find(|stage| stage.name == name)
    }

    fn test(&mut self, key: Key, passed: bool, took: Option<f64>, said: &str) {
        let (service, suite, name) = key.clone();
        let at = *self.known.entry(key).or_insert_with(|| {
            self.tests.push(Test {
                service,
                suite,
                name,
                attempts: Vec::new(),
                seconds: None,
                failures: Vec::new(),
            });
            self.tests.len() - 1
        });
        let test = &mut self.tests[at];
        test.attempts.push(passed);
        test.seconds = took
            .map(|took| took + test.seconds.unwrap_or_default())
            .or(test.seconds);
        if !passed && test.failures.len() < FAILURES {
            let said = own_part(said, &test.name).to_owned();
            test.failures.push(said);
        }
    }

    fn fails(&mut self, failure: &Failed) {
        let clean = Failed {
            summary: plain(&failure.summary),
            detail: plain(&failure.detail),
            hint: plain(&failure.hint),
        };
        // Of several the first decides.
        self.failure.get_or_insert(clean);
    }

    /// Whether everything passed, in a word: a run without an end was killed.
    pub fn verdict(&self) -> String {
        match self.exit {
            Some(0) => "passed".to_owned(),
            Some(1) => "tests failed".to_owned(),
            Some(129 | 130 | 143) => "interrupted".to_owned(),
            Some(code) => format!("failed, exit {code}"),
            None => "killed before its end".to_owned(),
        }
    }

    /// The tests that both passed and failed.
    pub fn flaky(&self) -> impl Iterator<Item = &Test> {
        let tests = self.tests.iter();
        tests.filter(|test| test.standing() == Standing::Flaky)
    }

    /// Tests that passed, are flaky, failed.
    pub fn counts(&self) -> [usize; 3] {
        [Standing::Passed, Standing::Flaky, Standing::Failed].map(|wanted| {
            let of = self.tests.iter().filter(|test| test.standing() == wanted);
            of.count()
        })
    }
}

/// What libtest prints of one test among several: from its own heading to the next.
fn own_part<'a>(said: &'a str, name: &str) -> &'a str {
    let heading = format!("---- {name} stdout ----");
    let Some((_, rest)) = said.split_once(&heading) else {
        return said;
    };
    rest.split("\n---- ").next().unwrap_or(rest).trim()
}

impl Stage {
    /// How it ended, in a word.
    pub fn outcome_word(&self) -> &'static str {
        match self.outcome {
            Some(outcome) if self.ended.is_some() => outcome.word(),
            _ => "killed",
        }
    }

    /// What a failed stage tells of itself, where the run was killed before it told of the failure.
    fn failure(&self) -> Option<Failed> {
        (self.outcome == Some(Outcome::Failed)).then(|| Failed {
            summary: format!("{}: {}", self.name, self.note),
            detail: {
                let from = self.lines.len().saturating_sub(20);
                let lines: Vec<_> = self.lines.range(from..).map(String::as_str).collect();
                lines.join("\n")
            },
            hint: String::new(),
        })
    }

    /// The end of what its commands printed, as one text.
    pub fn printed(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    fn line(&mut self, text: String) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
            self.cut += 1;
        }
        self.lines.push_back(text);
    }

    /// How many seconds it took, of a run that ended at `end`.
    pub fn took(&self, end: f64) -> f64 {
        (self.ended.unwrap_or(end) - self.began).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_keeps_only_its_own_words() {
        let said = "---- a::one stdout ----\nfirst\n\n---- a::two stdout ----\nsecond\n";
        assert_eq!(own_part(said, "a::one"), "first");
        assert_eq!(own_part(said, "a::two"), "second");
        assert_eq!(own_part("no heading", "a"), "no heading");
    }

    #[test]
    fn the_last_run_of_a_kept_directory_counts() {
        let run = |name: &str| {
            format!(
                "{{\"seconds\":0,\"event\":\"run\",\"run\":\"{name}\",\"target\":\"local\",\"why\":\"\"}}\n"
            )
        };
        let ended = "{\"seconds\":1,\"event\":\"ended\",\"exit\":1}\n";
        let log = Log::parse(&[&run("a"), ended, &run("a")].concat());
        assert_eq!(
            (log.exit, log.verdict().as_str()),
            (None, "killed before its end")
        );
    }
}
