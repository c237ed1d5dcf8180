//! The life of a run against fake docker, kind and kubectl: what is made is recorded, and nothing outlives the run.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::fake_tool::FakeTools;

use crate::xtask;

/// A machine with fake tools, a state of its own and a PostgreSQL port that takes connections and never answers.
struct Machine {
    tools: FakeTools,
    dir: tempfile::TempDir,
    _silent: TcpListener,
}

impl Machine {
    fn new() -> Self {
        let tools = FakeTools::new()
            .tool("docker", include_str!("fake/docker.sh"))
            .tool("kind", include_str!("fake/kind.sh"))
            .tool("kubectl", include_str!("fake/kubectl.sh"));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = silent
            .local_addr()
            .expect("a bound listener")
            .port()
            .to_string();
        let binding = |port: &str| json!([{"HostIp": "127.0.0.1", "HostPort": port}]);
        let ports = json!({
            "30040/tcp": binding(&port), "30041/tcp": binding("1"), "30042/tcp": binding("1"), "30043/tcp": binding("1"),
        });
        let machine = Self {
            tools,
            dir,
            _silent: silent,
        };
        machine.write("ports.json", &ports.to_string());
        machine.watch(
            &json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
        );
        machine.write("binary", "a binary that is never run");
        machine
    }

    /// What a watch on pods shows.
    fn watch(&self, status: &Value) {
        let event = json!({"type": "ADDED", "object": {"metadata": {"name": "postgres-1"}, "status": status}});
        self.write("watch", &format!("{event}\n"));
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("the machine's directory is writable");
    }

    fn has(&self, name: &str) -> bool {
        self.dir.path().join(name).exists()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask(args);
        command
            .env("PATH", self.tools.path())
            .env("FAKE_STATE", self.dir.path())
            .env("CARGO_TARGET_DIR", self.dir.path().join("target"))
            .env("E2E_CACHE_DIR", self.dir.path().join("cache"))
            .env("E2E_DATASTORAGE_BIN", self.dir.path().join("binary"))
            .env("E2E_FAKE_BIN", self.dir.path().join("binary"))
            .env_remove("KIND_NODE_IMAGE")
            .env_remove("POSTGRES_IMAGE");
        if self.has("prepares") {
            // What a node writes as it is booted, no fake of Docker has.
            command.env("E2E_PREPARED_NODE", "unbooted");
        }
        if self.has("names-its-node") {
            command.env("KIND_NODE_IMAGE", "node:1");
        }
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let output = self.command(args).output().expect("the tool starts");
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Starts a run, and returns it once the fake tools hang at `step`.
    fn hanging_at(&self, step: &str) -> Child {
        self.write("hang", step);
        let mut command = self.command(&["up", "workflowexecution", "--target", "kind"]);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the tool starts");
        within("the run comes to the step", || self.has("hanging"));
        child
    }

    /// The image that each cluster was made from; none for kind's own.
    fn nodes(&self) -> Vec<Option<String>> {
        let calls = self.tools.calls();
        let creates = calls
            .iter()
            .filter(|call| call[1..3] == ["create", "cluster"]);
        creates
            .map(|call| {
                let at = call.iter().position(|word| word == "--image")?;
                call.get(at + 1).cloned()
            })
            .collect()
    }

    /// A run until its objects are applied, ended there by a person.
    fn run_to_apply(&self) {
        let mut child = self.hanging_at("apply");
        send(&child, Signal::SIGINT);
        child.wait().expect("the tool ends");
        fs::remove_file(self.dir.path().join("hanging")).expect("it was held");
        self.assert_clean();
    }

    /// The processes that this machine's tools started and that still run.
    fn processes(&self) -> Vec<String> {
        let mark = format!("FAKE_STATE={}", self.dir.path().display());
        let carries = |dir: &Path| {
            let environ = fs::read(dir.join("environ")).unwrap_or_default();
            environ
                .split(|byte| *byte == 0)
                .any(|pair| pair == mark.as_bytes())
        };
        let dirs: Vec<PathBuf> = fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        dirs.iter()
            .filter(|dir| carries(dir))
            .map(|dir| {
                fs::read_to_string(dir.join("cmdline"))
                    .unwrap_or_default()
                    .replace('\0', " ")
            })
            .collect()
    }

    /// Nothing that a run makes is left: no cluster, no volume, no process, no state.
    fn assert_clean(&self) {
        assert!(!self.has("node"), "the cluster is still there");
        assert!(!self.has("volume"), "the cluster's volume is still there");
        assert!(!self.has("filler"), "a container is still there");
        assert!(
            self.has("prepared") || !self.has("shared"),
            "the volume of a half-made node is still there"
        );
        assert_eq!(self.processes(), Vec::<String>::new());
        let states: Vec<_> = left_states(&self.dir.path().join("target/e2e"));
        assert_eq!(
            states,
            Vec::<PathBuf>::new(),
            "a state file says that something is left"
        );
    }
}

fn left_states(runs: &Path) -> Vec<PathBuf> {
    let dirs = fs::read_dir(runs)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    dirs.flat_map(|dir| [dir.join("state.json"), dir.join("kubeconfig")])
        .filter(|path| path.exists())
        .collect()
}

fn within(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "{what}: not within 60 s"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn send(child: &Child, signal: Signal) {
    kill(
        Pid::from_raw(child.id().try_into().expect("a process id")),
        signal,
    )
    .expect("the tool runs");
}

/// The steps at which a run can be held, in their order; at the last one PostgreSQL never answers.
const STEPS: [&str; 4] = ["create", "save", "apply", "watch"];

#[test]
fn a_signal_at_any_step_cleans_up_and_ends_with_its_own_code() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        for step in STEPS {
            let machine = Machine::new();
            let mut child = machine.hanging_at(step);
            send(&child, signal);
            let status = child.wait().expect("the tool ends");
            assert_eq!(status.code(), Some(code), "{signal} at {step}");
            machine.assert_clean();
        }
    }
}

#[test]
fn what_a_killed_run_left_is_removed_by_reap() {
    for step in STEPS {
        let machine = Machine::new();
        let mut child = machine.hanging_at(step);
        send(&child, Signal::SIGKILL);
        child.wait().expect("the tool ends");
        assert!(
            machine.has("node") && !machine.processes().is_empty(),
            "a killed run cannot clean up, at {step}"
        );
        let (code, stderr) = machine.run(&["reap"]);
        assert_eq!(code, 0, "{stderr}");
        machine.assert_clean();
    }
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next_run() {
    let machine = Machine::new();
    let mut child = machine.hanging_at("apply");
    send(&child, Signal::SIGKILL);
    child.wait().expect("the tool ends");
    machine.write("hang", "");
    machine.write("broken", "");
    let (_, stderr) = machine.run(&["up", "workflowexecution", "--target", "kind"]);
    assert!(
        stderr.contains("removed what workflowexecution-"),
        "{stderr}"
    );
    machine.assert_clean();
}

#[test]
fn reap_leaves_a_run_alone_whose_owner_lives() {
    let machine = Machine::new();
    let mut child = machine.hanging_at("apply");
    let (code, stderr) = machine.run(&["reap"]);
    assert_eq!((code, machine.has("node")), (0, true), "{stderr}");
    let (_, stderr) = machine.run(&["down"]);
    assert!(
        stderr.contains("is in use by process") && machine.has("node"),
        "{stderr}"
    );
    send(&child, Signal::SIGINT);
    child.wait().expect("the tool ends");
    machine.assert_clean();
}

#[test]
fn a_wait_for_a_server_that_never_answers_is_ended_by_a_signal() {
    let machine = Machine::new();
    machine.write("hang", "");
    let mut command = machine.command(&["up", "workflowexecution", "--target", "kind"]);
    let log = fs::File::create(machine.dir.path().join("log")).expect("a log");
    let mut child = command
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the tool starts");
    let said = || fs::read_to_string(machine.dir.path().join("log")).unwrap_or_default();
    within("the run comes to the migrations", || {
        said().contains("… migrate")
    });
    send(&child, Signal::SIGINT);
    assert_eq!(
        child.wait().expect("the tool ends").code(),
        Some(130),
        "{}",
        said()
    );
    machine.assert_clean();
}

/// What a run on Kind says that a `fault` of the programs stops; it leaves nothing behind.
fn stopped_by(fault: &str) -> String {
    let machine = Machine::new();
    machine.write(fault, "");
    let (code, stderr) = machine.run(&["up", "workflowexecution", "--target", "kind"]);
    assert_eq!(code, 4, "{stderr}");
    machine.assert_clean();
    stderr
}

#[test]
fn a_cluster_that_cannot_be_created_is_told_with_kinds_own_words() {
    let stderr = stopped_by("broken");
    assert!(
        stderr.contains("error: create cluster:") && stderr.contains("no space left on device"),
        "{stderr}"
    );
}

#[test]
fn an_image_that_no_registry_has_is_told_with_the_variable_that_names_it() {
    let machine = Machine::new();
    let mut command = machine.command(&["up", "workflowexecution", "--target", "kind"]);
    let output = command
        .env("POSTGRES_IMAGE", "missing:1")
        .output()
        .expect("the tool starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr.contains("missing:1 is not on this host")
            && stderr.contains("manifest unknown")
            && stderr.contains("POSTGRES_IMAGE"),
        "{stderr}"
    );
    machine.assert_clean();
}

#[test]
fn a_node_image_is_prepared_by_the_first_run_and_used_again_by_the_next() {
    let machine = Machine::new();
    machine.write("prepares", "");
    machine.write("names-its-node", "");
    machine.run_to_apply();
    machine.run_to_apply();
    let nodes = machine.nodes();
    assert!(
        matches!(&nodes[..], [Some(first), Some(second)] if first == second && first.starts_with("localhost/kubernaut-node:")),
        "{nodes:?}"
    );
    let calls = machine.tools.calls();
    let commits = calls.iter().filter(|call| call[1] == "commit").count();
    assert_eq!(commits, 1);
    let config = fs::read_to_string(machine.dir.path().join("config")).expect("kind was given one");
    let shared = machine.dir.path().join("shared");
    assert!(config.contains(&shared.display().to_string()), "{config}");
}

#[test]
fn kinds_own_node_image_is_prepared_where_no_other_is_named() {
    let machine = Machine::new();
    machine.write("prepares", "");
    machine.run_to_apply();
    let nodes = machine.nodes();
    assert!(
        matches!(&nodes[..], [Some(node)] if node.starts_with("localhost/kubernaut-node:")),
        "{nodes:?}"
    );
    let calls = machine.tools.calls();
    let of_kinds_own = |call: &&Vec<String>| {
        call[1] == "run"
            && call
                .iter()
                .any(|word| word.starts_with("kindest/node:v9.0.0@"))
    };
    assert_eq!(calls.iter().filter(of_kinds_own).count(), 1, "{calls:?}");
}

#[test]
fn a_run_whose_node_cannot_be_prepared_goes_on_with_kinds_own_and_says_why() {
    let machine = Machine::new();
    machine.write("prepares", "");
    machine.write("names-its-node", "");
    machine.write("unfit", "");
    machine.write("broken", "");
    let (_, stderr) = machine.run(&["up", "workflowexecution", "--target", "kind"]);
    assert!(
        stderr.contains("no overlayfs here") && stderr.contains("E2E_PREPARED_NODE=never"),
        "{stderr}"
    );
    assert_eq!(machine.nodes(), [Some("node:1".to_owned())]);
    machine.assert_clean();
}

#[test]
fn a_node_that_was_half_made_when_its_run_ended_is_removed() {
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let machine = Machine::new();
        machine.write("prepares", "");
        machine.write("names-its-node", "");
        let mut child = machine.hanging_at("fill");
        assert!(machine.has("filler") && machine.has("shared"));
        send(&child, signal);
        child.wait().expect("the tool ends");
        if signal == Signal::SIGKILL {
            let (code, stderr) = machine.run(&["reap"]);
            assert_eq!(code, 0, "{stderr}");
        }
        machine.assert_clean();
    }
}

#[test]
fn an_image_that_the_node_refuses_is_told_in_the_nodes_own_words() {
    let stderr = stopped_by("torn");
    assert!(
        stderr.contains("load PostgreSQL image") && stderr.contains("unexpected EOF"),
        "{stderr}"
    );
}

#[test]
fn an_import_that_the_runtime_does_not_know_of_is_a_failure() {
    let stderr = stopped_by("deaf");
    assert!(
        stderr.contains("was imported, yet the node's container runtime does not list it"),
        "{stderr}"
    );
}

#[test]
fn a_pod_that_is_dead_is_told_at_once_with_its_reason_and_its_log() {
    let waiting = |reason: &str| json!({"phase": "Pending", "containerStatuses": [{"name": "postgres", "state": {"waiting": {"reason": reason, "message": "because"}}}]});
    let ended = json!({"phase": "Running", "containerStatuses": [{"name": "postgres", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]});
    let unschedulable = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient memory"});
    for (status, told) in [
        (
            waiting("ErrImagePull"),
            "container postgres: ErrImagePull because",
        ),
        (waiting("CrashLoopBackOff"), "CrashLoopBackOff because"),
        (
            waiting("CreateContainerConfigError"),
            "CreateContainerConfigError because",
        ),
        (ended, "container postgres: ended with exit 3 (Error)"),
        (
            json!({"phase": "Pending", "conditions": [unschedulable]}),
            "Unschedulable Insufficient memory",
        ),
    ] {
        let machine = Machine::new();
        machine.watch(&status);
        let (code, stderr) = machine.run(&["up", "workflowexecution", "--target", "kind"]);
        assert_eq!(code, 4, "{stderr}");
        assert!(
            stderr.contains("error: wait for PostgreSQL:") && stderr.contains(told),
            "{stderr}"
        );
        assert!(
            stderr.contains("FATAL: configuration file is broken"),
            "the log's tail is missing: {stderr}"
        );
        machine.assert_clean();
    }
}

#[test]
fn an_api_server_that_hangs_is_asked_once_for_evidence_and_the_run_still_cleans_up() {
    let machine = Machine::new();
    machine.watch(&json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}));
    machine.write("hang", "evidence");
    let (code, stderr) = machine.run(&["up", "workflowexecution", "--target", "kind"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stderr.contains("Failed Evicted low on memory") && stderr.contains("✓ tear down ok"),
        "{stderr}"
    );
    let verdict = stderr
        .lines()
        .find_map(|line| line.split_once("hint: see ")?.1.split(' ').next());
    let dir = Path::new(verdict.expect("a verdict"))
        .parent()
        .expect("a run");
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    assert!(
        read("pods.yaml").contains("exceeded its deadline"),
        "{}",
        read("pods.yaml")
    );
    assert!(
        read("events.txt").contains("not asked"),
        "{}",
        read("events.txt")
    );
    machine.assert_clean();
}

#[test]
fn a_failure_leaves_a_verdict_that_says_what_failed() {
    let machine = Machine::new();
    machine.write("broken", "");
    machine.run(&["up", "workflowexecution", "--target", "kind"]);
    let runs = fs::read_dir(machine.dir.path().join("target/e2e")).expect("the runs' directory");
    let verdicts: Vec<_> = runs
        .flatten()
        .filter_map(|run| fs::read_to_string(run.path().join("verdict.txt")).ok())
        .collect();
    assert!(
        matches!(verdicts.as_slice(), [verdict] if verdict.contains("create cluster") && verdict.contains("no space left")),
        "{verdicts:?}"
    );
}

#[test]
fn the_password_is_in_no_command_line_and_in_no_evidence() {
    let machine = Machine::new();
    let waiting = json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]});
    machine.watch(&waiting);
    machine.run(&["up", "workflowexecution", "--target", "kind"]);
    let calls = machine.tools.calls();
    assert!(
        calls.iter().any(|call| call.contains(&"apply".to_owned())),
        "{calls:?}"
    );
    // The Secret travels by standard input: no argument of any call holds a manifest.
    assert!(
        calls
            .iter()
            .flatten()
            .all(|argument| !argument.contains("stringData") && !argument.contains("password")),
        "{calls:?}"
    );
}
