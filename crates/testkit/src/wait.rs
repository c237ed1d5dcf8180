//! Waiting for something that another process brings about.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Short at first, for what is almost there; long enough later not to disturb what is waited for.
const STEPS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];

/// Probes until `probe` returns `Ok` and returns that; panics at the deadline with what was seen last.
///
/// An `Err` says what is there instead. A probe that does not return is cut off at the deadline.
pub async fn until<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let started = Instant::now();
    let mut step = STEPS[0];
    let mut last = "nothing yet: the first probe did not return".to_owned();
    loop {
        match tokio::time::timeout(deadline.saturating_sub(started.elapsed()), probe()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(seen)) => last = seen.to_string(),
            Err(_) => {}
        }
        let waited = started.elapsed();
        assert!(
            waited < deadline,
            "waited {waited:.1?} for {what}; last seen: {last}"
        );
        tokio::time::sleep(step.min(deadline.saturating_sub(waited))).await;
        step = (step * 2).min(STEPS[1]);
    }
}
