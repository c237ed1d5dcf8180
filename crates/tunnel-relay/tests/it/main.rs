//! What the program does beside others in a pod, tried on processes of this machine.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A directory with this program and another one, which only waits and says each time that it starts.
struct Container(tempfile::TempDir);

impl Container {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let container = Self(dir);
        let path = container.0.path().to_owned();
        let installed = container.relay(&["install"]).arg(&path).status();
        assert!(installed.expect("it runs").success());
        container
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn relay(&self, args: &[&str]) -> Command {
        let installed = self.path("tunnel-relay");
        let built = PathBuf::from(env!("CARGO_BIN_EXE_tunnel-relay"));
        let program = if installed.exists() { installed } else { built };
        let mut command = Command::new(program);
        command.args(args).stderr(Stdio::inherit());
        command
    }

    /// Starts a shell of a name of its own that writes down its process id and waits, under this program.
    fn supervise(&self, name: &str) -> Child {
        let shell = self.path(name);
        fs::copy("/bin/sh", &shell).expect("a shell");
        let script = format!(
            "echo $$ >> {}; while :; do sleep 0.1; done",
            self.path("pids").display()
        );
        let mut command = self.relay(&["supervise", "--"]);
        let child = command.arg(&shell).args(["-c", &script]).spawn();
        let child = child.expect("it starts");
        self.starts(1);
        child
    }

    /// Waits until the program has started so many times; returns its last process id.
    fn starts(&self, times: usize) -> Pid {
        let began = Instant::now();
        loop {
            let pids = fs::read_to_string(self.path("pids")).unwrap_or_default();
            let pids: Vec<i32> = pids.lines().filter_map(|pid| pid.parse().ok()).collect();
            if pids.len() >= times {
                return Pid::from_raw(pids[times - 1]);
            }
            assert!(
                began.elapsed() < DEADLINE,
                "started {} times only",
                pids.len()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn code(mut child: Child) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        assert!(began.elapsed() < DEADLINE, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_program_that_kill_has_ended_is_started_again_each_time() {
    let container = Container::new();
    let supervisor = container.supervise("e2e-again");
    for times in 2..5 {
        let killed = container.relay(&["kill", "e2e-again"]).status();
        assert!(killed.expect("it runs").success());
        container.starts(times);
    }
    kill(
        Pid::from_raw(supervisor.id().cast_signed()),
        Signal::SIGTERM,
    )
    .expect("it runs");
    assert_eq!(code(supervisor), Some(143), "the signal is handed on");
}

#[test]
fn a_program_that_ends_otherwise_ends_its_container_with_its_code() {
    let container = Container::new();
    let supervisor = container.supervise("e2e-oom");
    // As the kernel does where memory is short.
    kill(container.starts(1), Signal::SIGKILL).expect("it runs");
    assert_eq!(code(supervisor), Some(137));
    let failed = container.relay(&["supervise", "--", "sh", "-c", "exit 3"]);
    let mut failed = failed;
    assert_eq!(code(failed.spawn().expect("it starts")), Some(3));
}

#[test]
fn a_kill_that_finds_nothing_says_so() {
    let container = Container::new();
    let output = container
        .relay(&["kill", "e2e-nothing"])
        .stderr(Stdio::piped())
        .output();
    let output = output.expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no process of e2e-nothing runs"), "{said}");
}

#[test]
fn a_directory_is_packed_with_all_that_is_in_it() {
    let container = Container::new();
    let dir = container.path("evidence");
    fs::create_dir_all(dir.join("below")).expect("a directory");
    fs::write(dir.join("below/junit.xml"), "<testsuite/>").expect("a file");
    let packed = container
        .relay(&["pack"])
        .arg(&dir)
        .output()
        .expect("it runs");
    assert!(packed.status.success());
    let to = container.path("unpacked");
    tar::Archive::new(&packed.stdout[..])
        .unpack(&to)
        .expect("an archive");
    let text = fs::read_to_string(to.join("below/junit.xml")).expect("a file");
    assert_eq!(text, "<testsuite/>");
}
