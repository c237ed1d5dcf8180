//! Who may call: nobody has to prove anything on loopback, everybody beyond it, and operators always.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use datastorage::clock::Clock;
use reqwest::Method;
use serde_json::json;
use tempfile::NamedTempFile;
use testkit::wait::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::contract::{DOCUMENT, instance};
use crate::support::{
    Answer, Process, SOON, Service, TOKEN, TOKEN_FILE, audit_database, event, http, send, settings,
    token_file,
};

const EVENTS: &str = "/api/v1/audit/events";
const REDRIVE: &str = "/api/v1/queue/parked/redrive";
const PARKED: &str = "/api/v1/queue/parked/7";
const NEXT: &str = "the-next-one-0123456789-0123456789";
const HOST: &str = "DATASTORAGE_SERVER_HOST";
const OPEN_TO: (&str, &str) = ("DATASTORAGE_AUTH_OPEN_TO", "anyone-who-reaches-the-port");

/// An instance that takes the tokens of the file.
async fn guarded(url: &str, tokens: &NamedTempFile) -> Service {
    let more = [(TOKEN_FILE, tokens.path().to_str().expect("UTF-8"))];
    Service::with(url, Clock::system(), &more).await
}

/// A GET with that `Authorization` header, if any.
async fn ask(service: &Service, path: &str, authorization: Option<&str>) -> Answer {
    let request = http().get(service.url(path));
    send(match authorization {
        Some(value) => request.header("authorization", value),
        None => request,
    })
    .await
}

/// The value of a metric, asked for with that token.
async fn metric(service: &Service, token: &str, name: &str) -> Option<f64> {
    let answer = ask(service, "/metrics", Some(&format!("Bearer {token}"))).await;
    let text = answer.body.as_str()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// What the server says that is started with the settings and ends at once.
fn refused(settings: &BTreeMap<String, String>) -> String {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_datastorage"))
        .env_clear()
        .envs(settings)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// Settings for a database that is not there, with those above them.
fn nowhere(directory: &Path, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut settings = settings("postgres://u:p@127.0.0.1:1/d", directory);
    for (name, value) in more {
        settings.insert((*name).to_owned(), (*value).to_owned());
    }
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_nothing_has_to_be_proven_but_by_whoever_puts_back_or_deletes() {
    let database = audit_database().await;
    let service = Service::start(database.url()).await;
    service.post(EVENTS, &event("open")).await.expect(201);
    service.get("/metrics").await.expect(200);
    service.get("/api/v1/queue/parked").await.expect(200);
    for answer in [
        service.post(REDRIVE, &json!({})).await,
        service.delete(PARKED).await,
        // A token proves nothing where none is valid.
        send(http().post(service.url(REDRIVE)).bearer_auth(TOKEN)).await,
    ] {
        let problem = answer.expect(403).problem();
        assert_eq!(problem.name(), "forbidden");
        let detail = problem.detail.expect("a detail");
        assert!(detail.contains(TOKEN_FILE), "{detail}");
    }
}

#[test]
fn beyond_loopback_a_server_that_nothing_guards_does_not_start_and_says_the_three_ways_out() {
    let directory = tempfile::tempdir().expect("a directory");
    for host in ["0.0.0.0", "::", "10.1.2.3", "datastorage.example", ""] {
        let message = refused(&nowhere(directory.path(), &[(HOST, host)]));
        for part in [
            "server.host",
            "auth.token_file",
            "tls.client_ca_file",
            "auth.open_to: anyone-who-reaches-the-port",
        ] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }
    let unsaid = refused(&nowhere(
        directory.path(),
        &[(HOST, "0.0.0.0"), ("DATASTORAGE_AUTH_OPEN_TO", "anyone")],
    ));
    assert!(unsaid.contains("auth.open_to"), "{unsaid}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_it_listens_with_tokens_or_with_the_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let tokens = token_file();
    let file = tokens.path().to_str().expect("UTF-8");
    for (more, status) in [((TOKEN_FILE, file), 401), (OPEN_TO, 200)] {
        let settings = nowhere(directory.path(), &[(HOST, "0.0.0.0"), more]);
        let service = Process::start(settings).await;
        let port = service.address.rsplit(':').next().expect("a port");
        let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
        send(http().get(url("/health/live"))).await.expect(200);
        send(http().get(url("/metrics"))).await.expect(status);
        let redrive = http().post(url(REDRIVE));
        let refused = if status == 200 { 403 } else { 401 };
        send(redrive).await.expect(refused);
    }
    for host in ["127.0.0.1", "127.8.9.10", "localhost", "::1"] {
        let settings = nowhere(directory.path(), &[(HOST, host)]);
        drop(Process::start(settings).await);
    }
}

#[test]
fn a_file_of_tokens_that_is_of_no_use_is_a_fault_at_start_that_quotes_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let tokens = token_file();
    let file = tokens.path().to_str().expect("UTF-8");
    for (content, part) in [
        ("", "no token"),
        ("hunter2", "line 1 has 7 characters"),
        (
            "# hunter2 is the one of the clients",
            "line 1 holds a character",
        ),
    ] {
        std::fs::write(tokens.path(), content).expect("written");
        let message = refused(&nowhere(directory.path(), &[(TOKEN_FILE, file)]));
        assert!(
            message.contains("auth.token_file") && message.contains(part),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
    let message = refused(&nowhere(
        directory.path(),
        &[(TOKEN_FILE, "/nowhere/tokens")],
    ));
    assert!(message.contains("/nowhere/tokens"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_token_lets_everything_in_and_without_one_only_the_health_checks_are_open() {
    let database = testkit::postgres::database("datastorage").await;
    let tokens = token_file();
    let more = [
        (TOKEN_FILE, tokens.path().to_str().expect("UTF-8")),
        ("DATASTORAGE_SCHEMA_PROFILE", "datastorage"),
    ];
    let service = Service::with(database.url(), Clock::system(), &more).await;
    for (template, item) in DOCUMENT["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let path = instance(template);
            let request = || http().request(method.clone(), service.url(&path));
            let answer = send(request()).await;
            let open = template.starts_with("/health");
            assert_eq!(answer.status != 401, open, "{method} {path}: {answer:?}");
            let proven = send(request().bearer_auth(TOKEN)).await;
            assert!(
                !matches!(proven.status.as_u16(), 401 | 403),
                "{method} {path}: {proven:?}"
            );
        }
    }
    service.post(EVENTS, &event("proven")).await.expect(201);
    assert_eq!(
        service.post(REDRIVE, &json!({})).await.expect(200).body,
        json!({"redriven": 0})
    );
    service.delete(PARKED).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_proves_nothing_is_told_what_to_send_and_never_what_a_token_is() {
    let database = audit_database().await;
    let tokens = token_file();
    let service = guarded(database.url(), &tokens).await;
    let cut = &format!("Bearer {}", &TOKEN[1..]);
    for (authorization, challenge) in [
        (None, r#"Bearer realm="datastorage""#),
        (Some("Basic dTpw"), r#"Bearer realm="datastorage""#),
        (Some(TOKEN), r#"Bearer realm="datastorage""#),
        (Some("Bearer "), r#"Bearer realm="datastorage""#),
        (
            Some(cut),
            r#"Bearer realm="datastorage", error="invalid_token""#,
        ),
    ] {
        let answer = ask(&service, EVENTS, authorization).await.expect(401);
        assert_eq!(answer.challenge.as_deref(), Some(challenge));
        let problem = answer.problem();
        assert_eq!(problem.name(), "unauthorized");
        assert_eq!(problem.instance.as_deref(), Some(EVENTS));
        let detail = problem.detail.expect("a detail");
        assert!(detail.contains("Authorization: Bearer"), "{detail}");
        assert!(!detail.contains(&TOKEN[1..]), "{detail}");
    }
    for scheme in ["Bearer", "bearer", "BEARER  "] {
        let authorization = format!("{scheme} {TOKEN}");
        ask(&service, EVENTS, Some(&authorization))
            .await
            .expect(200);
    }
    let twice = http()
        .get(service.url(EVENTS))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("authorization", format!("Bearer {TOKEN}"));
    send(twice).await.expect(401);
    for (reason, count) in [("no_token", 1.0), ("not_bearer", 4.0), ("wrong_token", 1.0)] {
        let name = format!("datastorage_refused_calls_total{{reason=\"{reason}\"}}");
        assert_eq!(metric(&service, TOKEN, &name).await, Some(count), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_refused_before_its_body_is_read() {
    let database = audit_database().await;
    let tokens = token_file();
    let service = guarded(database.url(), &tokens).await;
    let address = service.url("").replace("http://", "");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    // Not a byte of the body is sent.
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 401");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_rotated_while_it_runs_and_a_file_of_no_use_leaves_the_last_good_ones() {
    let database = audit_database().await;
    let tokens = token_file();
    let service = guarded(database.url(), &tokens).await;
    let becomes = async |token: &str, status: u16| {
        until("the file to be read again", SOON, async || {
            let answer = ask(&service, EVENTS, Some(&format!("Bearer {token}"))).await;
            if answer.status == status {
                Ok(())
            } else {
                Err(answer.body)
            }
        })
        .await;
    };
    becomes(TOKEN, 200).await;
    becomes(NEXT, 401).await;
    let write = |text: &str| std::fs::write(tokens.path(), text).expect("written");
    write(&format!("{TOKEN}\n{NEXT}\n"));
    becomes(NEXT, 200).await;
    becomes(TOKEN, 200).await;
    write(NEXT);
    becomes(TOKEN, 401).await;
    becomes(NEXT, 200).await;

    write("short");
    let current = "datastorage_credentials_current{files=\"tokens\"}";
    let shows = async |value: f64| {
        until("the metric to say so", SOON, async || {
            let shown = metric(&service, NEXT, current).await;
            if shown == Some(value) {
                Ok(())
            } else {
                Err(format!("{shown:?}"))
            }
        })
        .await;
    };
    shows(0.0).await;
    becomes(NEXT, 200).await;
    write(NEXT);
    shows(1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_in_no_log_and_no_list_of_processes() {
    let database = audit_database().await;
    let directory = tempfile::tempdir().expect("a directory");
    let tokens = token_file();
    let mut settings = settings(database.url(), directory.path());
    let file = tokens.path().display().to_string();
    settings.insert(TOKEN_FILE.to_owned(), file);
    settings.insert("DATASTORAGE_LOGGING_LEVEL".to_owned(), "debug".to_owned());
    let config = datastorage::config::Config::load(&settings).expect("valid");
    assert!(!format!("{config:?}").contains(TOKEN));
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_datastorage"))
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
    let url = format!("http://{address}{EVENTS}");
    send(http().get(&url).bearer_auth(TOKEN)).await.expect(200);
    send(http().get(&url).bearer_auth(NEXT)).await.expect(401);
    std::fs::write(tokens.path(), format!("{NEXT}\n{}", &TOKEN[..5])).expect("written");
    let process = format!("/proc/{}", child.id().expect("it runs"));
    for list in ["cmdline", "environ"] {
        let shown = std::fs::read(format!("{process}/{list}")).expect("read");
        assert!(!String::from_utf8_lossy(&shown).contains(TOKEN), "{list}");
    }
    let mut output = child.stdout.take().expect("piped");
    let mut log = String::new();
    // Until it says that the file is of no use, and how.
    while !log.contains("line 2") {
        let mut part = vec![0; 4096];
        let read = tokio::time::timeout(SOON, output.read(&mut part));
        let read = read.await.expect("it says so").expect("its log");
        log.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    assert!(!log.contains(&TOKEN[..5]) && !log.contains(NEXT), "{log}");
}
