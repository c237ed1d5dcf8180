//! Metrics of one instance, in the names of the existing service where they still mean something (domain: `datastorage_`).

use std::time::{Duration, Instant};

use datastorage_api::EventCategory;
use jiff::Timestamp;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::connections::Clients;
use crate::outcome::Outcome;
use crate::process;
use crate::queue::{Capacity, Depth, Faults};
use crate::store::PoolConnections;

/// Seconds; from a quick commit to the timeouts.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// How full the queue is when each of the existing alarms is raised.
const FULLNESS: [(&str, f64); 3] = [
    ("datastorage_dlq_warning", 0.8),
    ("datastorage_dlq_critical", 0.9),
    ("datastorage_dlq_overflow_imminent", 0.95),
];
/// Counts per group.
const COUNTS: [f64; 11] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0,
];

/// What the counters count.
const COUNTERS: [(&str, &str); 11] = [
    (
        "datastorage_http_connections_closed_total",
        "Connections of clients that were closed because as many were open as may be: of those that waited for their client the one that did longest, or the new one.",
    ),
    ("datastorage_write_total", "Writes to a table."),
    (
        "datastorage_audit_traces_total",
        "Audit events that were answered with success, by their category.",
    ),
    (
        "datastorage_dlq_enqueue_total",
        "Writes that went into the local queue.",
    ),
    (
        "datastorage_validation_failures_total",
        "Fields of requests that break the contract.",
    ),
    ("datastorage_query_total", "Reads."),
    (
        "datastorage_own_events_lost_total",
        "Audit events of the server's own that were stored nowhere.",
    ),
    (
        "datastorage_queue_failures_total",
        "Looks at the queue's file that failed.",
    ),
    (
        "datastorage_refused_calls_total",
        "Calls that were refused for who makes them, by the reason.",
    ),
    (
        "datastorage_tls_handshakes_failed_total",
        "Connections that ended before they were encrypted, by the reason.",
    ),
    (
        "datastorage_queue_unreadable_total",
        "Queued writes that could not be read and were parked as they are.",
    ),
];
/// What the gauges show.
const GAUGES: [(&str, &str); 17] = [
    (
        "datastorage_http_connections",
        "Open connections of clients.",
    ),
    (
        "datastorage_append_only",
        "Whether this server may only add to the audit trail, and neither change nor delete what is in it.",
    ),
    (
        "datastorage_partitions_ahead",
        "Whether the partitions of the months ahead could be made.",
    ),
    (
        "datastorage_database_available",
        "Whether the database was there when it was last asked.",
    ),
    (
        "datastorage_credentials_current",
        "Whether the files of tokens and of TLS are in force as they are now.",
    ),
    (
        "datastorage_pool_connections",
        "Connections to the database, by pool and state.",
    ),
    (
        "datastorage_queue_available",
        "Whether the local queue can be used.",
    ),
    (
        "datastorage_queue_bytes",
        "Bytes of the writes that wait in the local queue.",
    ),
    (
        "datastorage_queue_file_bytes",
        "Bytes of the local queue's file.",
    ),
    (
        "datastorage_queue_parked",
        "Queued writes that the database refused for good, or that cannot be read.",
    ),
    (
        "datastorage_queue_damaged_files",
        "Damaged queue files that were set aside and may hold accepted writes.",
    ),
    (
        "datastorage_queue_oldest_age_seconds",
        "Age of the oldest write that waits in the local queue.",
    ),
    (
        "datastorage_dlq_depth",
        "Writes that wait in the local queue.",
    ),
    (
        "datastorage_dlq_capacity_ratio",
        "How full the local queue is, from 0 to 1.",
    ),
    (
        "datastorage_dlq_warning",
        "Whether the local queue is at least 80 % full.",
    ),
    (
        "datastorage_dlq_critical",
        "Whether the local queue is at least 90 % full.",
    ),
    (
        "datastorage_dlq_overflow_imminent",
        "Whether the local queue is at least 95 % full.",
    ),
];
/// What the histograms measure.
const HISTOGRAMS: [(&str, &str); 5] = [
    (
        "datastorage_write_duration_seconds",
        "Duration of writes to a table.",
    ),
    ("datastorage_query_duration_seconds", "Duration of reads."),
    (
        "datastorage_audit_lag_seconds",
        "Time from an event to its answer.",
    ),
    (
        "datastorage_group_commit_requests",
        "Requests that share a transaction.",
    ),
    (
        "datastorage_group_commit_events",
        "Events that share a transaction.",
    ),
];

/// What is looked at only when the metrics are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// None, if the queue cannot be used.
    pub(crate) depth: Option<Depth>,
    pub(crate) capacity: Capacity,
    pub(crate) faults: Faults,
    pub(crate) now: Timestamp,
    pub(crate) pools: [PoolConnections; 3],
    pub(crate) away: bool,
    pub(crate) clients: Clients,
}

/// Everything that one instance counts, in a recorder of its own, so that instances in one process do not mix.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    hot: Hot,
}

/// Handles that every write uses, resolved once.
struct Hot {
    categories: [CategoryMetrics; EventCategory::ALL.len()],
    group_requests: Histogram,
    group_events: Histogram,
    write_seconds: Histogram,
    write_success: Counter,
    write_failure: Counter,
    enqueued: Counter,
}

struct CategoryMetrics {
    stored: Counter,
    queued: Counter,
    lag: Histogram,
}

impl Metrics {
    /// Nothing counted yet.
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // Setting buckets fails only for an empty list.
        let builder = builder
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .unwrap_or_default();
        let builder = builder
            .set_buckets_for_metric(
                Matcher::Prefix("datastorage_group_commit_".to_owned()),
                &COUNTS,
            )
            .unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, || {
            for (name, help) in COUNTERS {
                describe_counter!(name, help);
            }
            for (name, help) in GAUGES {
                describe_gauge!(name, help);
            }
            for (name, help) in HISTOGRAMS {
                describe_histogram!(name, help);
            }
        });
        let hot = with_local_recorder(&recorder, || Hot {
            categories: EventCategory::ALL.map(CategoryMetrics::of),
            group_requests: histogram!("datastorage_group_commit_requests"),
            group_events: histogram!("datastorage_group_commit_events"),
            write_seconds: histogram!("datastorage_write_duration_seconds", "table" => "audit_events"),
            write_success: counter!("datastorage_write_total", "table" => "audit_events", "status" => "success"),
            write_failure: counter!("datastorage_write_total", "table" => "audit_events", "status" => "failure"),
            enqueued: counter!("datastorage_dlq_enqueue_total", "stream" => "audit_events", "type" => "audit_event"),
        });
        Self {
            recorder,
            handle,
            hot,
        }
    }

    /// Folds recorded samples into their buckets; they pile up in memory until then, scraped or not.
    pub(crate) fn fold(&self) {
        self.handle.run_upkeep();
    }

    /// A group was sent to the database.
    pub(crate) fn group(&self, requests: usize, events: usize) {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let (requests, events) = (requests as f64, events as f64);
        self.hot.group_requests.record(requests);
        self.hot.group_events.record(events);
    }

    /// Measures one write to the audit table.
    pub(crate) fn write_timer(&self) -> Timer<'_> {
        Timer {
            started: Instant::now(),
            seconds: self.hot.write_seconds.clone(),
            success: &self.hot.write_success,
            failure: &self.hot.write_failure,
        }
    }

    /// A row was written, or not, to a table that is written rarely.
    pub(crate) fn row_written(&self, table: &'static str, since: Instant, success: bool) {
        let status = if success { "success" } else { "failure" };
        with_local_recorder(&self.recorder, || {
            counter!("datastorage_write_total", "table" => table, "status" => status).increment(1);
            histogram!("datastorage_write_duration_seconds", "table" => table)
                .record(seconds(since.elapsed()));
        });
    }

    /// A notification record went into the queue.
    pub(crate) fn notification_enqueued(&self) {
        with_local_recorder(&self.recorder, || {
            counter!("datastorage_dlq_enqueue_total", "stream" => "notification_audit", "type" => "notification").increment(1);
        });
    }

    /// Events went into the queue.
    pub(crate) fn enqueued(&self, events: usize) {
        self.hot.enqueued.increment(events as u64);
    }

    /// An event of the server's own was stored nowhere.
    pub(crate) fn own_event_lost(&self) {
        with_local_recorder(&self.recorder, || {
            counter!("datastorage_own_events_lost_total").increment(1);
        });
    }

    /// An event was answered.
    pub(crate) fn events_written(
        &self,
        category: EventCategory,
        time: Timestamp,
        now: Timestamp,
        outcome: &Outcome,
    ) {
        let Some(metrics) = EventCategory::ALL
            .iter()
            .position(|known| *known == category)
            .and_then(|at| self.hot.categories.get(at))
        else {
            return;
        };
        match outcome {
            Outcome::Stored => metrics.stored.increment(1),
            Outcome::Queued => metrics.queued.increment(1),
            _ => return,
        }
        metrics
            .lag
            .record(now.duration_since(time).as_secs_f64().max(0.0));
    }

    /// Whether the partitions of the months ahead could be made.
    pub(crate) fn partitions_ahead(&self, made: bool) {
        with_local_recorder(&self.recorder, || {
            gauge!("datastorage_partitions_ahead").set(f64::from(made));
        });
    }

    /// Whether the server may only add to the audit trail.
    pub(crate) fn append_only(&self, append_only: bool) {
        with_local_recorder(&self.recorder, || {
            gauge!("datastorage_append_only").set(f64::from(append_only));
        });
    }

    /// A call was refused for who makes it. `reason` becomes a series.
    pub(crate) fn refused_call(&self, reason: &'static str) {
        with_local_recorder(&self.recorder, || {
            counter!("datastorage_refused_calls_total", "reason" => reason).increment(1);
        });
    }

    /// A connection was not encrypted. `reason` becomes a series.
    pub(crate) fn handshake_failed(&self, reason: &'static str) {
        with_local_recorder(&self.recorder, || {
            counter!("datastorage_tls_handshakes_failed_total", "reason" => reason).increment(1);
        });
    }

    /// Whether files of credentials are in force as they are now. `files` becomes a series.
    pub(crate) fn credentials_current(&self, files: &'static str, current: bool) {
        with_local_recorder(&self.recorder, || {
            gauge!("datastorage_credentials_current", "files" => files).set(f64::from(current));
        });
    }

    /// A field of a request broke the contract. `field` is a name of the contract: each becomes a series.
    pub(crate) fn validation_failure(&self, field: &str) {
        let field = field.to_owned();
        with_local_recorder(&self.recorder, || {
            counter!("datastorage_validation_failures_total", "field" => field, "reason" => "invalid").increment(1);
        });
    }

    /// Measures one read.
    pub(crate) fn query_timer(&self, operation: &'static str) -> QueryTimer<'_> {
        QueryTimer {
            metrics: self,
            operation,
            started: Instant::now(),
        }
    }

    /// Sets what is looked at only when the metrics are read, and renders them all.
    pub(crate) fn render(&self, seen: Seen) -> String {
        let Seen {
            depth,
            capacity,
            faults,
            now,
            pools,
            away,
            clients,
        } = seen;
        with_local_recorder(&self.recorder, || {
            gauge!("datastorage_database_available").set(if away { 0.0 } else { 1.0 });
            for pool in pools {
                for (state, count) in [("in_use", pool.in_use), ("open", pool.open)] {
                    set(
                        &gauge!("datastorage_pool_connections", "pool" => pool.name, "state" => state),
                        count as u64,
                    );
                }
            }
            set(&gauge!("datastorage_http_connections"), clients.open as u64);
            for (which, count) in [("waiting", clients.closed), ("new", clients.refused)] {
                counter!("datastorage_http_connections_closed_total", "which" => which)
                    .absolute(count);
            }
            gauge!("datastorage_queue_available").set(if depth.is_some() { 1.0 } else { 0.0 });
            counter!("datastorage_queue_failures_total").absolute(faults.failures);
            counter!("datastorage_queue_unreadable_total").absolute(faults.unreadable);
            set(&gauge!("datastorage_queue_damaged_files"), faults.aside);
            if let Some(depth) = depth {
                set(
                    &gauge!("datastorage_dlq_depth", "stream" => "audit_events"),
                    depth.pending,
                );
                set(&gauge!("datastorage_queue_bytes"), depth.bytes);
                set(&gauge!("datastorage_queue_parked"), depth.parked);
                set(&gauge!("datastorage_queue_file_bytes"), depth.file_bytes);
                let age = depth.oldest.map_or(0.0, |oldest| {
                    now.duration_since(oldest).as_secs_f64().max(0.0)
                });
                gauge!("datastorage_queue_oldest_age_seconds").set(age);
                let ratio = ratio(depth, capacity);
                gauge!("datastorage_dlq_capacity_ratio", "stream" => "audit_events").set(ratio);
                for (name, from) in FULLNESS {
                    gauge!(name, "stream" => "audit_events").set(f64::from(ratio >= from));
                }
            }
        });
        self.handle.render() + &process::render()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl CategoryMetrics {
    fn of(category: EventCategory) -> Self {
        let service = category.as_str();
        Self {
            stored: counter!("datastorage_audit_traces_total", "service" => service, "status" => "success"),
            queued: counter!("datastorage_audit_traces_total", "service" => service, "status" => "dlq_fallback"),
            lag: histogram!("datastorage_audit_lag_seconds", "service" => service),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn set(gauge: &Gauge, value: u64) {
    gauge.set(value as f64);
}

/// How full the queue is, by the fuller of entries and bytes; what is parked takes its place too.
#[expect(clippy::cast_precision_loss, reason = "a ratio is a float")]
fn ratio(depth: Depth, capacity: Capacity) -> f64 {
    let (entries, bytes) = (
        depth.pending + depth.parked,
        depth.bytes + depth.parked_bytes,
    );
    (entries as f64 / capacity.entries as f64).max(bytes as f64 / capacity.bytes as f64)
}

/// Measures a write until [`Timer::done`].
pub(crate) struct Timer<'a> {
    started: Instant,
    seconds: Histogram,
    success: &'a Counter,
    failure: &'a Counter,
}

impl Timer<'_> {
    /// The write ended.
    pub(crate) fn done(self, success: bool) {
        self.seconds.record(seconds(self.started.elapsed()));
        if success { self.success } else { self.failure }.increment(1);
    }
}

/// Measures a read until [`QueryTimer::done`].
pub(crate) struct QueryTimer<'a> {
    metrics: &'a Metrics,
    operation: &'static str,
    started: Instant,
}

impl QueryTimer<'_> {
    /// The read ended.
    pub(crate) fn done(self, success: bool) {
        let status = if success { "success" } else { "failure" };
        with_local_recorder(&self.metrics.recorder, || {
            counter!("datastorage_query_total", "operation" => self.operation, "status" => status)
                .increment(1);
            histogram!("datastorage_query_duration_seconds", "operation" => self.operation)
                .record(seconds(self.started.elapsed()));
        });
    }
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}
