//! The metrics of an audit store, under the names that services export already, plus the journal's.
//!
//! They are published by the sender, never by the accepting side: counting an event costs nothing there.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::{Report, stamp::now_micros};

/// Handles for one service's metrics; they go to the recorder that is installed when the store is opened.
pub(crate) struct Metrics {
    buffered: Counter,
    dropped: Counter,
    written: Counter,
    parked: Counter,
    batches_failed: Counter,
    buffer_size: Gauge,
    buffer_utilization: Gauge,
    journal_depth: Gauge,
    journal_bytes: Gauge,
    oldest_age: Gauge,
    access_refused: Gauge,
    write_duration: Histogram,
    capacity: f64,
}

/// What there is to publish.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) failed_requests: u64,
    pub(crate) journal_bytes: Option<u64>,
    /// When the oldest waiting event was accepted.
    pub(crate) oldest_us: Option<u64>,
    pub(crate) report: Report,
}

impl Metrics {
    pub(crate) fn new(service: &str, capacity: usize) -> Self {
        let service = || service.to_owned();
        let capacity = as_gauge(capacity as u64);
        gauge!("audit_buffer_capacity", "service" => service()).set(capacity);
        Self {
            buffered: counter!("audit_events_buffered_total", "service" => service()),
            dropped: counter!("audit_events_dropped_total", "service" => service()),
            written: counter!("audit_events_written_total", "service" => service()),
            parked: counter!("audit_events_parked_total", "service" => service()),
            batches_failed: counter!("audit_batches_failed_total", "service" => service()),
            buffer_size: gauge!("audit_buffer_size", "service" => service()),
            buffer_utilization: gauge!("audit_buffer_utilization_ratio", "service" => service()),
            journal_depth: gauge!("audit_journal_depth", "service" => service()),
            journal_bytes: gauge!("audit_journal_bytes", "service" => service()),
            oldest_age: gauge!("audit_journal_oldest_age_seconds", "service" => service()),
            access_refused: gauge!("audit_access_refused", "service" => service()),
            write_duration: histogram!("audit_write_duration_seconds", "service" => service()),
            capacity,
        }
    }

    /// Notes how long one request took.
    pub(crate) fn request(&self, took: Duration) {
        self.write_duration.record(took);
    }

    pub(crate) fn publish(&self, now: &Snapshot) {
        let waiting = as_gauge(now.report.journalled);
        self.buffered.absolute(now.accepted);
        self.dropped.absolute(now.refused + now.report.lost);
        self.written.absolute(now.report.stored);
        self.parked.absolute(now.report.parked);
        self.batches_failed.absolute(now.failed_requests);
        self.buffer_size.set(waiting);
        self.buffer_utilization.set(waiting / self.capacity);
        if let Some(bytes) = now.journal_bytes {
            self.journal_depth.set(waiting);
            self.journal_bytes.set(as_gauge(bytes));
        }
        let refused = now.report.is_refused_access();
        self.access_refused.set(f64::from(refused));
        let age = now
            .oldest_us
            .map_or(0, |oldest| now_micros().saturating_sub(oldest));
        self.oldest_age
            .set(Duration::from_micros(age).as_secs_f64());
    }
}

/// Gauges are floating point; counts beyond 2^53 are beyond this program.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn as_gauge(count: u64) -> f64 {
    count as f64
}
