//! How fast a client has to be with what it sends or takes.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes a second that the slowest tolerated line carries.
const BYTES_PER_SECOND: u32 = 64 << 10;

/// A client's credit: it runs out with time, and every byte adds to it, up to a bound. So neither a burst before a long silence
/// nor a trickle counts as fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    grace: Duration,
    slow_from: Instant,
}

impl Pace {
    /// From now on, slow once it is `grace` behind.
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            slow_from: Instant::now() + grace,
        }
    }

    /// So many bytes went over the line.
    pub(crate) fn moved(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let most = Instant::now() + self.grace;
        let earned = Duration::from_secs(1) * bytes / BYTES_PER_SECOND;
        self.slow_from = (self.slow_from + earned).min(most);
    }

    /// When it is slow, if nothing moves until then.
    pub(crate) fn slow_from(&self) -> Instant {
        self.slow_from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn neither_a_trickle_nor_a_burst_before_a_silence_counts_as_fast() {
        let mut trickle = Pace::new(GRACE);
        let mut steady = Pace::new(GRACE);
        let mut burst = Pace::new(GRACE);
        burst.moved(16 << 20);
        for _ in 0..20 {
            tokio::time::advance(Duration::from_millis(100)).await;
            trickle.moved(1);
            steady.moved(8 << 10);
        }
        let now = Instant::now();
        assert!(trickle.slow_from() < now, "a trickle");
        assert!(burst.slow_from() < now, "a burst");
        assert!(steady.slow_from() > now, "a steady line");
    }
}
