//! `audit-emit serve` as a service in another language meets it: over HTTP, with both sides of it killed.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Response, header};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{events::unique, postgres, wait};

use crate::{
    server::{DEADLINE, Reply, Server, directory, numbers},
    service::{Ask as _, Service},
};

const EMIT: &str = env!("CARGO_BIN_EXE_audit-emit");
const NOBODY: &str = "http://127.0.0.1:9";
const EVENTS: &str = "/api/v1/audit/events";
const BATCH: &str = "/api/v1/audit/events/batch";

/// A relay of its own journal, the same after every restart.
struct Relay {
    child: Child,
    url: String,
    upstream: String,
    directory: TempDir,
}

impl Relay {
    async fn start(upstream: &str) -> Self {
        Self::start_with(upstream, directory()).await
    }

    /// Starts it with a token, where the directory has one.
    async fn start_with(upstream: &str, directory: TempDir) -> Self {
        let (child, url) = spawn(upstream, "127.0.0.1:0", directory.path()).await;
        Self {
            child,
            url,
            upstream: upstream.to_owned(),
            directory,
        }
    }

    /// Ends it as `kill -9` does, and starts it again at the same address.
    async fn replace(&mut self) {
        self.child.kill().expect("kill -9 the relay");
        self.child.wait().expect("reap it");
        let address = self.url.trim_start_matches("http://").to_owned();
        (self.child, self.url) = spawn(&self.upstream, &address, self.directory.path()).await;
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        // As Go's client sends it: a length, no Accept.
        Client::new()
            .post(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "Go-http-client/1.1")
            .body(body.to_string())
            .send()
            .await
            .expect("an answer")
    }

    async fn get(&self, path: &str) -> Response {
        reqwest::get(format!("{}{path}", self.url))
            .await
            .expect("an answer")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().expect("reap it");
    }
}

async fn spawn(upstream: &str, listen: &str, directory: &Path) -> (Child, String) {
    let (file, token) = (directory.join("address"), directory.join("token"));
    let mut command = Command::new(EMIT);
    if token.exists() {
        command.env("DATASTORAGE_TOKEN_FILE", token);
    }
    let mut child = command
        .args(["serve", "--url", upstream, "--listen", listen])
        .args(["--linger", "0s", "--deadline", "5s", "--service", "test"])
        .arg("--journal")
        .arg(directory.join("journal"))
        .arg("--address-file")
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .expect("start audit-emit");
    let address = wait::until("the relay to listen", DEADLINE, async || {
        if let Ok(Some(status)) = child.try_wait() {
            panic!("the relay ended with {status}");
        }
        std::fs::read_to_string(&file)
    })
    .await;
    std::fs::remove_file(&file).expect("our own file");
    (child, format!("http://{address}"))
}

/// The full form, in the fields and the order that Go's structures have.
fn full(correlation_id: &str, number: usize) -> Value {
    json!({"actor_id": "workflowexecution-controller", "actor_type": "service", "correlation_id": correlation_id,
        "event_action": "started", "event_category": "workflow", "event_data": {"number": number, "workflow_id": "restart"},
        "event_outcome": "success", "event_timestamp": Timestamp::now(), "event_type": "workflow.started",
        "namespace": "default", "resource_id": "wfe-1", "resource_type": "WorkflowExecution", "severity": "info", "version": "1.0"})
}

/// The short form of a hand-made request.
fn short(correlation_id: &str, number: usize) -> Value {
    json!({"event_category": "workflow", "event_action": "workflow.started", "event_outcome": "success",
        "resource_type": "WorkflowExecution", "correlation_id": correlation_id, "event_data": {"number": number}})
}

async fn accepted(response: Response) {
    let status = response.status();
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(status, 202, "{body}");
    assert_eq!(body["status"], "accepted", "{body}");
    assert!(body["message"].is_string(), "{body}");
}

async fn settled(service: &Service, correlation_id: &str, count: usize) {
    let what = format!("{count} events of {correlation_id}");
    let events = wait::until(&what, DEADLINE, async || {
        let events = service.events(correlation_id).await;
        if events.len() >= count {
            Ok(events)
        } else {
            Err(format!("{} events", events.len()))
        }
    })
    .await;
    let numbers: Vec<_> = events
        .iter()
        .map(|event| event.event_data["number"].as_u64().expect("a number"))
        .collect();
    assert_eq!(
        numbers,
        (0..count as u64).collect::<Vec<_>>(),
        "once each, in order"
    );
    let ids: BTreeSet<_> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(ids.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_202_is_stored_once_whoever_is_away_killed_or_replaced() {
    let database = postgres::database("audit").await;
    let mut service = Service::start(&database).await;
    let correlation = unique("relay");
    // Data Storage is away when both start.
    service.kill();
    let mut relay = Relay::start(&service.url()).await;
    accepted(relay.post(EVENTS, &full(&correlation, 0)).await).await;
    accepted(relay.post(EVENTS, &short(&correlation, 1)).await).await;
    let batch: Vec<_> = (2..102).map(|number| full(&correlation, number)).collect();
    accepted(relay.post(BATCH, &json!(batch)).await).await;
    // Killed right after its answer.
    relay.replace().await;
    accepted(relay.post(EVENTS, &full(&correlation, 102)).await).await;
    service.restart().await;
    settled(&service, &correlation, 103).await;

    // Each of the two killed while events flow.
    for number in 103..200 {
        accepted(relay.post(EVENTS, &full(&correlation, number)).await).await;
        match number {
            120 => service.kill(),
            140 | 180 => relay.replace().await,
            160 => service.restart().await,
            _ => {}
        }
    }
    settled(&service, &correlation, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_the_contract_gets_the_problem_that_data_storage_gives() {
    let database = postgres::database("audit").await;
    let service = Service::start(&database).await;
    let relay = Relay::start(&service.url()).await;
    let mut wrong = full("c", 0);
    wrong["event_category"] = json!("nonsense");
    wrong["event_action"] = json!("x".repeat(51));
    let mut old = full("c", 0);
    old["event_timestamp"] = json!("2020-01-01T00:00:00Z");
    for (path, body) in [
        (EVENTS, wrong.clone()),
        (EVENTS, json!([])),
        (EVENTS, json!({})),
        (BATCH, json!([])),
        (BATCH, json!({})),
        (BATCH, json!([full("c", 0), wrong])),
        (EVENTS, old),
    ] {
        let ours = relay.post(path, &body).await;
        let theirs = Client::new()
            .post(format!("{}{path}", service.url()))
            .json(&body)
            .send()
            .await
            .expect("an answer");
        assert_eq!(ours.status(), 400, "{body}");
        assert_eq!(ours.status(), theirs.status(), "{body}");
        assert_eq!(
            ours.headers()[header::CONTENT_TYPE],
            theirs.headers()[header::CONTENT_TYPE]
        );
        let [mut ours, mut theirs]: [Value; 2] = [
            ours.json().await.expect("a problem"),
            theirs.json().await.expect("a problem"),
        ];
        for problem in [&mut ours, &mut theirs] {
            // Both name the clock.
            if problem["field_errors"]["event_timestamp"].is_string() {
                problem["field_errors"]["event_timestamp"] = Value::Null;
                problem["detail"] = Value::Null;
            }
        }
        assert_eq!(ours, theirs, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_passed_on_and_fail_by_name_while_data_storage_is_away() {
    let database = postgres::database("audit").await;
    let mut service = Service::start(&database).await;
    let relay = Relay::start(&service.url()).await;
    let correlation = unique("relay-read");
    accepted(relay.post(EVENTS, &full(&correlation, 0)).await).await;
    settled(&service, &correlation, 1).await;
    let path = format!("{EVENTS}?correlation_id={correlation}&limit=1");
    let page: Value = relay.get(&path).await.json().await.expect("a page");
    assert_eq!(page["data"][0]["correlation_id"], json!(correlation));
    let wrong = relay.get(&format!("{EVENTS}?limit=0")).await;
    assert_eq!(wrong.status(), 400, "its own answer, whatever it is");
    assert_eq!(relay.get("/nowhere").await.status(), 404);

    service.kill();
    let away = relay.get(&path).await;
    assert_eq!(away.status(), 503);
    assert!(away.headers().contains_key(header::RETRY_AFTER));
    let problem: Value = away.json().await.expect("a problem");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("cannot reach Data Storage"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_health_and_metrics_do_not_need_data_storage() {
    let relay = Relay::start(NOBODY).await;
    accepted(relay.post(EVENTS, &full("c", 0)).await).await;
    for (path, word) in [("/health/live", "alive"), ("/health/ready", "ready")] {
        let answer = relay.get(path).await;
        assert_eq!(answer.status(), 200);
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["status"], word);
    }
    let listen = relay.url.trim_start_matches("http://");
    let probe = |listen: &str| {
        let mut probe = Command::new(EMIT);
        probe.args(["ready", "--listen", listen]);
        probe.output().expect("run audit-emit").status.code()
    };
    assert_eq!(probe(listen), Some(0));
    assert_eq!(probe("127.0.0.1:9"), Some(1));
    let wanted = [
        r#"audit_relay_requests_total{operation="single",status="2xx"} 1"#,
        r#"audit_events_buffered_total{service="test"} 1"#,
        r#"audit_journal_depth{service="test"} 1"#,
    ];
    wait::until("the metrics of one event", DEADLINE, async || {
        let text = relay.get("/metrics").await.text().await.expect("text");
        match wanted.iter().find(|line| !text.contains(**line)) {
            None => Ok(()),
            Some(line) => Err(format!("{line} is missing in {text}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_does_not_take_is_refused_by_name() {
    let relay = Relay::start(NOBODY).await;
    let url = format!("{}{EVENTS}", relay.url);
    let form = Client::new().post(&url).body("{}").send();
    assert_eq!(form.await.expect("an answer").status(), 415);
    let large = Client::new()
        .post(&url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(vec![b' '; (16 << 20) + 1])
        .send();
    assert_eq!(large.await.expect("an answer").status(), 413);
    let mut long = full("c", 0);
    long["event_data"] = json!({"text": "x".repeat(2 << 20)});
    assert_eq!(relay.post(EVENTS, &long).await.status(), 413);
    let catalogue = relay.post("/api/v1/workflows", &json!({})).await;
    assert_eq!(catalogue.status(), 405);
    let problem: Value = catalogue.json().await.expect("a problem");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("to Data Storage itself"), "{detail}");
    // The journal holds none of them.
    accepted(relay.post(EVENTS, &full("c", 0)).await).await;
    wait::until("one event in the journal", DEADLINE, async || {
        let text = relay.get("/metrics").await.text().await.expect("text");
        text.contains(r#"audit_journal_depth{service="test"} 1"#)
            .then_some(())
            .ok_or(text)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_delay_nobody() {
    let relay = Relay::start(NOBODY).await;
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let address = relay.url.trim_start_matches("http://");
            let mut stream = TcpStream::connect(address).expect("connect");
            let head = format!(
                "POST {EVENTS} HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\nContent-Length: 16000000\r\n\r\n{{"
            );
            stream.write_all(head.as_bytes()).expect("sent");
            stream
        })
        .collect();
    let posts = async {
        for number in 0..20 {
            accepted(relay.post(EVENTS, &full("c", number)).await).await;
        }
    };
    // Well below the time that each of them is given.
    tokio::time::timeout(Duration::from_secs(8), posts)
        .await
        .expect("nobody waits for the slow");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_sends_what_it_can_and_says_what_is_left() {
    for (commits, said) in [
        (true, "1 stored, 0 in the journal"),
        (false, "0 stored, 1 in the journal"),
    ] {
        let server = Server::start(move |_| {
            if commits {
                Reply::Commit
            } else {
                Reply::Refuse(503)
            }
        })
        .await;
        let mut relay = Relay::start(&server.url()).await;
        accepted(relay.post(EVENTS, &full("c", 7)).await).await;
        relay.signal(Signal::SIGTERM);
        let status = relay.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        let mut log = String::new();
        let mut stderr = relay.child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut log).expect("text");
        assert!(log.contains(said), "{log}");
        assert_eq!(
            numbers(&server.events()),
            if commits { vec![7] } else { vec![] }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_proves_who_it_is_for_the_service_beside_it_and_passes_nothing_of_a_callers() {
    const TOKEN: &str = "of-the-relay-0123456789-0123456789";
    let directory = directory();
    let (valid, own) = (
        directory.path().join("valid"),
        directory.path().join("token"),
    );
    for file in [&valid, &own] {
        std::fs::write(file, TOKEN).expect("written");
    }
    let database = postgres::database("audit").await;
    let settings = vec![("DATASTORAGE_AUTH_TOKEN_FILE", valid.display().to_string())];
    let service = Service::with_settings("audit", &database, settings).await;
    let relay = Relay::start_with(&service.url(), directory).await;
    let correlation_id = unique("relay");
    let event = full(&correlation_id, 1);
    accepted(relay.post(EVENTS, &event).await).await;
    let path = format!("{EVENTS}?correlation_id={correlation_id}");
    wait::until(
        "the event to be read through the relay",
        DEADLINE,
        async || {
            let page: Value = relay.get(&path).await.json().await.expect("JSON");
            if page["data"].as_array().is_some_and(|data| data.len() == 1) {
                Ok(())
            } else {
                Err(page)
            }
        },
    )
    .await;
    let with_own = Client::new()
        .get(format!("{}{path}", relay.url))
        .bearer_auth("a-callers-own-0123456789-0123456789");
    let answer = with_own.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    for list in ["cmdline", "environ"] {
        let shown = std::fs::read(format!("/proc/{}/{list}", relay.child.id())).expect("read");
        assert!(!String::from_utf8_lossy(&shown).contains(TOKEN), "{list}");
    }

    std::fs::write(&own, "not-that-of-the-relay-0123456789").expect("written");
    wait::until("the relay not to be let in", DEADLINE, async || {
        let answer = relay.get(&path).await;
        if answer.status() != 503 {
            return Err(answer.status().to_string());
        }
        let problem = answer.text().await.expect("text");
        assert!(problem.contains("DATASTORAGE_TOKEN_FILE"), "{problem}");
        Ok(())
    })
    .await;
    // What it accepts meanwhile waits for the right token.
    accepted(relay.post(EVENTS, &full(&correlation_id, 2)).await).await;
    std::fs::write(&own, TOKEN).expect("written");
    wait::until("both to be stored", DEADLINE, async || {
        let page: Value = relay.get(&path).await.json().await.expect("JSON");
        if page["data"].as_array().is_some_and(|data| data.len() == 2) {
            Ok(())
        } else {
            Err(page)
        }
    })
    .await;
}

#[test]
fn an_address_that_others_reach_is_refused_by_name() {
    for listen in ["0.0.0.0:8080", "10.1.2.3:8080", "[::]:8080"] {
        let mut command = Command::new(EMIT);
        command.args(["serve", "--url", NOBODY, "--journal", "/nowhere"]);
        let output = command.args(["--listen", listen]).output().expect("run");
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr);
        let address = listen.trim_end_matches(":8080").trim_matches(['[', ']']);
        assert!(
            text.contains(&format!("other machines reach {address}")),
            "{text}"
        );
        assert!(text.contains("127.0.0.1:8080"), "{text}");
    }
}
