//! The journal over restarts, damage, and directories that cannot be used.

use std::{fs, path::Path, time::Duration};

use audit_store::{
    CloseError, Config, JournalConfig, Mode, OpenError, Recovered, Store, StoreError,
};

use jiff::Timestamp;

use crate::server::{
    DEADLINE, Reply, Server, directory, event, flush_until, leave, numbers, open, quick,
};

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

async fn recovered(store: &Store) -> Recovered {
    store.recovered(DEADLINE).await.expect("counted")
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
        assert_eq!(recovered(&store).await.events, run * 100);
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
        recovered(&open(NOBODY, quick(&directory))).await,
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
    assert_eq!(recovered(&store).await.events, 40);
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
        let recovered = recovered(&open(NOBODY, quick(&directory))).await;
        assert_eq!(
            recovered,
            Recovered {
                events: 3,
                damaged_bytes: cut as u64,
                ..Recovered::default()
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
        recovered(&store).await,
        Recovered {
            events: 4,
            damaged_bytes: frame.len() as u64,
            lost: 1,
            ..Recovered::default()
        }
    );
    store.store(event(5)).expect("accepted");
    let CloseError::Lost { report } = store.close(DEADLINE).await.expect_err("one is lost");
    assert_eq!((report.stored, report.lost), (5, 1));
    assert!(!report.is_complete());
    assert_eq!(numbers(&server.events()), [0, 1, 3, 4, 5]);
    assert_eq!(files(&journal, "damaged").len(), 1);
}

#[tokio::test]
async fn a_file_of_events_that_was_removed_between_two_starts_is_told_and_counted() {
    for removed in [0, 1, 2] {
        let directory = directory();
        let journal = directory.path().join("journal");
        // A start of its own begins each file.
        for number in 0..3 {
            open(NOBODY, quick(&directory))
                .store(event(number))
                .expect("accepted");
        }
        fs::remove_file(&files(&journal, "journal")[removed]).expect("removable");
        let server = Server::start(|_| Reply::Commit).await;
        let store = open(&server.url(), quick(&directory));
        let found = recovered(&store).await;
        if removed == 2 {
            // Nothing points behind the last file, and nothing tells that there was one.
            assert_eq!((found.missing_files, found.events), (0, 2));
            continue;
        }
        assert_eq!((found.missing_files, found.lost, found.events), (1, 1, 2));
        let CloseError::Lost { report } = store.close(DEADLINE).await.expect_err("told");
        assert_eq!((report.stored, report.lost), (2, 1), "{report:?}");
        drop(store);
        let again = open(&server.url(), quick(&directory));
        assert_eq!(recovered(&again).await, Recovered::default(), "told once");
    }
}

#[tokio::test]
async fn the_file_of_events_that_the_sender_was_in_is_missed_when_it_was_removed() {
    let (directory, mut requests) = (directory(), 0);
    let server = Server::start(move |_| {
        requests += 1;
        if requests == 1 {
            Reply::Commit
        } else {
            Reply::Refuse(503)
        }
    })
    .await;
    let config = || Config {
        batch_size: 10,
        ..quick(&directory)
    };
    let store = open(&server.url(), config());
    for number in 0..20 {
        store.store(event(number)).expect("accepted");
    }
    flush_until(&store, "the first batch to be stored", |report| {
        report.stored > 0
    })
    .await;
    drop(store);
    let journal = directory.path().join("journal");
    fs::remove_file(&files(&journal, "journal")[0]).expect("removable");
    let found = recovered(&open(NOBODY, config())).await;
    assert_eq!((found.missing_files, found.lost), (1, 1));
}

#[tokio::test]
async fn a_file_that_is_removed_or_cut_short_while_in_use_costs_its_events_and_stops_nothing() {
    let cut = |path: &Path| {
        let length = path.metadata().expect("a file").len();
        fs::File::options()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(length / 2))
    };
    let remove = |path: &Path| fs::remove_file(path);
    for (what, damage) in [
        ("cut", &cut as &dyn Fn(&Path) -> std::io::Result<()>),
        ("removed", &remove),
    ] {
        let (server, directory) = (Server::start(|_| Reply::Refuse(503)).await, directory());
        let config = Config {
            batch_size: 10,
            ..with_journal(&directory, |journal| journal.segment_bytes = 16 << 10)
        };
        let store = open(&server.url(), config);
        for number in 0..500 {
            store.store(event(number)).expect("accepted");
        }
        let segments = files(&directory.path().join("journal"), "journal");
        damage(&segments[2]).expect("damaged");

        server.now(|_| Reply::Commit);
        let CloseError::Lost { report } = store.close(DEADLINE).await.expect_err("some are lost");
        assert!(report.lost > 0 && report.stored > 300, "{what}: {report:?}");
        assert_eq!(report.stored + report.lost, 500, "{what}: {report:?}");
        let stored = numbers(&server.events());
        assert_eq!(stored.last(), Some(&499), "{what}");
        assert!(stored.is_sorted_by(|a, b| a < b), "{what}");
    }
}

#[tokio::test]
async fn evidence_of_damage_stays_within_the_bound_and_gives_way_to_events_oldest_first() {
    let directory = directory();
    let journal = directory.path().join("journal");
    let config = || {
        with_journal(&directory, |journal| {
            journal.segment_bytes = 16 << 10;
            journal.max_bytes = 64 << 10;
        })
    };
    let server = Server::start(|_| Reply::Commit).await;
    for _ in 0..6 {
        let store = open(NOBODY, config());
        for number in 0..40 {
            store.store(event(number)).expect("accepted");
        }
        drop(store);
        let segment = files(&journal, "journal").remove(0);
        let mut bytes = fs::read(&segment).expect("readable");
        let frame = frames(&bytes)[1].clone();
        bytes[frame.start + 40] ^= 1;
        fs::write(&segment, &bytes).expect("writable");
        let store = open(&server.url(), config());
        store.store(event(40)).expect("accepted");
        let CloseError::Lost { report } = store.close(DEADLINE).await.expect_err("one is lost");
        assert_eq!((report.lost, report.journalled), (1, 0), "{report:?}");
        let size: u64 = files(&journal, "journal")
            .iter()
            .chain(&files(&journal, "damaged"))
            .map(|path| path.metadata().expect("a file").len())
            .sum();
        assert!(size <= 64 << 10, "{size}");
    }
    let kept = files(&journal, "damaged");
    assert!((1..6).contains(&kept.len()), "{kept:?}");
    let store = open(NOBODY, config());
    while store.store(event(0)).is_ok() {}
    assert_eq!(files(&journal, "damaged").len(), 0, "events come first");
}

#[tokio::test]
async fn opening_a_long_journal_does_not_read_it_and_its_events_keep_their_order() {
    let (server, directory) = (Server::start(|_| Reply::Commit).await, directory());
    let journal = directory.path().join("journal");
    let events: Vec<_> = (0..20_000)
        .map(|number| (number, Timestamp::now()))
        .collect();
    leave(&journal, &events);
    let store = open(&server.url(), quick(&directory));
    // Accepted while the others are counted.
    store.store(event(20_000)).expect("accepted");
    let report = store.flush(DEADLINE).await;
    assert_eq!((report.stored, report.journalled), (20_001, 0));
    assert_eq!(recovered(&store).await.events, 20_000);
    assert!(numbers(&server.events()).is_sorted_by(|a, b| a < b));
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
