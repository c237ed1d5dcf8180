//! Settings of a store, and the sizes that each service has used so far.

use std::{path::PathBuf, time::Duration};

use datastorage_api::limits;
use datastorage_client::Access;

/// Settings of a [`crate::Store`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The emitting service: label of the metrics.
    pub service: String,
    /// Where accepted events are kept until they are stored.
    pub mode: Mode,
    /// Most events in one request, 1 to 10,000.
    pub batch_size: usize,
    /// Longest time that an event waits for others to join its batch.
    pub flush_interval: Duration,
    /// Longest time for one request.
    pub request_deadline: Duration,
    /// What proves to Data Storage who sends, and whom to trust there.
    pub access: Access,
    /// How retries are spaced; they do not end before the store does.
    pub backoff: Backoff,
}

/// Where accepted events are kept until they are stored.
#[derive(Debug, Clone)]
pub enum Mode {
    /// In files: a killed process loses nothing.
    Journal(JournalConfig),
    /// In memory only: whatever is not stored when the process ends is lost, and more than `events` are refused.
    Memory {
        /// Most events that wait.
        events: usize,
    },
}

/// Settings of the journal.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// A directory of this store's own, on storage that outlives the process; created if it is not there.
    pub directory: PathBuf,
    /// Bytes after which a new file is begun; a file is removed when all of it is stored.
    pub segment_bytes: u64,
    /// Bytes of all files together; beyond it events are refused.
    pub max_bytes: u64,
    /// Longest time from acceptance to the start of fsync: what a crash of the machine can lose (D32).
    pub sync_interval: Duration,
}

/// Spacing of retries: doubling from `first` to `longest`, each taken at random from its upper half, so that many services do not return at once.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Before the first retry.
    pub first: Duration,
    /// Before any retry.
    pub longest: Duration,
}

impl Config {
    /// The settings that services use (domain rule DD-AUDIT-004 for the buffer), with the journal in `directory`.
    pub fn for_service(service: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            service: service.into(),
            mode: Mode::Journal(JournalConfig::new(directory)),
            batch_size: 1000,
            flush_interval: Duration::from_secs(1),
            request_deadline: Duration::from_secs(10),
            access: Access::default(),
            backoff: Backoff {
                first: Duration::from_millis(100),
                longest: Duration::from_secs(10),
            },
        }
    }

    /// The same without a journal: what the buffer holds is lost with the process.
    pub fn memory_only(service: impl Into<String>) -> Self {
        let config = Self::for_service(service, PathBuf::new());
        let events = buffer_size(&config.service);
        Self {
            mode: Mode::Memory { events },
            ..config
        }
    }

    /// Every fault of these settings in one text.
    pub(crate) fn faults(&self) -> Option<String> {
        let mut faults = Vec::new();
        let mut check = |wrong: bool, fault: &str| {
            if wrong {
                faults.push(fault.to_owned());
            }
        };
        check(self.service.is_empty(), "service must be named");
        check(
            !(1..=limits::BATCH_EVENTS).contains(&self.batch_size),
            "batch_size must be 1 to 10000",
        );
        check(
            self.flush_interval.is_zero(),
            "flush_interval must be above zero",
        );
        check(
            self.request_deadline.is_zero(),
            "request_deadline must be above zero",
        );
        check(
            self.backoff.first.is_zero() || self.backoff.first > self.backoff.longest,
            "backoff.first must be above zero and at most backoff.longest",
        );
        match &self.mode {
            Mode::Memory { events } => check(
                *events == 0,
                "a memory-only store must hold at least one event",
            ),
            Mode::Journal(journal) => {
                check(
                    journal.directory.as_os_str().is_empty(),
                    "the journal needs a directory",
                );
                check(
                    journal.max_bytes < journal.segment_bytes,
                    "max_bytes must be at least segment_bytes",
                );
                check(
                    journal.sync_interval > Duration::from_millis(10),
                    "sync_interval must be at most 10 ms",
                );
            }
        }
        (!faults.is_empty()).then(|| faults.join("; "))
    }
}

impl JournalConfig {
    /// The usual sizes, in `directory`: files of 8 MiB, 1 GiB in all, fsync within 5 ms.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_bytes: 8 << 20,
            max_bytes: 1 << 30,
            sync_interval: Duration::from_millis(5),
        }
    }
}

/// Returns how many events `service` buffers (DD-AUDIT-004): the bound of a memory-only store, and of any store the backlog at which
/// `audit_buffer_utilization_ratio` reads 1.
pub fn buffer_size(service: &str) -> usize {
    match service {
        "datastorage" | "workflowexecution" => 50_000,
        "aianalysis"
        | "ai-analysis"
        | "notification"
        | "notification-controller"
        | "effectivenessmonitor" => 20_000,
        _ => 30_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_sizes_are_those_of_dd_audit_004() {
        for (service, events) in [
            ("datastorage", 50_000),
            ("workflowexecution", 50_000),
            ("gateway", 30_000),
            ("signalprocessing", 30_000),
            ("remediation-orchestrator", 30_000),
            ("aianalysis", 20_000),
            ("notification-controller", 20_000),
            ("effectivenessmonitor", 20_000),
            ("something-new", 30_000),
        ] {
            assert_eq!(buffer_size(service), events, "{service}");
            let Mode::Memory { events: bound } = Config::memory_only(service).mode else {
                panic!("memory-only has a buffer");
            };
            assert_eq!(bound, events, "{service}");
        }
    }

    #[test]
    fn the_usual_settings_have_no_fault() {
        assert_eq!(
            Config::for_service("gateway", "/var/lib/audit").faults(),
            None
        );
        assert_eq!(Config::memory_only("gateway").faults(), None);
    }
}
