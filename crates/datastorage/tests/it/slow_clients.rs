//! Clients that send or take slowly cost the others nothing: neither time nor memory.

use std::io::ErrorKind;

use datastorage::clock::Clock;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Service, audit_database, event, http, send, with};

const EVENTS: &str = "/api/v1/audit/events";

/// Longer than a test waits: what holds for as long as a slow client may be slow would fail it.
const PATIENT: [(&str, &str); 2] = [
    ("DATASTORAGE_SERVER_READ_TIMEOUT", "300s"),
    ("DATASTORAGE_SERVER_WRITE_TIMEOUT", "300s"),
];

/// Opens a connection and sends `text`, and no more.
async fn begun(service: &Service, text: &[u8]) -> TcpStream {
    let address = service.url("").replace("http://", "");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(text).await.expect("sent");
    stream
}

/// The head of a POST of an event, with what says how long its body is.
fn head(length: &str) -> String {
    format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_announce_much_and_send_little_delay_nobody() {
    let database = audit_database().await;
    let service = Service::with(database.url(), Clock::system(), &PATIENT).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        let declared = head("Content-Length: 16777216");
        held.push(begun(&service, declared.as_bytes()).await);
        let chunked = head("Transfer-Encoding: chunked") + "1\r\n{\r\n";
        held.push(begun(&service, chunked.as_bytes()).await);
        held.push(begun(&service, b"POST /api").await);
    }
    service.post(EVENTS, &event("ordinary")).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hold_all_memory_and_are_slow_give_way() {
    let database = audit_database().await;
    let mut settings = PATIENT.to_vec();
    settings.push(("DATASTORAGE_SERVER_BODY_LIMIT", "1048576"));
    let service = Service::with(database.url(), Clock::system(), &settings).await;
    let most = vec![b' '; 1 << 20];
    let mut held = Vec::new();
    for _ in 0..80 {
        let stream = begun(&service, head("Content-Length: 1048576").as_bytes()).await;
        // As much as the server takes at once, and never the last byte.
        match stream.try_write(&most[1..]) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        held.push(stream);
    }
    service.post(EVENTS, &event("small")).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_batches_at_once_are_all_stored_in_turn() {
    let database = audit_database().await;
    let mut settings = PATIENT.to_vec();
    settings.push(("DATASTORAGE_SERVER_BODY_LIMIT", "4194304"));
    let service = Service::with(database.url(), Clock::system(), &settings).await;
    service.ready().await;
    let sent = (0..12).map(|number| {
        let large = with(
            event(&format!("large-{number}")),
            json!({"event_data": {"text": "x".repeat(4_000_000)}}),
        );
        let request = http().post(service.url(EVENTS)).json(&large);
        tokio::spawn(send(request))
    });
    for answer in sent.collect::<Vec<_>>() {
        answer.await.expect("no panic").expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let database = audit_database().await;
    let hurried = [("DATASTORAGE_SERVER_WRITE_TIMEOUT", "2s")];
    let service = Service::with(database.url(), Clock::system(), &hurried).await;
    service.ready().await;
    let length = 14_000_000;
    let large = with(
        event("large"),
        json!({"event_data": {"text": "x".repeat(length)}}),
    );
    service.post(EVENTS, &large).await.expect(201);
    let get = format!("GET {EVENTS}?correlation_id=large HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = begun(&service, get.as_bytes()).await;
    stream.readable().await.expect("an answer begins");
    testkit::wait::until(
        "the connection to be cut",
        crate::support::SOON,
        async || {
            // A closed port takes no more: the server is done with this client.
            match stream.write_all(b"x").await {
                Ok(()) => Err("it is open"),
                Err(_) => Ok(()),
            }
        },
    )
    .await;
    let mut got = Vec::new();
    // The end may be a reset.
    stream.read_to_end(&mut got).await.ok();
    assert!(got.len() < length, "all of it was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_most_connections_the_one_that_is_idle_longest_makes_room() {
    let database = audit_database().await;
    let mut settings = PATIENT.to_vec();
    settings.push(("DATASTORAGE_SERVER_MAX_CONNECTIONS", "16"));
    let service = Service::with(database.url(), Clock::system(), &settings).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(begun(&service, b"POST /api").await);
        service.post(EVENTS, &event("ordinary")).await.expect(201);
    }
    let mut first = idle.remove(0);
    let mut end = Vec::new();
    // It may be a reset.
    first.read_to_end(&mut end).await.ok();
    assert_eq!(end, b"");
    let open = service.metric("datastorage_http_connections").await;
    assert!(open.is_some_and(|open| open <= 16.0), "{open:?}");
    let closed = service
        .metric("datastorage_http_connections_closed_total{which=\"waiting\"}")
        .await;
    assert!(closed.is_some_and(|closed| closed >= 24.0), "{closed:?}");
}
