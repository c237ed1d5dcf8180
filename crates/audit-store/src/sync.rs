//! Group fsync of the journal (D32): one call for all events of a few milliseconds, on a thread of its own, so that neither acceptance nor
//! sending waits for the disk.

use std::{
    fs::File,
    io,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    journal::Journal,
    shared::{Backlog, Queue, Shared, Synced},
};

/// Syncs files to the disk.
pub(crate) type SyncFiles = fn(&[Arc<File>]) -> io::Result<()>;

/// Syncs by `sync` what is appended within `interval`, until the end, and then frees the journal.
pub(crate) fn run(shared: &Shared, interval: Duration, sync: SyncFiles) {
    let mut backlog = shared.lock();
    loop {
        backlog = shared
            .unsynced
            .wait_while(backlog, |backlog| {
                !shared.is_stopped() && !is_unsynced(backlog)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if !shared.is_stopped() {
            backlog = gather(shared, backlog, interval);
        }
        let files = backlog
            .journal()
            .map(Journal::take_unsynced)
            .unwrap_or_default();
        let accepted = backlog.accepted;
        drop(backlog);
        let outcome = sync(&files);
        backlog = shared.lock();
        publish(shared, &mut backlog, accepted, outcome);
        if shared.is_stopped() && !is_unsynced(&mut backlog) {
            backlog.closed = true;
            backlog.queue = Queue::Gone;
            return;
        }
    }
}

/// Lets more events join the sync.
fn gather<'a>(
    shared: &Shared,
    backlog: MutexGuard<'a, Backlog>,
    interval: Duration,
) -> MutexGuard<'a, Backlog> {
    let waited = shared
        .unsynced
        .wait_timeout_while(backlog, interval, |_| !shared.is_stopped());
    waited.unwrap_or_else(PoisonError::into_inner).0
}

fn is_unsynced(backlog: &mut Backlog) -> bool {
    backlog
        .journal()
        .is_some_and(|journal| journal.is_unsynced())
}

/// Asks the disk.
pub(crate) fn to_disk(files: &[Arc<File>]) -> io::Result<()> {
    files.iter().try_for_each(|file| file.sync_data())
}

fn publish(shared: &Shared, backlog: &mut Backlog, accepted: u64, outcome: io::Result<()>) {
    match outcome {
        Ok(()) => shared
            .synced
            .send_modify(|synced| synced.through = accepted),
        Err(error) => {
            tracing::error!(%error, "cannot sync the audit journal; its events survive a killed process, but maybe not a crash of the machine");
            // The kernel forgets which pages it failed to write: only a new file can be trusted with what comes.
            if let Some(journal) = backlog.journal() {
                journal.retire_segment();
            }
            let reason: Arc<str> = error.to_string().into();
            shared
                .synced
                .send_modify(|synced: &mut Synced| synced.failed = Some((accepted, reason)));
        }
    }
}
