//! Several versions of Kubernetes: which node image each has, what is refused, and that each is told, whatever became of the others.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testkit::fake_tool::FakeTools;

use crate::{output, xtask};

/// A daemon with one image, of kind's own repository; what it is to pull, it has not.
const DOCKER: &str = r#"
case "$*" in
  info*) echo '{"ServerVersion":"99.0","Driver":"overlay2","CgroupVersion":"2"}' ;;
  "context inspect"*) echo unix:///var/run/docker.sock ;;
  "image ls"*kindest/node*) printf 'v1.30.2\nv1.30.10\nlatest\n' ;;
  "image inspect"*) exit 1 ;;
  pull*) [ ! -e "$FAKE_STATE/hang" ] || { touch "$FAKE_STATE/hanging"; sleep 600; }
    echo "manifest unknown" >&2; exit 1 ;;
  *) exit 0 ;;
esac
"#;
const KIND: &str = "# kindest/node:v1.31.0@sha256:0123456789012345678901234567890123456789012345678901234567890123\necho 0.99.0\n";

struct Machine {
    tools: FakeTools,
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let tools = FakeTools::new().tool("docker", DOCKER).tool("kind", KIND);
        let tools = tools.tool("kubectl", "exit 0");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let table = "[kubernetes]\n\"1.29\" = \"registry.example/node:a\"\n\"1.29.3\" = \"registry.example/node:b\"\n\"1.28\" = \"registry.example/node:c\"\n";
        fs::write(dir.path().join("services.toml"), table).expect("a table");
        fs::write(dir.path().join("binary"), "never run").expect("a file");
        Self { tools, dir }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask(args);
        command
            .env("PATH", self.tools.path())
            .env("FAKE_STATE", self.dir.path())
            .env("E2E_SERVICES", self.dir.path().join("services.toml"))
            .env("CARGO_TARGET_DIR", self.dir.path().join("target"))
            .env("E2E_DATASTORAGE_BIN", self.dir.path().join("binary"))
            .env("E2E_FAKE_BIN", self.dir.path().join("binary"))
            .env("KIND_NODE_IMAGE", "localhost/node:v1.34.4")
            .env("KIND_NODE_IMAGE_1_28", "localhost/node:of-a-variable");
        command
    }

    fn e2e(&self, args: &[&str]) -> (i32, String, String) {
        output(&mut self.command(&[&["e2e", "gateway", "--target", "kind"], args].concat()))
    }

    /// The one directory that holds the report of all.
    fn report(&self, name: &str) -> String {
        let runs = fs::read_dir(self.dir.path().join("target/e2e")).expect("runs");
        let dirs = runs.flatten().map(|entry| entry.path());
        let dirs: Vec<_> = dirs
            .filter(|dir| dir.join("report.html").exists())
            .collect();
        assert_eq!(dirs.len(), 1, "{dirs:?}");
        fs::read_to_string(dirs[0].join(name)).expect("a report")
    }
}

#[test]
fn each_version_has_the_image_of_whoever_names_one_and_the_plan_shows_it() {
    let machine = Machine::new();
    let versions = "1.34,1.31,1.30,1.29,1.29.3,1.28,1.27.1";
    let (code, stdout, stderr) = machine.e2e(&["--plan", "--kubernetes", versions]);
    assert_eq!(code, 0, "{stderr}");
    for told in [
        "7 runs, one after the other, each on a cluster of its own; one report",
        "Kubernetes 1.34 from localhost/node:v1.34.4 (KIND_NODE_IMAGE), which is not on this host and is pulled first",
        "Kubernetes 1.31 from kindest/node:v1.31.0@sha256:",
        "(kind's own)",
        "Kubernetes 1.30 from kindest/node:v1.30.10 (on this host)",
        "Kubernetes 1.29 from registry.example/node:a ([kubernetes] of ",
        "Kubernetes 1.29.3 from registry.example/node:b ",
        "Kubernetes 1.28 from localhost/node:of-a-variable (KIND_NODE_IMAGE_1_28)",
        "Kubernetes 1.27.1 from kindest/node:v1.27.1 (as kind names its images)",
    ] {
        assert!(stdout.contains(told), "{told}: {stdout}");
    }
    assert!(
        !machine.dir.path().join("target/e2e").exists(),
        "something was made"
    );
}

#[test]
fn what_no_version_can_be_run_for_is_refused_before_anything_is_made() {
    let machine = Machine::new();
    let url = "postgres://slm_user@127.0.0.1:1/x";
    for (words, code, told) in [
        (
            "e2e gateway --target kind --kubernetes 1.34,1.26",
            3,
            "no node image of Kubernetes 1.26 is known",
        ),
        (
            "e2e gateway --target kind --kubernetes 1.34,1.34",
            2,
            "Kubernetes 1.34 is asked for twice",
        ),
        (
            "e2e gateway --target kind --kubernetes 1.34,1.34.4",
            2,
            "have the same node image",
        ),
        (
            "e2e gateway --target kind --kubernetes 34",
            2,
            "such as 1.34 or 1.34.4",
        ),
        (
            "e2e gateway --target local --kubernetes 1.34",
            2,
            "--kubernetes is for Kind, which makes a node of each version, and this run is on local",
        ),
        (
            &format!("e2e gateway --postgres-url {url} --kubernetes 1.34"),
            2,
            "--kubernetes is for Kind",
        ),
        (
            "e2e gateway --target kind --kubernetes 1.34,1.31 --keep on-failure",
            2,
            "--keep is for one environment",
        ),
        (
            "up gateway --target kind --kubernetes 1.34,1.31",
            2,
            "`up` sets up one environment",
        ),
    ] {
        let args: Vec<&str> = words.split(' ').collect();
        let (ended, _, stderr) = output(&mut machine.command(&args));
        assert_eq!(ended, code, "{words}: {stderr}");
        assert!(stderr.contains(told), "{words}: {stderr}");
    }
    assert!(
        !machine.dir.path().join("target/e2e").exists(),
        "something was made"
    );
}

#[test]
fn each_version_whose_image_is_missing_is_a_red_row_of_one_report_and_the_first_decides() {
    let machine = Machine::new();
    let summary = machine.dir.path().join("summary");
    let words = [
        "e2e",
        "gateway",
        "--target",
        "kind",
        "--kubernetes",
        "1.28,1.29",
        "--format",
        "json",
    ];
    let (code, stdout, stderr) =
        output(machine.command(&words).env("GITHUB_STEP_SUMMARY", &summary));
    assert_eq!(code, 3, "{stderr}");
    for told in [
        "Kubernetes 1.28: error: the image localhost/node:of-a-variable is not on this host and cannot be pulled",
        "hint: name an image in KIND_NODE_IMAGE_1_29 that this host has or can pull",
        "1.29        gateway       -    -  failed: preflight: the image registry.example/node:a is not on this host",
        "error: 2 of 2 versions of Kubernetes failed: 1.28, 1.29",
    ] {
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(document["exit"], 3);
    assert_eq!(document["versions"][1]["kubernetes"], "1.29");
    let junit = machine.report("junit.xml");
    assert!(junit.contains("name=\"stages on Kubernetes 1.28\"") && junit.contains("errors=\"2\""));
    assert!(machine.report("report.html").contains("2 of 2 versions"));
    assert_eq!(
        fs::read_to_string(summary).expect("the job's summary"),
        machine.report("summary.md")
    );
    let made = machine.tools.calls();
    assert!(
        !made.iter().any(|call| call.contains(&"create".to_owned())),
        "{made:?}"
    );
}

#[test]
fn a_signal_ends_all_versions_and_the_report_says_which_did_not_run() {
    let machine = Machine::new();
    fs::write(machine.dir.path().join("hang"), "").expect("a file");
    let log = fs::File::create(machine.dir.path().join("log")).expect("a file");
    let words = [
        "e2e",
        "gateway",
        "--target",
        "kind",
        "--kubernetes",
        "1.28,1.29",
    ];
    let mut command = machine.command(&words);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the tool starts");
    let began = Instant::now();
    while !machine.dir.path().join("hanging").exists() {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "nothing is pulled"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = Pid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGINT).expect("the tool runs");
    assert_eq!(child.wait().expect("the tool ends").code(), Some(130));
    let log = fs::read_to_string(machine.dir.path().join("log")).expect("a log");
    assert_eq!(log.matches("did not run: ").count(), 2, "{log}");
    let pulls = machine.tools.calls();
    let pulls = pulls
        .iter()
        .filter(|call| call.contains(&"pull".to_owned()));
    assert_eq!(pulls.count(), 1, "the second is not pulled any more");
}
