//! One directory for many runs at the same time: each takes the first numbered journal in it that is free.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use audit_store::{Config, OpenError, Report, Store, unsettled_bytes};

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

/// Sends what runs that are gone left in the other journals, and adds it to `report`.
pub(crate) fn send_leftovers(
    options: &Options,
    left: &dyn Fn() -> Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("make a runtime")?;
    let slots = fs::read_dir(&options.journal)
        .with_context(|| format!("list {}", options.journal.display()))?;
    let names = slots
        .filter_map(|slot| Some(slot.ok()?.path()))
        .filter(|path| is_slot(path));
    for directory in names {
        // Looked at without the lock, so that a run does not open every journal there ever was.
        if left().is_zero() || unsettled_bytes(&directory)? == 0 {
            continue;
        }
        let store = match open(options, &directory) {
            Err(OpenError::Locked { .. }) => continue,
            opened => opened?,
        };
        let other = runtime.block_on(store.close(left()))?;
        report.stored += other.stored;
        report.journalled += other.journalled;
        report.parked += other.parked;
    }
    Ok(())
}

fn open(options: &Options, directory: &Path) -> Result<Store, OpenError> {
    Store::open(&options.url, Config::for_service("audit-emit", directory))
}

fn is_slot(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str()?.parse::<u32>().ok())
        .is_some_and(|slot| slot < SLOTS)
}
