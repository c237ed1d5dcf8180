//! The binary: configuration, start without a database, shutdown, limits, what it never says.

use std::process::Command;

use datastorage::clock::Clock;
use serde_json::json;
use testkit::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Process, SOON, Service, audit_database, event, http, send, settings};

const EVENTS: &str = "/api/v1/audit/events";

#[test]
fn a_configuration_with_faults_is_refused_with_all_of_them() {
    let output = Command::new(env!("CARGO_BIN_EXE_datastorage"))
        .env_clear()
        .env("DATASTORAGE_SERVER_PORT", "many")
        .output()
        .expect("it runs");
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "server.port",
        "database.host",
        "database.name",
        "database.user",
        "database.password",
        "CONFIG_PATH",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_datastorage"))
        .env_clear()
        .env("CONFIG_PATH", "/nowhere/config.yaml")
        .output()
        .expect("it runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/config.yaml"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_a_database_and_says_why_it_is_not_ready() {
    let directory = tempfile::tempdir().expect("a directory");
    // The port is taken and closed again: nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let service = Service::in_directory(
        directory.path(),
        &format!("postgres://u:p@{closed}/d"),
        Clock::system(),
        &[],
    )
    .await;
    assert_eq!(
        service.get("/health/ready").await.expect(503).body,
        json!({"status": "not_ready", "reason": "database_unreachable"})
    );
    assert_eq!(
        service.get("/health").await.expect(503).body,
        json!({"status": "unhealthy", "database": "disconnected"})
    );
    assert_eq!(
        service.get("/health/live").await.expect(200).body,
        json!({"status": "alive"})
    );
    service.post(EVENTS, &event("early")).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_instance_says_what_existing_probes_expect() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    assert_eq!(
        service.get("/health/ready").await.expect(200).body,
        json!({"status": "ready"})
    );
    assert_eq!(
        service.get("/health").await.expect(200).body,
        json!({"status": "healthy", "database": "connected"})
    );
    let metrics = service.get("/metrics").await.expect(200);
    assert!(metrics.content_type.starts_with("text/plain"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_it_is_unready_at_once_still_serves_during_the_pause_and_ends() {
    let database = audit_database().await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = settings(database.url(), directory.path());
    settings.insert("DATASTORAGE_SERVER_DRAIN_PAUSE".to_owned(), "2s".to_owned());
    let mut service = Process::start(settings).await;
    let status = Command::new("kill")
        .args(["-TERM", &service.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success());
    let ready = format!("http://{}/health/ready", service.address);
    until("the instance to be unready", SOON, async || {
        let body: serde_json::Value = serde_json::from_str(
            &http()
                .get(&ready)
                .send()
                .await
                .map_err(|error| error.to_string())?
                .text()
                .await
                .map_err(|error| error.to_string())?,
        )
        .map_err(|error| error.to_string())?;
        if body == json!({"status": "not_ready", "reason": "shutting_down"}) {
            Ok(())
        } else {
            Err(body.to_string())
        }
    })
    .await;
    let late = http()
        .post(format!("http://{}{EVENTS}", service.address))
        .json(&event("late"));
    send(late).await.expect(201);
    assert!(service.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_completes_during_a_shutdown() {
    let database = audit_database().await;
    let mut service = Service::start(database.url()).await;
    let address = service.url("").trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("connected");
    let body = event("in flight").to_string();
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    stream
        .write_all(&body.as_bytes()[..10])
        .await
        .expect("written");
    // An answered request on another connection shows that the server has read the head of the first.
    service.get("/health/live").await.expect(200);
    service.begin_stop();
    until(
        "the listener to close",
        SOON,
        async || match TcpStream::connect(&address).await {
            Ok(_) => Err("it listens"),
            Err(_) => Ok(()),
        },
    )
    .await;
    stream
        .write_all(&body.as_bytes()[10..])
        .await
        .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_does_not_hold_up_a_shutdown() {
    let database = audit_database().await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = settings(database.url(), directory.path());
    // Far longer than the test waits.
    settings.insert(
        "DATASTORAGE_SERVER_SHUTDOWN_TIMEOUT".to_owned(),
        "10m".to_owned(),
    );
    let mut service = Process::start(settings).await;
    let halves = [
        "GET /health HTTP/1.1\r\nHost",
        "POST /api/v1/audit/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ];
    let mut clients = Vec::new();
    for half in halves {
        let mut client = TcpStream::connect(&service.address)
            .await
            .expect("connected");
        client.write_all(half.as_bytes()).await.expect("sent");
        clients.push(client);
    }
    let id = service.id().to_string();
    let status = Command::new("kill").args(["-TERM", &id]).status();
    assert!(status.expect("kill runs").success());
    assert!(service.ended().await.success());
    drop(clients);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_given_up() {
    let database = audit_database().await;
    let service = Service::with(
        database.url(),
        Clock::system(),
        &[("DATASTORAGE_SERVER_READ_TIMEOUT", "100ms")],
    )
    .await;
    let mut stream = TcpStream::connect(service.url("").trim_start_matches("http://"))
        .await
        .expect("connected");
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    let mut stream = TcpStream::connect(service.url("").trim_start_matches("http://"))
        .await
        .expect("connected");
    let large = "x".repeat(300 << 10);
    let head = format!("GET /health/live HTTP/1.1\r\nHost: x\r\nX-Large: {large}\r\n\r\n");
    // The server may answer and close before it has read everything.
    drop(stream.write_all(head.as_bytes()).await);
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 431");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_lines_and_hold_no_password() {
    let database = audit_database().await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = settings(database.url(), directory.path());
    settings.insert(
        "DATASTORAGE_DATABASE_PASSWORD".to_owned(),
        "hunter2".to_owned(),
    );
    settings.insert("DATASTORAGE_LOGGING_LEVEL".to_owned(), "debug".to_owned());
    let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_datastorage"))
        .env_clear()
        .envs(&settings)
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let file = directory.path().join("address");
    let address = until("the server to listen", SOON, async || {
        std::fs::read_to_string(&file)
    })
    .await;
    let secret = http()
        .post(format!("http://{address}{EVENTS}"))
        .json(&event("secret"));
    send(secret).await.expect(503);
    assert!(
        Command::new("kill")
            .args(["-TERM", &child.id().expect("it runs").to_string()])
            .status()
            .expect("kill runs")
            .success()
    );
    let output = tokio::time::timeout(SOON, child.wait_with_output())
        .await
        .expect("the server to end")
        .expect("what it wrote");
    let log = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(log.lines().count() >= 3, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
        assert!(line["message"].is_string(), "{line}");
    }
    assert!(!log.contains("hunter2"), "{log}");
}
