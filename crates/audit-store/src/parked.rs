//! Events that Data Storage refused for good, kept beside the journal with the reason.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use datastorage_api::ProblemDetails;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::batch::event_id;

const FILE: &str = "parked.ndjson";

/// An event that Data Storage refused for good.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ParkedEvent {
    /// When it was put aside.
    pub parked_at: Timestamp,
    /// Why, for people.
    pub reason: String,
    /// The problem document of the refusal, if there was one.
    pub problem: Option<ProblemDetails>,
    /// The event as it was sent.
    pub event: Box<RawValue>,
}

impl ParkedEvent {
    fn event_id(&self) -> Option<Uuid> {
        event_id(self.event.get().as_bytes())
    }
}

/// The file of parked events.
#[derive(Debug)]
pub(crate) struct Parking {
    file: File,
}

impl Parking {
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(directory.join(FILE))?;
        Ok(Self { file })
    }

    /// Adds an event and syncs: the cursor moves over it next.
    pub(crate) fn park(&mut self, event: &ParkedEvent) -> io::Result<()> {
        // A line that a full disk cut short must not swallow this one.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, event)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }
}

/// Reads the parked events in `directory`, oldest first; one that was parked again after a crash appears once.
pub(crate) fn read(directory: &Path) -> io::Result<Vec<ParkedEvent>> {
    let file = match File::open(directory.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let (mut events, mut seen) = (Vec::new(), HashSet::new());
    for line in BufReader::new(file).split(b'\n') {
        // A torn line belongs to an event that is still in the journal.
        let Ok(event) = serde_json::from_slice::<ParkedEvent>(&line?) else {
            continue;
        };
        if event.event_id().is_none_or(|id| seen.insert(id)) {
            events.push(event);
        }
    }
    Ok(events)
}
