//! Events: what happens in a run, as it is written to its log and read back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Seconds since the run's process began.
    pub seconds: f64,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run began.
    Run {
        /// Its identity.
        run: String,
        /// `kind` or `local`.
        target: String,
        /// Why that target.
        why: String,
    },
    /// What the run is for.
    About {
        /// The services whose suites it runs.
        services: Vec<String>,
        /// The version of Kubernetes that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kubernetes: Option<String>,
        /// Which part of all services these are, where several jobs share them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shard: Option<String>,
    },
    /// A stage that the run means to perform.
    Planned {
        /// The stage's name.
        stage: String,
        /// The service it is done for, of several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// The stages that come before it, with their services' names before theirs.
        needs: Vec<String>,
        /// Least seconds that it ever took on this machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fastest: Option<f64>,
    },
    /// A stage began.
    StageStarted {
        /// The stage's name.
        stage: String,
        /// The service it is done for, of several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// A stage ended.
    StageEnded {
        /// The stage's name.
        stage: String,
        /// The service it was done for, of several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// How it ended.
        outcome: Outcome,
        /// Its duration in seconds; `seconds` is when it happened.
        #[serde(default, rename = "took")]
        seconds: f64,
        /// What it made or saw, in a few words.
        note: String,
    },
    /// A line of a command's output.
    Line {
        /// The stage's name.
        stage: String,
        /// The service it is of, of several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// The line.
        text: String,
    },
    /// A test of a suite ended.
    Test {
        /// The service whose suite it is.
        #[serde(default)]
        service: String,
        /// The suite, where the service has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suite: Option<String>,
        /// The test's name.
        name: String,
        /// Whether it passed.
        outcome: Outcome,
        /// Its duration in seconds, where the suite tells it.
        #[serde(default, rename = "took", skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        /// What it said, where it failed.
        #[serde(default)]
        text: String,
    },
    /// Something worth knowing that fails nothing.
    Note {
        /// The sentence.
        text: String,
    },
    /// What failed, as people are told.
    Failed(Failed),
    /// The run is over.
    Ended {
        /// The exit code.
        exit: u8,
    },
    /// An event that only another version of the tool knows; never written.
    #[serde(other)]
    Unknown,
}

/// What failed, as people are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The sentence.
    #[serde(alias = "what")]
    pub summary: String,
    /// Its evidence.
    #[serde(default)]
    #[serde(alias = "seen")]
    pub detail: String,
    /// The next move.
    #[serde(default)]
    #[serde(alias = "next")]
    pub hint: String,
}

/// How a stage or a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// A name with its service's before it, where a run has several.
pub fn full_name(service: Option<&str>, name: &str) -> String {
    service.map_or_else(|| name.to_owned(), |service| format!("{service}: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let events = [
            Event::Run {
                run: "a-1".to_owned(),
                target: "kind".to_owned(),
                why: String::new(),
            },
            Event::About {
                services: vec!["gateway".to_owned()],
                kubernetes: Some("1.34".to_owned()),
                shard: Some("2/3".to_owned()),
            },
            Event::Planned {
                stage: "migrate".to_owned(),
                service: Some("gateway".to_owned()),
                needs: vec!["preflight".to_owned()],
                fastest: Some(0.5),
            },
            Event::StageEnded {
                stage: "migrate".to_owned(),
                service: None,
                outcome: Outcome::Stopped,
                seconds: 1.5,
                note: "note".to_owned(),
            },
            Event::Test {
                service: "gateway".to_owned(),
                suite: Some("smoke".to_owned()),
                name: "a::b".to_owned(),
                outcome: Outcome::Failed,
                seconds: Some(0.25),
                text: "left: 1".to_owned(),
            },
            Event::Failed(Failed {
                summary: "it".to_owned(),
                detail: "this".to_owned(),
                hint: "that".to_owned(),
            }),
            Event::Ended { exit: 4 },
        ];
        for event in events {
            let record = Record {
                seconds: 2.5,
                at: Some(Timestamp::UNIX_EPOCH),
                event,
            };
            let line = serde_json::to_string(&record).unwrap();
            assert_eq!(
                serde_json::from_str::<Record>(&line).unwrap(),
                record,
                "{line}"
            );
        }
    }

    #[test]
    fn an_event_of_another_version_is_unknown_and_no_error() {
        let record: Record =
            serde_json::from_str(r#"{"seconds":1,"event":"paused","why":"x"}"#).unwrap();
        assert_eq!(record.event, Event::Unknown);
    }
}
