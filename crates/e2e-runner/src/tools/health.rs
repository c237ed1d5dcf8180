//! What Data Storage, or a service, answers itself on its readiness, and when it is certain that it will stay unready.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::exit::{Exit, Failure};

/// Where Data Storage, fakes and services answer unless the table says otherwise.
pub const READY: &str = "/health/ready";
/// Where they answer as long as they run, ready or not.
pub const LIVE: &str = "/health/live";
/// How long a schema may be incomplete although its migrations are applied: as long as Data Storage needs to look again.
const UNRECOVERABLE_AFTER: Duration = Duration::from_secs(3);
/// After how long an answer that is no failure yet is told.
const NOTEWORTHY: Duration = Duration::from_secs(3);
/// How long an answer may take. In a cluster a question that comes between two pods is lost, and its connection tries again for
/// seconds, where a new one gets through at once.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Least time between two questions.
const PAUSE: Duration = Duration::from_millis(25);

/// What Data Storage said last, and since when it has said so.
#[derive(Debug)]
pub struct Health {
    what: String,
    url: String,
    agent: ureq::Agent,
    asked: Option<Instant>,
    answer: String,
    since: Instant,
    told: bool,
}

/// What follows from an answer.
#[derive(Debug)]
pub enum Verdict {
    /// It is ready.
    Ready,
    /// It may become ready; the sentence, if any, is new and worth showing.
    Wait(Option<String>),
    /// It will not become ready.
    Unrecoverable(Failure),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Readiness {
    reason: String,
    missing: Vec<String>,
}

impl Health {
    /// Asks what has this name and this base URL: Data Storage, or a service that answers as it does.
    pub fn of(what: &str, base: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            // A proxy of the environment does not reach this machine's own addresses.
            .proxy(None)
            .build();
        let (url, agent) = (format!("{base}{READY}"), agent.into());
        Self {
            what: what.to_owned(),
            url,
            agent,
            asked: None,
            answer: "nothing yet".to_owned(),
            since: Instant::now(),
            told: false,
        }
    }

    /// Asks on another path.
    #[must_use]
    pub fn on(mut self, base: &str, path: &str) -> Self {
        self.url = format!("{base}/{}", path.trim_start_matches('/'));
        self
    }

    /// What it said last, for a failure's evidence.
    pub fn seen(&self) -> String {
        format!("GET {} answered: {}", self.url, self.answer)
    }

    /// Asks, unless it was asked a moment ago.
    pub fn ask(&mut self) -> Verdict {
        if self.asked.is_some_and(|asked| asked.elapsed() < PAUSE) {
            return Verdict::Wait(None);
        }
        self.asked = Some(Instant::now());
        let (ready, answer) = match self.agent.get(&self.url).call() {
            Ok(mut response) => {
                let (status, body) = (response.status(), response.body_mut().read_to_string());
                let body = body.unwrap_or_default();
                let answer = if body.trim().is_empty() {
                    status.to_string()
                } else {
                    body
                };
                (status.is_success(), answer)
            }
            Err(error) => (false, error.to_string()),
        };
        if ready {
            return Verdict::Ready;
        }
        self.judge(answer, Instant::now())
    }

    fn judge(&mut self, answer: String, now: Instant) -> Verdict {
        if answer != self.answer {
            (self.answer, self.since, self.told) = (answer, now, false);
        }
        let lasted = now.duration_since(self.since);
        let readiness: Readiness = serde_json::from_str(&self.answer).unwrap_or_default();
        if readiness.reason == "schema_incomplete" && lasted > UNRECOVERABLE_AFTER {
            let what = format!(
                "Data Storage misses {} although its migrations are applied",
                readiness.missing.join(", ")
            );
            return Verdict::Unrecoverable(
                Failure::new(Exit::Setup, what).detail(self.seen()).hint(
                    "`cargo xtask migrate verify` with the same profile names the difference",
                ),
            );
        }
        if lasted > NOTEWORTHY && !self.told {
            self.told = true;
            return Verdict::Wait(Some(format!(
                "{} is not ready yet: {}",
                self.what, self.answer
            )));
        }
        Verdict::Wait(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: &str =
        r#"{"status":"not_ready","reason":"schema_incomplete","missing":["table audit_events"]}"#;

    #[test]
    fn a_table_that_stays_missing_is_named_and_ends_the_wait() {
        let (mut health, now) = (
            Health::of("Data Storage", "http://127.0.0.1:1"),
            Instant::now(),
        );
        assert!(matches!(
            health.judge(MISSING.to_owned(), now),
            Verdict::Wait(None)
        ));
        let Verdict::Unrecoverable(failure) =
            health.judge(MISSING.to_owned(), now + Duration::from_secs(4))
        else {
            panic!("no end")
        };
        assert!(failure.summary.contains("table audit_events"), "{failure}");
    }

    #[test]
    fn a_database_that_is_away_is_told_once_and_waited_for() {
        let (mut health, now) = (
            Health::of("Data Storage", "http://127.0.0.1:1"),
            Instant::now(),
        );
        let away = r#"{"status":"not_ready","reason":"database_unreachable"}"#;
        assert!(matches!(
            health.judge(away.to_owned(), now),
            Verdict::Wait(None)
        ));
        let later = now + Duration::from_secs(4);
        assert!(
            matches!(health.judge(away.to_owned(), later), Verdict::Wait(Some(text)) if text.contains("database_unreachable"))
        );
        assert!(matches!(
            health.judge(away.to_owned(), later),
            Verdict::Wait(None)
        ));
    }
}
