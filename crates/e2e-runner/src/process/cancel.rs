//! Signals as a level: the first asks for an orderly end, each further one for a faster end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::{Exit, Failure};

/// Shows when work is to stop. A clone shares the count of signals but has its own patience.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    signals: Arc<AtomicUsize>,
    first: Arc<AtomicI32>,
    patience: usize,
    stopped: Arc<AtomicBool>,
    bound: Option<Bound>,
}

/// A deadline of all work together.
#[derive(Clone, Copy, Debug)]
struct Bound {
    at: Instant,
    after: Duration,
}

impl Cancel {
    /// Listens for SIGINT, SIGTERM and SIGHUP, which a closed terminal sends, until the process ends.
    pub fn on_signals() -> anyhow::Result<Self> {
        let cancel = Self::default();
        let seen = cancel.clone();
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
        std::thread::spawn(move || {
            for signal in signals.forever() {
                seen.raise(signal);
            }
        });
        Ok(cancel)
    }

    /// Counts one signal, as if it had come from outside.
    pub fn raise(&self, signal: i32) {
        if self.signals.fetch_add(1, Ordering::SeqCst) == 0 {
            self.first.store(signal, Ordering::SeqCst);
        }
    }

    /// The same signals for work that goes on through `count` more of them: evidence is collected after the first
    /// Ctrl-C and given up at the second, clean-up at the third.
    #[must_use]
    pub fn after(&self, count: usize) -> Self {
        Self {
            patience: self.patience + count,
            ..self.scope()
        }
    }

    /// The same signals for a group of stages that [`Cancel::stop`] can end without ending anything else.
    #[must_use]
    pub fn scope(&self) -> Self {
        Self {
            stopped: Arc::default(),
            ..self.clone()
        }
    }

    /// The same signals for work that may take no longer than this altogether.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            bound: Some(Bound {
                at: Instant::now() + deadline,
                after: deadline,
            }),
            ..self.clone()
        }
    }

    /// The bound of all work together, once it is over.
    pub fn overdue(&self) -> Option<Duration> {
        let bound = self.bound?;
        (Instant::now() >= bound.at).then_some(bound.after)
    }

    /// Ends the work of this scope, as when one of its stages has failed.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Whether the work that holds this value is to stop.
    pub fn is_raised(&self) -> bool {
        self.is_signalled() || self.stopped.load(Ordering::SeqCst) || self.overdue().is_some()
    }

    /// Whether it was a signal, and not the failure of another stage, that stops work.
    pub fn is_signalled(&self) -> bool {
        self.signals.load(Ordering::SeqCst) > self.patience
    }

    /// The exit code of an interrupted run, whatever this value's patience; none if no signal came.
    pub fn exit(&self) -> Option<Exit> {
        match self.signals.load(Ordering::SeqCst) {
            0 => None,
            _ => Some(match self.first.load(Ordering::SeqCst) {
                SIGTERM => Exit::Terminated,
                SIGHUP => Exit::HungUp,
                _ => Exit::Interrupted,
            }),
        }
    }

    /// Fails once a signal has come.
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_raised() {
            Err(self.failure())
        } else {
            Ok(())
        }
    }

    /// The failure that interrupted work reports.
    pub fn failure(&self) -> Failure {
        if let Some(after) = self.overdue().filter(|_| !self.is_signalled()) {
            let what = format!("cut off at its deadline of {} s", after.as_secs());
            return Failure::new(Exit::Deadline, what);
        }
        let exit = self.exit().unwrap_or(Exit::Interrupted);
        let signal = match exit {
            Exit::Terminated => "SIGTERM",
            Exit::HungUp => "SIGHUP: the terminal was closed",
            _ => "SIGINT",
        };
        Failure::new(exit, format!("stopped by {signal}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_within_a_bound_ends_with_it_and_is_told_so() {
        let cancel = Cancel::default();
        let bounded = cancel.within(Duration::ZERO);
        assert!(bounded.is_raised() && !cancel.is_raised());
        assert_eq!(bounded.failure().exit, Exit::Deadline);
        assert!(!cancel.within(Duration::from_mins(1)).is_raised());
    }

    #[test]
    fn the_first_signal_stops_work_and_leaves_clean_up_running() {
        let cancel = Cancel::default();
        let clean_up = cancel.after(1);
        cancel.raise(SIGINT);
        assert!(cancel.is_raised());
        assert!(!clean_up.is_raised());
        cancel.raise(SIGTERM);
        assert!(clean_up.is_raised());
        assert_eq!(
            cancel.exit(),
            Some(Exit::Interrupted),
            "the first signal decides the exit code"
        );
    }
}
