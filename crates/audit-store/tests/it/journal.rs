//! The journal over restarts, damage, and directories that cannot be used.

use std::{fs, path::Path, time::Duration};

use audit_store::{
    CloseError, Config, JournalConfig, Mode, OpenError, Recovered, Store, StoreError,
};

use crate::server::{DEADLINE, Reply, Server, directory, event, flush_until, numbers, open, quick};

/// Nobody listens there: port 9 (discard) is not served.
const NOBODY: &str = "http://127.0.0.1:9";

fn files(directory: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("readable")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

/// Where the frames of a segment lie: a header of 8 bytes, then each with its length in the first 4 of 16 bytes.
fn frames(segment: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut frames, mut start) = (Vec::new(), 8);
    while start < segment.len() {
        let length: [u8; 4] = segment[start..start + 4].try_into().expect("four bytes");
        let end = start + 16 + usize::try_from(u32::from_le_bytes(length)).expect("small");
        frames.push(start..end);
        start = end;
    }
    frames
}

fn with_journal(directory: &tempfile::TempDir, change: impl FnOnce(&mut JournalConfig)) -> Config {
    let mut config = quick(directory);
    if let Mode::Journal(journal) = &mut config.mode {
        change(journal);
    }
    config
}

#[tokio::test]
async fn what_one_process_leaves_the_next_sends_first_and_in_order() {
    let directory = directory();
    let journal = directory.path().join("journal");
    for run in 0..3 {
        let store = open(
            NOBODY,
            with_journal(&directory, |journal| journal.segment_bytes = 4096),
        );
        assert_eq!(store.recovered().events, run * 100);
        for number in 0..100 {
            store
                .store(event(usize::try_from(run * 100 + number).expect("small")))
                .expect("accepted");
        }
        if run == 1 {
            let report = store
                .close(Duration::from_millis(50))
                .await
                .expect("a journal loses nothing");
            assert_eq!((report.stored, report.journalled), (0, 200));
        }
    }
    assert!(files(&journal, "journal").len() > 3, "several segments");
    let server = Server::start(|_| Reply::Commit).await;
    let store = open(&server.url(), quick(&directory));
    store.store(event(300)).expect("accepted");
    assert!(
        store
            .close(DEADLINE)
            .await
            .expect("nothing lost")
            .is_complete()
    );
    assert_eq!(numbers(&server.events()), (0..=300).collect::<Vec<_>>());
    assert_eq!(
        files(&journal, "journal").len(),
        1,
        "settled segments are removed"
    );
    assert_eq!(
        open(NOBODY, quick(&directory)).recovered(),
        Recovered::default()
    );
}

#[tokio::test]
async fn the_cursor_keeps_a_restart_from_sending_all_again() {
    let (directory, mut committed) = (directory(), 0);
    let server = Server::start(move |events| {
        committed += events.len();
        if committed <= 60 {
            Reply::Commit
        } else {
            Reply::Refuse(503)
        }
    })
    .await;
    let store = open(
        &server.url(),
        Config {
            batch_size: 10,
            ..quick(&directory)
        },
    );
    for number in 0..100 {
        store.store(event(number)).expect("accepted");
    }
    flush_until(&store, "60 events to be stored", |report| {
        report.stored == 60
    })
    .await;
    let report = store
        .close(Duration::ZERO)
        .await
        .expect("a journal loses nothing");
    assert_eq!((report.stored, report.journalled), (60, 40));
    server.now(|_| Reply::Commit);
    let store = open(&server.url(), quick(&directory));
    assert_eq!(store.recovered().events, 40);
    assert!(
        store
            .close(DEADLINE)
            .await
            .expect("nothing lost")
            .is_complete()
    );
    assert_eq!(numbers(&server.events()), (0..100).collect::<Vec<_>>());
    assert_eq!(server.repeats(), 0);
}

#[tokio::test]
async fn a_torn_tail_costs_only_the_event_that_was_never_accepted() {
    let directory = directory();
    let store = open(NOBODY, quick(&directory));
    for number in 0..3 {
        store.store(event(number)).expect("accepted");
    }
    drop(store);
    let segment = files(&directory.path().join("journal"), "journal").remove(0);
    let whole = fs::read(&segment).expect("readable");
    let frame = frames(&whole)[0].len();
    for cut in [1, 7, 15, 16, 17, frame - 1] {
        let mut torn = whole.clone();
        torn.extend_from_slice(&whole[8..8 + cut]);
        fs::write(&segment, &torn).expect("writable");
        let recovered = open(NOBODY, quick(&directory)).recovered();
        assert_eq!(
            recovered,
            Recovered {
                events: 3,
                damaged_bytes: cut as u64
            },
            "cut after {cut}"
        );
    }
    let server = Server::start(|_| Reply::Commit).await;
    assert!(
        open(&server.url(), quick(&directory))
            .close(DEADLINE)
            .await
            .expect("nothing lost")
            .is_complete()
    );
    assert_eq!(numbers(&server.events()), [0, 1, 2]);
}

#[tokio::test]
async fn a_damaged_event_costs_itself_and_its_file_is_kept_as_evidence() {
    let directory = directory();
    let journal = directory.path().join("journal");
    let store = open(NOBODY, quick(&directory));
    for number in 0..5 {
        store.store(event(number)).expect("accepted");
    }
    drop(store);
    let segment = files(&journal, "journal").remove(0);
    let mut bytes = fs::read(&segment).expect("readable");
    let frame = frames(&bytes)[2].clone();
    bytes[frame.start + 40] ^= 1;
    fs::write(&segment, &bytes).expect("writable");

    let server = Server::start(|_| Reply::Commit).await;
    let store = open(&server.url(), quick(&directory));
    assert_eq!(
        store.recovered(),
        Recovered {
            events: 4,
            damaged_bytes: frame.len() as u64
        }
    );
    store.store(event(5)).expect("accepted");
    assert!(
        store
            .close(DEADLINE)
            .await
            .expect("nothing else lost")
            .is_complete()
    );
    assert_eq!(numbers(&server.events()), [0, 1, 3, 4, 5]);
    assert_eq!(files(&journal, "damaged").len(), 1);
}

#[tokio::test]
async fn damage_to_a_journal_in_use_is_counted_as_lost_and_stops_nothing() {
    let (server, directory) = (Server::start(|_| Reply::Refuse(503)).await, directory());
    let config = Config {
        batch_size: 10,
        ..with_journal(&directory, |journal| journal.segment_bytes = 64 << 10)
    };
    let store = open(&server.url(), config);
    for number in 0..3000 {
        store.store(event(number)).expect("accepted");
    }
    let segment = files(&directory.path().join("journal"), "journal")
        .pop()
        .expect("a segment");
    let mut bytes = fs::read(&segment).expect("readable");
    let last = frames(&bytes).pop().expect("a frame");
    bytes[last.start + 40] ^= 1;
    fs::write(&segment, &bytes).expect("writable");

    server.now(|_| Reply::Commit);
    let CloseError::Lost { report } = store.close(DEADLINE).await.expect_err("one is lost");
    assert_eq!(
        (report.stored, report.lost, report.journalled),
        (2999, 1, 0)
    );
    assert_eq!(numbers(&server.events()), (0..2999).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_durable_event_is_on_disk_when_the_call_returns() {
    let (server, directory) = (Server::start(|_| Reply::Commit).await, directory());
    let store = open(&server.url(), quick(&directory));
    let id = store.durable(event(0), DEADLINE).await.expect("synced");
    assert!(
        store
            .close(DEADLINE)
            .await
            .expect("nothing lost")
            .is_complete()
    );
    assert_eq!(server.events()[0].event_id, Some(id));
}

#[test]
fn a_full_journal_refuses_events_and_memory_and_disk_stay_bounded() {
    let directory = directory();
    let limit = 64 << 10;
    let store = open(
        NOBODY,
        with_journal(&directory, |journal| {
            journal.segment_bytes = 16 << 10;
            journal.max_bytes = limit;
        }),
    );
    let accepted = (0..10_000)
        .take_while(|number| store.store(event(*number)).is_ok())
        .count();
    assert!(accepted > 100);
    let error = store.store(event(0)).expect_err("full");
    assert!(matches!(error, StoreError::JournalFull { .. }), "{error}");
    let size: u64 = files(&directory.path().join("journal"), "journal")
        .iter()
        .map(|path| path.metadata().expect("a file").len())
        .sum();
    assert!(size <= limit, "{size}");
    assert_eq!(store.report().journalled, accepted as u64);
}

#[test]
fn a_second_store_on_the_same_journal_is_refused_and_named() {
    let directory = directory();
    let first = open(NOBODY, quick(&directory));
    let error = Store::open(NOBODY, quick(&directory)).expect_err("locked");
    assert!(
        matches!(&error, OpenError::Locked { holder, .. } if *holder == std::process::id().to_string()),
        "{error}"
    );
    drop(first);
    open(NOBODY, quick(&directory));
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "").expect("writable");
    let error = Store::open(NOBODY, Config::for_service("test", file.join("journal")))
        .expect_err("a file is in the way");
    assert!(matches!(error, OpenError::Directory { .. }), "{error}");
    assert!(
        error.to_string().contains(&file.display().to_string()),
        "{error}"
    );
}

#[test]
fn a_journal_of_another_format_is_left_alone() {
    let directory = directory();
    let journal = directory.path().join("journal");
    fs::create_dir(&journal).expect("writable");
    let foreign = journal.join("0000000000000001.journal");
    fs::write(&foreign, "AUDITJ99 something else").expect("writable");
    let error = Store::open(NOBODY, quick(&directory)).expect_err("another format");
    assert!(matches!(error, OpenError::ForeignFormat { .. }), "{error}");
    assert!(foreign.exists());
}

#[test]
fn every_wrong_setting_is_named_at_once() {
    let config = Config {
        batch_size: 0,
        flush_interval: Duration::ZERO,
        ..Config::for_service("", "")
    };
    let text = Store::open(NOBODY, config).expect_err("wrong").to_string();
    for part in ["service", "batch_size", "flush_interval", "directory"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}
