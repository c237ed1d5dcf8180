//! A journal against a model: whatever is appended, settled, torn and reopened, what is unsettled is read back in order.

use std::{collections::VecDeque, io::Write as _};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    /// Accept an event of this many bytes.
    Append(usize),
    /// Send and settle up to this many events.
    Settle(usize),
    /// Kill the process in the middle of writing, after this many bytes of the frame.
    Kill(usize),
}

fn steps() -> impl Strategy<Value = Vec<Act>> {
    let step = prop_oneof![
        6 => (1_usize..400).prop_map(Act::Append),
        2 => (1_usize..20).prop_map(Act::Settle),
        1 => (0_usize..100).prop_map(Act::Kill),
    ];
    prop::collection::vec(step, 1..80)
}

/// The journal and what it has to hold.
struct Run {
    config: JournalConfig,
    opened: Opened,
    model: VecDeque<Vec<u8>>,
    serial: u64,
    _directory: TempDir,
}

impl Run {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = JournalConfig::new(directory.path());
        // Small, so that runs cross many borders.
        config.segment_bytes = 1000;
        let opened = Journal::open(&config).expect("opened");
        Self {
            config,
            opened,
            model: VecDeque::new(),
            serial: 0,
            _directory: directory,
        }
    }

    fn append(&mut self, length: usize) {
        self.serial += 1;
        let payload = format!("{:>length$}", self.serial).into_bytes();
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(&payload);
            Ok(())
        };
        self.opened
            .journal
            .append(std::iter::once((self.serial, write)))
            .expect("appended");
        self.model.push_back(payload);
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let Opened {
            journal, reader, ..
        } = &mut self.opened;
        match reader
            .step(|segment| journal.extent(segment))
            .expect("readable")
        {
            Step::Frame { payload, .. } => Some(reader.payload(payload).to_vec()),
            Step::Damage { .. } => self.read(),
            Step::End => None,
        }
    }

    fn settle(&mut self, events: usize) {
        for _ in 0..events {
            assert_eq!(self.read(), self.model.pop_front());
        }
        let position = self.opened.reader.position();
        self.opened.cursor.store(position).expect("stored");
        remove(&self.opened.journal.settle(position));
    }

    fn kill(mut self, torn: usize) -> Self {
        let mut frame = Vec::new();
        frame::encode(&mut frame, 0, |out| {
            out.extend_from_slice(&[b'x'; 100]);
            Ok::<_, StoreError>(())
        })
        .expect("encoded");
        // A start tears only what it began itself.
        if self.opened.journal.file.is_none() {
            self.opened.journal.begin_segment().expect("begun");
        }
        if let Some(&last) = self.opened.journal.segments.keys().next_back() {
            let path = segment::path(&self.config.directory, last);
            let mut file = File::options().append(true).open(path).expect("our own");
            file.write_all(&frame[..torn]).expect("written");
        }
        drop(self.opened);
        self.opened = Journal::open(&self.config).expect("opened again");
        let (mut events, left) = (0, &mut self.opened.left);
        assert_eq!(left.missing_files, 0);
        loop {
            match left.step().expect("readable") {
                Step::Frame { .. } => events += 1,
                Step::Damage(damage) => assert!(damage.torn, "{damage:?}"),
                Step::End => break,
            }
        }
        assert_eq!(events, self.model.len());
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_is_unsettled_is_read_back_in_order_over_kills_and_borders(steps in steps()) {
        let mut run = Run::new();
        for step in steps {
            match step {
                Act::Append(length) => run.append(length),
                Act::Settle(events) => run.settle(events),
                Act::Kill(torn) => run = run.kill(torn),
            }
            let held: u64 = run.opened.journal.segments.values().sum();
            prop_assert_eq!(held, run.opened.journal.bytes());
        }
        while let Some(event) = run.read() {
            prop_assert_eq!(Some(event), run.model.pop_front());
        }
        prop_assert!(run.model.is_empty());
    }
}
