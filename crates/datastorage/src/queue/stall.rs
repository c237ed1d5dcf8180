//! Since when the queue is not drained, and why: for readiness and the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A failure that lasts so long is no passing one.
const LASTING: Duration = Duration::from_secs(10);
/// How often a stall is logged again.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// What the drain says of its work.
#[derive(Debug, Default)]
pub(super) struct Stalls(Mutex<Option<Failing>>);

#[derive(Debug)]
struct Failing {
    since: Instant,
    /// Whether nothing at all can be stored.
    wholly: bool,
    said: Instant,
}

impl Stalls {
    /// A group was stored, or nothing waits.
    pub(super) fn clear(&self) {
        if let Some(failing) = self.failing().take() {
            let lasted = failing.since.elapsed();
            if lasted >= LASTING {
                tracing::info!(seconds = lasted.as_secs(), "the queue is drained again");
            }
        }
    }

    /// A group could not be stored; `wholly`, if no other could be either. Says so in the log at first and every half minute.
    pub(super) fn note(&self, reason: &str, wholly: bool) {
        let mut failing = self.failing();
        let now = Instant::now();
        let first = failing.is_none();
        let failing = failing.get_or_insert_with(|| Failing {
            since: now,
            wholly,
            said: now,
        });
        if wholly && !failing.wholly {
            failing.since = now;
        }
        failing.wholly = wholly;
        if first || failing.said.elapsed() >= SAY_EVERY {
            failing.said = now;
            let seconds = failing.since.elapsed().as_secs();
            tracing::error!(
                reason,
                seconds,
                "queued writes are not stored; they stay queued and are tried again"
            );
        }
    }

    /// Whether nothing was stored for too long.
    pub(super) fn is_lasting(&self) -> bool {
        let failing = self.failing();
        failing
            .as_ref()
            .is_some_and(|failing| failing.wholly && failing.since.elapsed() >= LASTING)
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, Option<Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
