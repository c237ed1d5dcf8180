//! The supervised port-forward of a run: killed again and again, and no request fails.
//!
//! In place of kubectl there is a program that forwards to a relay of this test: this test's own binary, called as
//! [`plays_kubectl`].

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e_runner::process::Runner;
use e2e_runner::process::cancel::Cancel;
use e2e_runner::run::forward::{self, JOURNAL, SPEC, Spec, interruptions};
use e2e_runner::state::processes::labelled;
use jiff::Timestamp;
use testkit::fake_tool::FakeTools;

/// The address of the relay, for the program that plays kubectl.
const RELAY: &str = "TEST_RELAY";
const DEADLINE: Duration = Duration::from_mins(1);

/// Not a test where a test runs: forwards a port of its own to [`RELAY`], until it is killed.
#[test]
fn plays_kubectl() {
    let Ok(relay) = std::env::var(RELAY) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let mut out = std::io::stdout();
    writeln!(out, "Forwarding from 127.0.0.1:{port} -> 18070").expect("printed");
    for client in listener.incoming() {
        let client = client.expect("a connection");
        let server = TcpStream::connect(&relay).expect("the relay");
        for (mut from, mut to) in [
            (client.try_clone(), server.try_clone()),
            (server.try_clone(), client.try_clone()),
        ]
        .map(|(from, to)| (from.expect("a handle"), to.expect("a handle")))
        {
            std::thread::spawn(move || {
                std::io::copy(&mut from, &mut to).ok();
                to.shutdown(std::net::Shutdown::Both).ok();
            });
        }
    }
}

/// A relay and a server behind it, a run's directory with the tool in it, and a kubectl.
struct Stage {
    dir: tempfile::TempDir,
    runner: Runner,
    tools: FakeTools,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for Stage {
    fn drop(&mut self) {
        forward::end(self.dir.path()).expect("its processes end");
    }
}

impl Stage {
    fn new(kubectl: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let relay = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("a port");
            let address = listener.local_addr().expect("it is bound").to_string();
            tokio::spawn(async move {
                tunnel::Relay::new(tunnel::Limits::default())
                    .serve(listener)
                    .await;
            });
            address
        });
        let dir = tempfile::tempdir().expect("a directory");
        let tool = dir.path().join("xtask");
        if fs::hard_link(env!("CARGO_BIN_EXE_xtask"), &tool).is_err() {
            fs::copy(env!("CARGO_BIN_EXE_xtask"), &tool).expect("the tool");
        }
        let tools = FakeTools::new().tool("kubectl", kubectl);
        let runner = Runner::new(Cancel::default())
            .env("PATH", tools.path())
            .env(RELAY, &relay);
        Self {
            dir,
            runner,
            tools,
            _runtime: runtime,
        }
    }

    fn forwarding() -> Self {
        let own = std::env::current_exe().expect("this binary");
        Self::new(&format!(
            "exec '{}' --exact tunnel::plays_kubectl --nocapture",
            own.display()
        ))
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn spec() -> Spec {
        Spec {
            kubeconfig: PathBuf::from("/run/kubeconfig"),
            namespace: "a-run".to_owned(),
            pod: "tunnel-relay".to_owned(),
            relay_port: 18070,
            away: None,
            forwards: Vec::new(),
        }
    }

    fn start(&self) {
        let started = forward::start(&self.runner, self.path(), &Self::spec());
        let journal = || fs::read_to_string(self.path().join(JOURNAL)).unwrap_or_default();
        started.unwrap_or_else(|failure| panic!("{failure}\n{}", journal()));
    }

    fn forward(&self, target: std::net::SocketAddr) -> std::net::SocketAddr {
        let host = target.ip().to_string();
        let forwarded = forward::forward(&self.runner, self.path(), &host, target.port(), None);
        forwarded.unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Kills what is recorded under a label, as the kernel does that has no memory left.
    fn kill(&self, label: &str) {
        for process in labelled(self.path(), label) {
            let pid = process.pid.to_string();
            let killed = Command::new("kill").args(["-9", &pid]).status();
            assert!(killed.expect("kill runs").success());
        }
    }
}

/// A server that answers each POST with the length of what was posted; one connection may have many.
fn server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            std::thread::spawn(move || {
                let mut have = Vec::new();
                let mut piece = vec![0; 1 << 16];
                loop {
                    let head = have.windows(4).position(|four| four == b"\r\n\r\n");
                    let length = head.and_then(|end| {
                        let head = String::from_utf8_lossy(&have[..end]).to_lowercase();
                        let rest = head.split_once("content-length: ")?.1.to_owned();
                        let length: usize = rest.lines().next()?.trim().parse().ok()?;
                        Some((end + 4, length))
                    });
                    if let Some((begin, length)) = length
                        && have.len() >= begin + length
                    {
                        have.drain(..begin + length);
                        let text = length.to_string();
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                            text.len()
                        );
                        if socket.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                        continue;
                    }
                    match socket.read(&mut piece) {
                        Ok(0) | Err(_) => return,
                        Ok(read) => have.extend_from_slice(&piece[..read]),
                    }
                }
            });
        }
    });
    address
}

fn post(agent: &ureq::Agent, address: std::net::SocketAddr, length: usize) -> Result<(), String> {
    let answer = agent
        .post(format!("http://{address}/"))
        .send(&vec![b'x'; length][..]);
    let text = answer
        .and_then(|mut answer| answer.body_mut().read_to_string())
        .map_err(|error| error.to_string())?;
    (text == length.to_string()).then_some(()).ok_or(text)
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().proxy(None);
    config.timeout_global(Some(DEADLINE)).build().into()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn no_request_fails_while_the_port_forward_is_killed_fifty_times() {
    let stage = Stage::forwarding();
    stage.start();
    let began = Timestamp::now();
    let address = stage.forward(server());
    let (over, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (over, done) = (Arc::clone(&over), Arc::clone(&done));
            std::thread::spawn(move || {
                // One keeps its connection, the other takes a new one for each request.
                let kept = agent();
                while !over.load(Ordering::SeqCst) {
                    let fresh;
                    let agent = if client % 2 == 0 {
                        &kept
                    } else {
                        fresh = agent();
                        &fresh
                    };
                    post(agent, address, 1_000 + 40_000 * client).expect("no request notices");
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for cut in 1..=50 {
        let before = done.load(Ordering::SeqCst);
        stage.kill("tunnel-kubectl");
        until("the cut to be noticed and mended", || {
            let found = interruptions(stage.path(), began);
            found.cuts >= cut && !found.is_cut && done.load(Ordering::SeqCst) > before
        });
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().expect("no request fails");
    }
    let found = interruptions(stage.path(), began);
    assert_eq!((found.cuts, found.may_be_noticed()), (50, false), "{found}");
    assert!(found.to_string().starts_with("cut 50 times, longest "));
    let journal = fs::read_to_string(stage.path().join(JOURNAL)).expect("a journal");
    assert!(journal.contains(" kubectl "), "{journal}");
}

#[test]
fn a_target_has_one_port_whoever_asks_and_keeps_it_when_the_tunnel_was_killed() {
    let stage = Stage::forwarding();
    stage.start();
    let (one, other) = (server(), server());
    let address = stage.forward(one);
    assert_eq!(stage.forward(one), address);
    assert_ne!(stage.forward(other), address);
    post(&agent(), address, 10).expect("it is answered");
    let began = Timestamp::now();

    stage.kill("tunnel");
    until("the port to be closed", || !forward::is_alive(stage.path()));
    assert!(post(&agent(), address, 10).is_err());
    assert_eq!(stage.forward(one), address, "the same port again");
    // It takes connections before it has reached the relay; they wait.
    post(&agent(), address, 10).expect("it is answered again");
    let found = interruptions(stage.path(), began);
    assert!(found.may_be_noticed() && found.restarted == 1, "{found}");
    assert_eq!(
        labelled(stage.path(), "tunnel-kubectl").len(),
        1,
        "that of the first life is gone"
    );

    let wanted = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = wanted.local_addr().expect("it is bound").port();
    let host = "127.0.0.1";
    let given = forward::forward(&stage.runner, stage.path(), host, 1, Some(taken));
    assert_ne!(given.expect("another port").port(), taken);
    drop(wanted);
    let given = forward::forward(&stage.runner, stage.path(), host, 2, Some(taken));
    assert_eq!(given.expect("that port").port(), taken);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(stage.path().join(SPEC))
            .expect("it is there")
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

/// A kubectl that does not find the pod while a file is there, with that file.
fn without_pod() -> (Stage, tempfile::TempPath) {
    let missing = tempfile::NamedTempFile::new().expect("a file");
    let missing = missing.into_temp_path();
    let own = std::env::current_exe().expect("this binary");
    let stage = Stage::new(&format!(
        "[ ! -e '{}' ] || {{ echo 'Error from server (NotFound): pods \"tunnel-relay\" not found' >&2; exit 1; }}\n\
         exec '{}' --exact tunnel::plays_kubectl --nocapture",
        missing.display(),
        own.display()
    ));
    (stage, missing)
}

#[test]
fn a_relay_whose_pod_is_on_its_way_is_waited_for() {
    let (stage, missing) = without_pod();
    let target = server();
    forward::prepare(stage.path(), &Stage::spec()).expect("it is written");
    let address = stage.forward(target);
    std::thread::sleep(Duration::from_millis(500));
    assert!(forward::is_alive(stage.path()), "its pod may come");
    missing.close().expect("it is there");
    stage.start();
    post(&agent(), address, 10).expect("it is answered");
}

#[test]
fn a_relay_whose_pod_is_gone_is_told_in_the_words_of_kubectl_and_not_tried_for_ever() {
    let (stage, missing) = without_pod();
    let path = missing.to_path_buf();
    missing.close().expect("it is there");
    stage.start();
    let calls = stage.tools.calls();
    assert_eq!(
        calls[0][1..].join(" "),
        "--kubeconfig /run/kubeconfig --namespace a-run port-forward --address 127.0.0.1 pod/tunnel-relay :18070"
    );
    fs::write(&path, "").expect("a file");
    stage.kill("tunnel-kubectl");
    until("the tunnel to end", || !forward::is_alive(stage.path()));
    fs::remove_file(&path).expect("it is there");
    let journal = fs::read_to_string(stage.path().join(JOURNAL)).expect("a journal");
    let told = "the relay is gone: relay pod tunnel-relay in namespace a-run: Error from server (NotFound)";
    assert!(journal.contains(told), "{journal}");
}

#[test]
fn an_api_server_that_is_away_for_longer_than_the_bound_ends_the_tunnel_with_what_kubectl_said() {
    let said = "The connection to the server 192.0.2.1:6443 was refused";
    let stage = Stage::new(&format!("echo '{said}' >&2; exit 1"));
    let spec = Spec {
        away: Some(1),
        ..Stage::spec()
    };
    let refused = forward::start(&stage.runner, stage.path(), &spec);
    let failure = refused.expect_err("nobody answers").to_string();
    assert!(
        failure.contains("the relay was away for 1 s: relay pod tunnel-relay in namespace a-run: ")
            && failure.contains(said),
        "{failure}"
    );
    assert!(!forward::is_alive(stage.path()));
    let journal = fs::read_to_string(stage.path().join(JOURNAL)).expect("a journal");
    assert_eq!(
        journal.matches(" waiting ").count(),
        1,
        "told once: {journal}"
    );
}
