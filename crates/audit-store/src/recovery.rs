//! Counts what an earlier process left in the journal, in the background: a store opens without reading it.

use std::io;

use crate::{
    Recovered,
    journal::{Left, reader::Step},
    shared::Shared,
};

/// Bytes that are read before others have their turn.
const SLICE: u64 = 1 << 20;

/// Counts in slices, each of which is in the report at once, and returns when the oldest event was accepted. Nothing is sent meanwhile, so
/// that the counts hold.
pub(crate) async fn count(shared: &Shared, mut left: Left) -> Option<u64> {
    let mut oldest_us = None;
    add(
        shared,
        Recovered {
            missing_files: left.missing_files,
            lost: left.missing_files,
            ..Recovered::default()
        },
    );
    if left.missing_files > 0 {
        tracing::error!(
            files = left.missing_files,
            "AUDIT DATA LOSS: files of the audit journal are missing, with events that were accepted and not stored"
        );
    }
    loop {
        let (found, more) = match slice(shared, &mut left, &mut oldest_us) {
            Ok(found) => found,
            Err(error) => {
                // Sending meets it as well, and tries again.
                tracing::error!(%error, "cannot read the audit journal to its end; its events are not all counted");
                (Recovered::default(), false)
            }
        };
        add(shared, found);
        if !more {
            shared.counted.send_replace(true);
            return oldest_us;
        }
        tokio::task::yield_now().await;
    }
}

/// Reads one slice; whether there may be more.
fn slice(
    shared: &Shared,
    left: &mut Left,
    oldest_us: &mut Option<u64>,
) -> io::Result<(Recovered, bool)> {
    let (mut found, mut bytes) = (Recovered::default(), 0);
    while bytes < SLICE {
        match left.step()? {
            Step::Frame {
                accepted_us,
                payload,
            } => {
                found.events += 1;
                bytes += payload.len() as u64;
                oldest_us.get_or_insert(accepted_us);
            }
            Step::Damage(damage) => {
                found.damaged_bytes += damage.bytes;
                found.lost += u64::from(!damage.torn);
                bytes += damage.bytes;
                if let Some(journal) = shared.lock().journal() {
                    journal.note_damage(damage);
                }
            }
            Step::End => return Ok((found, false)),
        }
    }
    Ok((found, true))
}

fn add(shared: &Shared, found: Recovered) {
    shared.lock().accepted += found.events;
    shared.recovered.send_modify(|recovered| {
        recovered.events += found.events;
        recovered.damaged_bytes += found.damaged_bytes;
        recovered.missing_files += found.missing_files;
        recovered.lost += found.lost;
    });
    shared
        .progress
        .send_modify(|report| report.lost += found.lost);
}
