//! The memory-only mode: bounded, and honest about what it loses.

use std::time::Duration;

use audit_store::{CloseError, Config, Mode, StoreError};

use crate::server::{DEADLINE, Reply, Server, directory, event, flush_until, numbers, open, quick};

fn memory(events: usize) -> Config {
    Config {
        mode: Mode::Memory { events },
        ..quick(&directory())
    }
}

#[tokio::test]
async fn events_arrive_in_order() {
    let server = Server::start(|_| Reply::Commit).await;
    let store = open(
        &server.url(),
        Config {
            batch_size: 10,
            ..memory(1000)
        },
    );
    for number in 0..105 {
        store.store(event(number)).expect("accepted");
    }
    assert!(
        store
            .close(DEADLINE)
            .await
            .expect("nothing lost")
            .is_complete()
    );
    assert_eq!(numbers(&server.events()), (0..105).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_buffer_refuses_events_and_a_close_counts_the_lost() {
    let server = Server::start(|_| Reply::Refuse(503)).await;
    let store = open(&server.url(), memory(10));
    for number in 0..10 {
        store.store(event(number)).expect("accepted");
    }
    assert!(matches!(
        store.store(event(10)),
        Err(StoreError::BufferFull { capacity: 10 })
    ));
    flush_until(&store, "an attempt to fail", |report| {
        report.blocked_by.is_some()
    })
    .await;
    let CloseError::Lost { report } = store.close(Duration::ZERO).await.expect_err("ten are lost");
    assert_eq!((report.lost, report.stored, report.journalled), (10, 0, 0));
    assert!(report.blocked_by.is_some());
}

#[tokio::test]
async fn a_refused_event_counts_as_lost() {
    let server = Server::start(|events| {
        if numbers(events).contains(&1) {
            Reply::Refuse(400)
        } else {
            Reply::Commit
        }
    })
    .await;
    let store = open(&server.url(), memory(10));
    for number in 0..3 {
        store.store(event(number)).expect("accepted");
    }
    let error = store.close(DEADLINE).await.expect_err("one is lost");
    assert!(
        error
            .to_string()
            .starts_with("AUDIT DATA LOSS: the audit store lost 1 events"),
        "{error}"
    );
    assert_eq!(numbers(&server.events()), [0, 2]);
}

#[tokio::test]
async fn nothing_can_be_made_durable() {
    let server = Server::start(|_| Reply::Commit).await;
    let store = open(&server.url(), memory(10));
    assert!(matches!(
        store.durable(event(0), DEADLINE).await,
        Err(StoreError::NoJournal)
    ));
}
