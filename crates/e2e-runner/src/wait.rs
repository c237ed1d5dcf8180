//! The one bounded wait: asks again until something is ready, has failed, takes too long, or a signal ends it.

use std::time::{Duration, Instant};

use crate::exit::{Exit, Failure};
use crate::process::cancel::Cancel;

/// What a look at something that is waited for has shown.
#[derive(Debug)]
pub enum Look<T> {
    /// It is there.
    Ready(T),
    /// Not yet; this was there instead, for the failure at the deadline.
    NotYet(String),
}

/// A wait: for what, how long at most, and how often it looks.
#[derive(Clone, Copy, Debug)]
pub struct Wait<'a> {
    /// What is the matter as long as it lasts, as in "Data Storage was not ready".
    pub what: &'a str,
    /// The longest time.
    pub deadline: Duration,
    /// Time between two looks.
    pub interval: Duration,
}

impl Wait<'_> {
    /// Looks until there is an answer.
    ///
    /// Fails at once with the failure of a look or with that of a signal, and at the deadline with what was seen last. A look that
    /// does not return is not cut off: it has to have a bound of its own.
    pub fn until<T>(
        &self,
        cancel: &Cancel,
        mut look: impl FnMut() -> Result<Look<T>, Failure>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        loop {
            let last = match look()? {
                Look::Ready(found) => return Ok(found),
                Look::NotYet(seen) => seen,
            };
            cancel.check()?;
            if began.elapsed() >= self.deadline {
                let what = format!("{} after {} s", self.what, self.deadline.as_secs());
                return Err(Failure::new(Exit::Deadline, what).detail(last));
            }
            std::thread::sleep(self.interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Wait<'static> = Wait {
        what: "it was not there",
        deadline: Duration::from_millis(20),
        interval: Duration::from_millis(1),
    };

    #[test]
    fn what_becomes_ready_is_handed_over() {
        let mut looks = 0;
        let found = WAIT.until(&Cancel::default(), || {
            looks += 1;
            Ok(if looks == 3 {
                Look::Ready(looks)
            } else {
                Look::NotYet(String::new())
            })
        });
        assert_eq!(found.map_err(|failure| failure.to_string()), Ok(3));
    }

    #[test]
    fn the_deadline_tells_what_was_seen_last() {
        let mut looks = 0;
        let failure = WAIT
            .until(&Cancel::default(), || {
                looks += 1;
                Ok(Look::<()>::NotYet(format!("look {looks}")))
            })
            .unwrap_err();
        assert_eq!(failure.exit, Exit::Deadline);
        assert!(failure.summary.starts_with("it was not there after"));
        assert_eq!(failure.detail, Some(format!("look {looks}")));
    }

    #[test]
    fn a_failed_look_and_a_signal_end_it_at_once() {
        let failed = WAIT.until(&Cancel::default(), || {
            Err::<Look<()>, _>(Failure::new(Exit::Setup, "it died"))
        });
        assert_eq!(failed.unwrap_err().summary, "it died");
        let cancel = Cancel::default();
        cancel.raise(2);
        let stopped = WAIT.until(&cancel, || Ok(Look::<()>::NotYet(String::new())));
        assert_eq!(stopped.unwrap_err().exit, Exit::Interrupted);
    }
}
