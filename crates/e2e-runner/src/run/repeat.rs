//! Runs a suite again and again on one environment, to find what passes only at times.

use crate::exit::{Exit, Failure};
use crate::process::cancel::Cancel;

/// How often a suite runs.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    /// How many times, on the same environment.
    pub times: u32,
    /// Whether the first time that it fails is the last.
    pub until_fail: bool,
}

impl Default for Repeat {
    fn default() -> Self {
        Self {
            times: 1,
            until_fail: false,
        }
    }
}

impl Repeat {
    /// Calls `once` until it was called often enough. Failed tests are counted; any other failure ends it at once.
    pub fn run(
        self,
        cancel: &Cancel,
        note: impl Fn(&str),
        mut once: impl FnMut() -> Result<String, Failure>,
    ) -> Result<String, Failure> {
        if self.times == 1 {
            return once();
        }
        let (mut ran, mut failed, mut first, mut last) = (0, 0, None, String::new());
        while ran < self.times && !(self.until_fail && failed > 0) {
            cancel.check()?;
            ran += 1;
            note(&format!("suite run {ran} of {}", self.times));
            match once() {
                Ok(words) => last = words,
                Err(failure) if failure.exit == Exit::TestsFailed => {
                    failed += 1;
                    first.get_or_insert(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        match first {
            None => Ok(format!("{last}, each of {ran} times")),
            Some(first) => Err(Failure {
                summary: format!(
                    "failed in {failed} of {ran} runs; first failure: {}",
                    first.summary
                ),
                ..first
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a suite of which these times fail answers, and how often it ran.
    fn suite(repeat: u32, until_fail: bool, fails: &[u32]) -> (Result<String, Failure>, u32) {
        let mut ran = 0;
        let repeat = Repeat {
            times: repeat,
            until_fail,
        };
        let outcome = repeat.run(
            &Cancel::default(),
            |_| {},
            || {
                ran += 1;
                if fails.contains(&ran) {
                    Err(Failure::new(Exit::TestsFailed, format!("time {ran}")))
                } else {
                    Ok("3 passed".to_owned())
                }
            },
        );
        (outcome, ran)
    }

    #[test]
    fn every_time_is_run_and_the_first_failure_is_told_with_how_many_there_were() {
        let (outcome, ran) = suite(5, false, &[2, 4]);
        assert_eq!(
            (outcome.map_err(|failure| failure.summary), ran),
            (
                Err("failed in 2 of 5 runs; first failure: time 2".to_owned()),
                5
            )
        );
        let (outcome, _) = suite(5, false, &[]);
        assert_eq!(
            outcome.map_err(|failure| failure.summary),
            Ok("3 passed, each of 5 times".to_owned())
        );
    }

    #[test]
    fn until_fail_stops_at_the_first_failure() {
        let (outcome, ran) = suite(1000, true, &[3]);
        assert_eq!((outcome.is_err(), ran), (true, 3));
    }
}
