//! The way into the cluster: cut again and again, while suites kill what is behind it.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::PLACE;

/// How often the way is cut.
const CUTS: usize = 50;
/// How long a suite may take.
const SUITE: Duration = Duration::from_mins(10);

/// The port-forwards of a run.
fn port_forwards(run: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_run = processes.filter_map(|process| {
        let pid: i32 = process.file_name().to_string_lossy().parse().ok()?;
        let line = fs::read(process.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let is_one = line.contains("kubectl") && line.contains("port-forward");
        (is_one && line.contains(run)).then_some(pid)
    });
    of_run.collect()
}

#[test]
fn no_suite_notices_that_the_port_forward_is_cut_again_and_again_while_data_storage_is_killed() {
    let machine = tempfile::tempdir().expect("a directory");
    let log = machine.path().join("log");
    let words = ["e2e", "workflowexecution", "--fresh", "--repeat", "8"];
    let mut command = PLACE.on_cluster("maker", machine.path(), &words);
    PLACE.with_programs(&mut command);
    let mut run = command
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a log"))
        .spawn()
        .expect("the tool starts");
    let told = || fs::read_to_string(&log).expect("a log");
    let began = Instant::now();
    let mut cuts = 0;
    let status = loop {
        if let Some(status) = run.try_wait().expect("a child") {
            break status;
        }
        assert!(began.elapsed() < SUITE, "{}", told());
        if told().contains("… run suite") && !told().contains("… tear down") && cuts < CUTS {
            let id = told()
                .split_whitespace()
                .nth(1)
                .unwrap_or_default()
                .to_owned();
            for pid in port_forwards(&id) {
                cuts += usize::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
            }
        }
        std::thread::sleep(Duration::from_millis(250));
    };
    assert!(status.success(), "after {cuts} cuts: {}", told());
    assert!(cuts >= CUTS / 5, "cut {cuts} times only: {}", told());
    assert!(told().contains("port-forward"), "it says so: {}", told());
    eprintln!("{cuts} cuts");
}
