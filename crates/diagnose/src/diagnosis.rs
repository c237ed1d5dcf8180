//! What was looked at and what was found.

use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::cause::Finding;

/// What was looked at and what was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Diagnosis {
    /// Everything that was looked at, in order.
    pub checks: Vec<Check>,
    /// What is wrong, the root first; none means healthy.
    pub findings: Vec<Finding>,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
    /// How long it took.
    #[serde(rename = "took_ms", serialize_with = "milliseconds")]
    pub took: Duration,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// A finding says what is wrong.
    Wrong,
    /// Not looked at; the detail says why.
    Skipped,
}

impl Diagnosis {
    /// Adds a check that began at `began`, with what it found.
    pub fn add(
        &mut self,
        name: &'static str,
        began: Instant,
        detail: impl Into<String>,
        findings: Vec<Finding>,
    ) {
        let verdict = if findings.is_empty() {
            Verdict::Ok
        } else {
            Verdict::Wrong
        };
        self.checks.push(Check {
            name,
            verdict,
            detail: detail.into(),
            took: began.elapsed(),
        });
        for finding in findings {
            self.find(finding);
        }
    }

    /// Adds a check that was skipped, and why.
    pub fn skip(&mut self, name: &'static str, why: impl Into<String>) {
        self.checks.push(Check {
            name,
            verdict: Verdict::Skipped,
            detail: why.into(),
            took: Duration::ZERO,
        });
    }

    /// Adds a finding. One that a known finding explains gives it its evidence instead.
    pub fn find(&mut self, finding: Finding) {
        let explains = |known: &&mut Finding| {
            if known.cause == finding.cause {
                known.object == finding.object || finding.object.is_empty()
            } else {
                known.cause.explains(finding.cause)
            }
        };
        let Some(known) = self.findings.iter_mut().find(explains) else {
            self.findings.push(finding);
            return;
        };
        for evidence in finding.evidence {
            if !known.evidence.contains(&evidence) {
                known.evidence.push(evidence);
            }
        }
    }

    /// Whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.findings.is_empty()
    }

    /// Puts the root first: a lock or a missing migration explains what else fails.
    pub fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.cause);
    }
}

/// Milliseconds with three digits after the point.
fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}
