//! Delivery: order, batches, retries, refused events, and what a report says.

use std::{sync::Arc, time::Duration};

use audit_store::{Config, StoreError};
use datastorage_api::time;
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;

use crate::server::{
    DEADLINE, Reply, Server, directory, event, flush_until, leave, numbers, open, quick,
};

#[tokio::test]
async fn events_arrive_once_in_order_and_in_batches() {
    let (server, directory) = (Server::start(|_| Reply::Commit).await, directory());
    let store = open(
        &server.url(),
        Config {
            batch_size: 100,
            ..quick(&directory)
        },
    );
    let ids: Vec<_> = (0..1050)
        .map(|number| store.store(event(number)).expect("accepted"))
        .collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    let report = store.close(DEADLINE).await.expect("nothing lost");
    assert!(report.is_complete() && report.stored == 1050, "{report:?}");
    let events = server.events();
    assert_eq!(numbers(&events), (0..1050).collect::<Vec<_>>());
    assert!(events.is_sorted_by_key(|event| (event.event_timestamp, event.event_id)));
    assert!(
        server.requests().iter().all(|size| *size <= 100),
        "{:?}",
        server.requests()
    );
    assert!(server.requests().len() <= 40, "{:?}", server.requests());
}

#[tokio::test]
async fn events_below_a_batch_are_sent_after_the_interval() {
    let (server, directory) = (Server::start(|_| Reply::Commit).await, directory());
    let store = open(&server.url(), quick(&directory));
    store.store(event(0)).expect("accepted");
    tokio::time::timeout(DEADLINE, async {
        while store.report().stored == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("sent without a flush");
    assert_eq!(numbers(&server.events()), [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_does_not_wait_for_the_interval() {
    let (server, directory) = (Server::start(|_| Reply::Commit).await, directory());
    let config = Config {
        flush_interval: Duration::from_hours(1),
        ..quick(&directory)
    };
    let store = Arc::new(open(&server.url(), config));
    let flushing = (0..8).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..50 {
                store.store(event(task * 50 + number)).expect("accepted");
                let report = store.flush(DEADLINE).await;
                assert!(report.blocked_by.is_none(), "{report:?}");
            }
        })
    });
    for flushed in flushing.collect::<Vec<_>>() {
        flushed
            .await
            .expect("every flush ends long before its deadline");
    }
    assert_eq!((server.events().len(), store.report().journalled), (400, 0));
}

#[tokio::test]
async fn an_absent_server_stops_neither_acceptance_nor_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let directory = directory();
    let store = open(
        &format!("http://{address}"),
        Config {
            batch_size: 50,
            ..quick(&directory)
        },
    );
    for number in 0..500 {
        store.store(event(number)).expect("accepted");
    }
    let report = flush_until(&store, "an attempt to fail", |report| {
        report.blocked_by.is_some()
    })
    .await;
    assert_eq!((report.stored, report.journalled), (0, 500));
    assert!(
        report
            .blocked_by
            .expect("a reason")
            .to_string()
            .contains("cannot reach Data Storage")
    );

    for number in 500..600 {
        store.store(event(number)).expect("accepted");
    }
    let listener = TcpListener::bind(address)
        .await
        .expect("the port is still free");
    let server = Server::on(listener, |_| Reply::Commit);
    let report = store.close(DEADLINE).await.expect("nothing lost");
    assert!(
        report.is_complete() && report.blocked_by.is_none(),
        "{report:?}"
    );
    assert_eq!(numbers(&server.events()), (0..600).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_bad_event_is_parked_with_its_reason_and_the_rest_is_stored() {
    let refuse = |status| {
        move |events: &[datastorage_api::AuditEventRequest]| {
            let bad = numbers(events)
                .iter()
                .any(|number| [37, 64].contains(number));
            if bad {
                Reply::Refuse(status)
            } else {
                Reply::Commit
            }
        }
    };
    for status in [400, 409, 413, 422] {
        let (server, directory) = (Server::start(refuse(status)).await, directory());
        let store = open(&server.url(), quick(&directory));
        let ids: Vec<_> = (0..100)
            .map(|number| store.store(event(number)).expect("accepted"))
            .collect();
        let report = store.close(DEADLINE).await.expect("nothing lost");
        assert_eq!(
            (report.stored, report.parked, report.journalled),
            (98, 2, 0),
            "{status}"
        );
        let good: Vec<_> = (0..100)
            .filter(|number| ![37, 64].contains(number))
            .collect();
        assert_eq!(numbers(&server.events()), good);
        let parked = store.parked().expect("readable");
        assert_eq!(parked.len(), 2);
        for (parked, number) in parked.iter().zip([37, 64]) {
            assert!(
                parked.event.get().contains(&ids[number].to_string()),
                "{}",
                parked.event
            );
            assert_eq!(parked.problem.as_ref().expect("a problem").status, status);
            assert!(parked.reason.contains("as scripted"), "{}", parked.reason);
        }
    }
}

#[tokio::test]
async fn an_event_whose_time_is_ahead_is_sent_again_until_its_time_comes_and_keeps_its_place() {
    let ahead = |events: &[datastorage_api::AuditEventRequest]| {
        if numbers(events).contains(&3) {
            Reply::WrongTime(time::AHEAD)
        } else {
            Reply::Commit
        }
    };
    let (server, directory) = (Server::start(ahead).await, directory());
    let store = open(&server.url(), quick(&directory));
    for number in 0..10 {
        store.store(event(number)).expect("accepted");
    }
    let report = flush_until(&store, "the event to be tried alone", |report| {
        report.stored == 3 && report.blocked_by.is_some()
    })
    .await;
    assert_eq!((report.journalled, report.parked), (7, 0));
    server.now(|_| Reply::Commit);
    let report = store.close(DEADLINE).await.expect("nothing lost");
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(numbers(&server.events()), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_of_a_clock_that_was_days_ahead_is_parked_and_holds_up_nobody() {
    let ahead = |events: &[datastorage_api::AuditEventRequest]| {
        let limit = Timestamp::now() + SignedDuration::from_mins(5);
        if events.iter().any(|event| event.event_timestamp > limit) {
            Reply::WrongTime(time::AHEAD)
        } else {
            Reply::Commit
        }
    };
    let directory = directory();
    let days = Timestamp::now() + SignedDuration::from_hours(48);
    leave(
        &directory.path().join("journal"),
        &[(1, days), (2, Timestamp::now())],
    );
    let server = Server::start(ahead).await;
    let store = open(&server.url(), quick(&directory));
    let report = store.close(DEADLINE).await.expect("nothing lost");
    assert_eq!((report.stored, report.parked), (1, 1), "{report:?}");
    assert_eq!(numbers(&server.events()), [2]);
}

#[tokio::test]
async fn events_that_grew_too_old_while_they_waited_are_parked_and_counted_as_such() {
    let (mut replies, directory) = ([Reply::WrongTime(time::TOO_OLD)].into_iter(), directory());
    let server = Server::start(move |_| replies.next().unwrap_or(Reply::Commit)).await;
    let store = open(
        &server.url(),
        Config {
            batch_size: 1,
            ..quick(&directory)
        },
    );
    store.store(event(0)).expect("accepted");
    store.store(event(1)).expect("accepted");
    let report = store.close(DEADLINE).await.expect("nothing lost");
    assert_eq!(
        (report.stored, report.parked, report.too_old),
        (1, 1, 1),
        "{report:?}"
    );
    assert!(!report.is_complete());
    assert!(
        store.parked().expect("readable")[0]
            .reason
            .contains(time::TOO_OLD)
    );
}

#[tokio::test]
async fn a_batch_is_accepted_whole_or_not_at_all() {
    let (server, directory) = (Server::start(|_| Reply::Commit).await, directory());
    let store = open(&server.url(), quick(&directory));
    let bad = vec![event(0), event(1).action("x".repeat(51)), event(2)];
    let error = store
        .durable_batch(bad, DEADLINE)
        .await
        .expect_err("one is wrong");
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    let long = event(1).data(&serde_json::json!({ "text": "x".repeat(2 << 20) }));
    let error = store
        .durable_batch(vec![event(0), long], DEADLINE)
        .await
        .expect_err("one is too long");
    let StoreError::TooLarge { bytes, limit } = error else {
        panic!("{error}")
    };
    assert_eq!(limit, 1 << 20);
    assert!((2 << 20..(2 << 20) + 1000).contains(&bytes), "{bytes}");
    assert_eq!(store.report().journalled, 0);

    let ids = store
        .durable_batch((0..20_000).map(event).collect(), DEADLINE)
        .await
        .expect("accepted");
    let report = store.close(DEADLINE).await.expect("nothing lost");
    assert_eq!((report.stored, report.lost), (20_000, 0), "{report:?}");
    let stored: Vec<_> = server
        .events()
        .iter()
        .filter_map(|event| event.event_id)
        .collect();
    assert_eq!(stored, ids);
}

#[tokio::test]
async fn errors_that_are_not_the_events_fault_are_retried_and_park_nothing() {
    let (mut replies, directory) = ([500, 404, 503, 429, 401, 502, 408].into_iter(), directory());
    let server = Server::start(move |_| replies.next().map_or(Reply::Commit, Reply::Refuse)).await;
    let store = open(&server.url(), quick(&directory));
    for number in 0..10 {
        store.store(event(number)).expect("accepted");
    }
    let report = store.close(DEADLINE).await.expect("nothing lost");
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(numbers(&server.events()), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_proxys_400_parks_nothing_and_its_413_makes_batches_smaller() {
    let (mut confused, directory) = (3, directory());
    let server = Server::start(move |events| match events.len() {
        _ if confused > 0 => {
            confused -= 1;
            Reply::Foreign(400)
        }
        ..=8 => Reply::Commit,
        _ => Reply::Foreign(413),
    })
    .await;
    let store = open(&server.url(), quick(&directory));
    for number in 0..100 {
        store.store(event(number)).expect("accepted");
    }
    let report = store.close(DEADLINE).await.expect("nothing lost");
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(numbers(&server.events()), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_answer_but_the_201_for_the_same_events_makes_the_store_forget_them() {
    let directory = directory();
    let mut replies = [200, 201, 203, 204, 206, 299, 301, 302, 303, 307, 308]
        .map(Reply::Foreign)
        .into_iter()
        .chain([Reply::CommitOthers]);
    let server = Server::start(move |_| replies.next().unwrap_or(Reply::Commit)).await;
    let store = open(&server.url(), quick(&directory));
    for number in 0..5 {
        store.store(event(number)).expect("accepted");
    }
    let report = store.close(DEADLINE).await.expect("nothing lost");
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(numbers(&server.events()), (0..5).collect::<Vec<_>>());
    assert!(server.requests().len() > 12, "{:?}", server.requests());
}

#[tokio::test]
async fn a_lost_answer_causes_a_repeat_that_is_recognised() {
    let (mut replies, directory) = (
        [Reply::CommitUnheard, Reply::CommitUnheard].into_iter(),
        directory(),
    );
    let server = Server::start(move |_| replies.next().unwrap_or(Reply::Commit)).await;
    let store = open(&server.url(), quick(&directory));
    for number in 0..10 {
        store.store(event(number)).expect("accepted");
    }
    assert!(
        store
            .close(DEADLINE)
            .await
            .expect("nothing lost")
            .is_complete()
    );
    assert_eq!(numbers(&server.events()), (0..10).collect::<Vec<_>>());
    assert!(server.repeats() > 0);
}

#[tokio::test]
async fn a_202_leaves_events_journalled_until_they_are_committed() {
    let (server, directory) = (Server::start(|_| Reply::Queue).await, directory());
    let store = open(&server.url(), quick(&directory));
    for number in 0..5 {
        store.store(event(number)).expect("accepted");
    }
    let report = flush_until(&store, "a 202", |report| report.queued == 5).await;
    assert_eq!((report.stored, report.journalled), (0, 5));
    server.now(|_| Reply::Commit);
    let report = store.flush(DEADLINE).await;
    assert!(report.is_complete() && report.queued == 0, "{report:?}");
    assert_eq!(numbers(&server.events()), (0..5).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_that_breaks_the_contract_is_refused_at_the_call() {
    let (server, directory) = (Server::start(|_| Reply::Commit).await, directory());
    let store = open(&server.url(), quick(&directory));
    let error = store
        .store(event(0).action("x".repeat(51)).data(&[1]))
        .expect_err("too long and not an object");
    assert!(matches!(error, StoreError::Invalid(_)));
    let text = error.to_string();
    assert!(
        text.contains("event_action must have at most 50 characters")
            && text.contains("event_data must be an object"),
        "{text}"
    );
    let error = store
        .store(event(0).data(&serde_json::json!({ "text": "x".repeat(2 << 20) })))
        .expect_err("too large");
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    assert_eq!(store.report().journalled, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storing_during_and_after_a_close_is_refused_and_loses_nothing_that_was_accepted() {
    let (server, directory) = (Server::start(|_| Reply::Commit).await, directory());
    let store = Arc::new(open(&server.url(), quick(&directory)));
    let emitting = Arc::clone(&store);
    let emitter = std::thread::spawn(move || {
        let mut accepted = 0;
        while emitting.store(event(accepted)).is_ok() {
            accepted += 1;
        }
        accepted
    });
    let early = store.flush(DEADLINE).await;
    let report = store.close(DEADLINE).await.expect("nothing lost");
    let accepted = emitter.join().expect("no panic");
    assert!(
        early.stored <= report.stored && report.is_complete(),
        "{report:?}"
    );
    assert_eq!(numbers(&server.events()), (0..accepted).collect::<Vec<_>>());
    assert!(matches!(store.store(event(0)), Err(StoreError::Closed)));
    assert_eq!(
        store.close(DEADLINE).await.expect("again").stored,
        report.stored
    );
    assert_eq!(store.flush(DEADLINE).await.stored, report.stored);
}

#[test]
fn a_store_needs_no_runtime_of_its_caller() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime for the server");
    let (server, directory) = (
        runtime.block_on(Server::start(|_| Reply::Commit)),
        directory(),
    );
    let store = open(&server.url(), quick(&directory));
    store.store(event(0)).expect("accepted");
    let report = block_on(store.close(DEADLINE)).expect("nothing lost");
    assert_eq!(report.stored, 1);
}

/// The smallest executor there is.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker))
        {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
