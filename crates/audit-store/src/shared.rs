//! What the accepting side, the sender and the syncer share.

use std::{
    ops::Deref as _,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use crate::{Recovered, Report, StoreError, journal::Journal, memory::Memory, stamp::Stamper};

/// Where accepted events wait.
#[derive(Debug)]
pub(crate) enum Queue {
    Journal(Journal),
    Memory(Memory),
    /// After the end: the journal's lock is free.
    Gone,
}

/// The part that is locked for each event.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) queue: Queue,
    pub(crate) stamper: Stamper,
    /// Whether new events are refused.
    pub(crate) closed: bool,
    /// Events accepted, recovered ones included.
    pub(crate) accepted: u64,
    /// Events that are stored, parked or lost.
    pub(crate) settled: u64,
}

/// How far fsync has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Synced {
    /// This many accepted events survive a crash of the machine.
    pub(crate) through: u64,
    /// This many were covered by a sync that failed, and how.
    pub(crate) failed: Option<(u64, Arc<str>)>,
}

/// What the accepting side, the sender and the syncer share.
#[derive(Debug)]
pub(crate) struct Shared {
    backlog: Mutex<Backlog>,
    /// Something unsynced came up, or the end.
    pub(crate) unsynced: Condvar,
    /// A whole batch waits.
    pub(crate) full: Notify,
    /// `wanted` grew.
    pub(crate) urgent: Notify,
    pub(crate) progress: watch::Sender<Report>,
    /// What an earlier process left, as far as it is counted.
    pub(crate) recovered: watch::Sender<Recovered>,
    /// Whether all of that is counted.
    pub(crate) counted: watch::Sender<bool>,
    pub(crate) synced: watch::Sender<Synced>,
    pub(crate) stopping: watch::Sender<bool>,
    /// Somebody waits for this many events to be settled.
    pub(crate) wanted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed_requests: AtomicU64,
    stopped: AtomicBool,
}

impl Shared {
    pub(crate) fn new(queue: Queue) -> Self {
        let counted = matches!(queue, Queue::Memory(_));
        let backlog = Backlog {
            queue,
            stamper: Stamper::new(),
            closed: false,
            accepted: 0,
            settled: 0,
        };
        Self {
            backlog: Mutex::new(backlog),
            unsynced: Condvar::new(),
            full: Notify::new(),
            urgent: Notify::new(),
            progress: watch::Sender::new(Report::default()),
            recovered: watch::Sender::new(Recovered::default()),
            counted: watch::Sender::new(counted),
            synced: watch::Sender::new(Synced::default()),
            stopping: watch::Sender::new(false),
            wanted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed_requests: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Locks the backlog. Every change to it is complete before anything that may panic, so a poisoned lock is as good as any.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells both threads to end; what is accepted stays where it is.
    pub(crate) fn stop(&self) {
        let backlog = self.lock();
        self.stopped.store(true, Ordering::Release);
        self.stopping.send_replace(true);
        self.unsynced.notify_all();
        drop(backlog);
    }

    /// Returns whether [`Shared::stop`] was called.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Returns the counts of now.
    pub(crate) fn report(&self) -> Report {
        let waiting = self.lock().waiting();
        Report {
            journalled: waiting,
            ..self.progress.borrow().deref().clone()
        }
    }
}

impl Backlog {
    /// Returns how many events wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.accepted.saturating_sub(self.settled)
    }

    /// Appends events, all or none, each with the time of its acceptance and what serialises it.
    pub(crate) fn append<W>(
        &mut self,
        events: impl ExactSizeIterator<Item = (u64, W)>,
    ) -> Result<(), StoreError>
    where
        W: FnOnce(&mut Vec<u8>) -> Result<(), StoreError>,
    {
        let count = events.len() as u64;
        match &mut self.queue {
            Queue::Journal(journal) => journal.append(events)?,
            Queue::Memory(memory) => memory.append(events)?,
            Queue::Gone => return Err(StoreError::Closed),
        }
        self.accepted += count;
        Ok(())
    }

    /// Returns the journal, if there is one.
    pub(crate) fn journal(&mut self) -> Option<&mut Journal> {
        match &mut self.queue {
            Queue::Journal(journal) => Some(journal),
            _ => None,
        }
    }
}
