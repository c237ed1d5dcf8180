//! How much a session holds, and how long it waits.

use std::time::Duration;

/// The bounds of a session. Both sides of one have the same, or the local end's are the smaller.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of a session at once. More wait until one has ended.
    pub streams: usize,
    /// Bytes that were sent and not acknowledged, of all connections together.
    pub unacknowledged: usize,
    /// Bytes of a connection that were received and that its reader has not taken, to begin with.
    pub window: u32,
    /// As much as that may grow to for a reader that keeps up.
    pub largest_window: u32,
    /// Bytes by which the windows of all connections together may grow.
    pub growth: usize,
    /// A side that has nothing to send says so this often.
    pub heartbeat: Duration,
    /// A transport on which nothing comes for this long is lost.
    pub silence: Duration,
    /// A session without a transport for this long is dropped.
    pub away: Duration,
    /// The longest pause between two attempts to get a transport.
    pub back_off: Duration,
    /// How long a target has to take a connection.
    pub connect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 512,
            unacknowledged: 4 << 20,
            window: 64 << 10,
            largest_window: 1 << 20,
            growth: 32 << 20,
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(4),
            away: Duration::from_mins(5),
            back_off: Duration::from_secs(1),
            connect: Duration::from_secs(30),
        }
    }
}
