//! One directory for many runs at the same time: each takes the first numbered journal in it that is free.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use audit_store::{CloseError, Config, OpenError, Report, Store, unsettled_bytes};
use tokio::runtime::Runtime;

use crate::message::report_error;
use crate::options::Options;

/// Most runs at the same time.
const SLOTS: u32 = 256;

/// Opens the first journal that no other run holds.
pub(crate) fn open_free(options: &Options) -> anyhow::Result<Store> {
    for slot in 0..SLOTS {
        match open(options, &options.journal.join(slot.to_string())) {
            Err(OpenError::Locked { .. }) => {}
            opened => return Ok(opened?),
        }
    }
    bail!(
        "{SLOTS} runs of audit-emit hold a journal in {}: wait for some to end, or give this one a directory of its own",
        options.journal.display()
    )
}

/// Sends what runs that are gone left in the other journals, and adds it to `report`. What goes wrong there is reported, and fails no event of this
/// run.
pub(crate) fn send_leftovers(
    options: &Options,
    left: &dyn Fn() -> Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let slots = fs::read_dir(&options.journal)
        .with_context(|| format!("list {}", options.journal.display()))?;
    let paths = slots.filter_map(|slot| Some(slot.ok()?.path()));
    for directory in paths.filter(|path| is_slot(path)) {
        if left().is_zero() {
            break;
        }
        match send_leftover(options, &directory, left()) {
            Ok(other) => {
                report.stored += other.stored;
                report.journalled += other.journalled;
                report.parked += other.parked;
                report.lost += other.lost;
            }
            Err(error) => report_error(&format!(
                "an earlier run's events in {} are not sent: {error:#}",
                directory.display()
            )),
        }
    }
    Ok(())
}

fn send_leftover(
    options: &Options,
    directory: &Path,
    deadline: Duration,
) -> anyhow::Result<Report> {
    // Looked at without the lock, so that a run does not open every journal there ever was.
    if unsettled_bytes(directory)? == 0 {
        return Ok(Report::default());
    }
    let store = match open(options, directory) {
        Err(OpenError::Locked { .. }) => return Ok(Report::default()),
        opened => opened?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("make a runtime")?;
    Ok(close(&runtime, &store, deadline))
}

/// Closes a store; what is lost, by damage to its journal, is reported and in the counts.
pub(crate) fn close(runtime: &Runtime, store: &Store, deadline: Duration) -> Report {
    runtime
        .block_on(store.close(deadline))
        .unwrap_or_else(|error| {
            report_error(&error.to_string());
            let CloseError::Lost { report } = error;
            report
        })
}

fn open(options: &Options, directory: &Path) -> Result<Store, OpenError> {
    let config = Config {
        access: options.access.clone(),
        ..Config::for_service("audit-emit", directory)
    };
    Store::open(&options.url, config)
}

fn is_slot(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str()?.parse::<u32>().ok())
        .is_some_and(|slot| slot < SLOTS)
}
