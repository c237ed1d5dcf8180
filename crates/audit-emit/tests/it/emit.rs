//! `audit-emit`: a process of its own, so it can be killed, and be given a disk that is full.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::json;
use snapbox::{assert_data_eq, file};

use crate::server::{Reply, Server, directory, numbers};

const EMIT: &str = env!("CARGO_BIN_EXE_audit-emit");
const NOBODY: &str = "http://127.0.0.1:9";

fn emit(url: &str, journal: &Path) -> Command {
    emit_by(Path::new(EMIT), url, journal)
}

fn emit_by(program: &Path, url: &str, journal: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("DATASTORAGE_URL", url)
        .env("AUDIT_JOURNAL_DIR", journal);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn line(number: usize) -> String {
    let event = json!({"event_category": "workflow", "event_action": "workflow.started", "event_outcome": "success",
        "resource_type": "WorkflowExecution", "correlation_id": "script", "event_data": {"number": number}});
    format!("{event}\n")
}

/// Runs `command` with `input`; reading and writing at once, so that neither side waits for the other.
fn run(command: &mut Command, input: String) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("start audit-emit");
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("wait");
    // A process that ended early did not read all of it.
    writer.join().expect("no panic").unwrap_or_default();
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_help_and_a_wrong_use_say_what_to_give() {
    let directory = directory();
    let help = run(emit(NOBODY, directory.path()).arg("--help"), String::new());
    assert_data_eq!(
        text(&help.stdout),
        file!["golden/audit-emit-help.txt"].raw()
    );
    let wrong = run(&mut emit(NOBODY, directory.path()), String::new());
    assert_eq!(wrong.status.code(), Some(2));
    assert_data_eq!(
        text(&wrong.stderr),
        file!["golden/audit-emit-usage.txt"].raw()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_from_flags_is_stored_and_its_id_printed() {
    let (server, directory) = (Server::start(|_| Reply::Commit).await, directory());
    let mut command = emit(&server.url(), directory.path());
    command.args([
        "--category",
        "gateway",
        "--type",
        "gateway.signal.received",
        "--outcome",
        "success",
        "--correlation-id",
        "rr-1",
    ]);
    command.args([
        "--data",
        r#"{"number": 7, "large": 123456789012345678901234567890}"#,
        "--actor",
        "external/prometheus",
        "--resource",
        "Signal/a/b",
    ]);
    let output = run(&mut command, String::new());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("1 stored, 0 in the journal, 0 parked, 0 not accepted"),
        "{}",
        text(&output.stderr)
    );
    let events = server.events();
    assert_eq!(
        text(&output.stdout).trim(),
        events[0].event_id.expect("an id").to_string()
    );
    assert_eq!(events[0].event_action, "received");
    assert_eq!(events[0].resource_id.as_deref(), Some("a/b"));
    assert_eq!(numbers(&events), [7]);
    let data = events[0].event_data.as_str();
    assert!(data.contains("123456789012345678901234567890"), "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_named_and_the_others_are_emitted() {
    let (server, directory) = (Server::start(|_| Reply::Commit).await, directory());
    let input = [
        line(0),
        "not json\n".into(),
        "\n".into(),
        line(1),
        r#"{"version":"1.0"}"#.into(),
        "\n".into(),
        line(2).trim().into(),
    ]
    .concat();
    let output = run(emit(&server.url(), directory.path()).arg("--stdin"), input);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("line 2: the body is not JSON") && errors.contains("line 5: "),
        "{errors}"
    );
    assert!(
        errors.contains("3 stored, 0 in the journal, 0 parked, 2 not accepted"),
        "{errors}"
    );
    assert_eq!(numbers(&server.events()), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_accepted_is_stored_exactly_once_by_the_next() {
    let directory = directory();
    let mut answered = 0;
    // The first process gets some batches through, and hears of only half of them.
    let server = Server::start(move |_| {
        answered += 1;
        if answered % 2 == 0 {
            Reply::CommitUnheard
        } else {
            Reply::Commit
        }
    })
    .await;
    let mut child = emit(&server.url(), directory.path())
        .arg("--stdin")
        .stdin(Stdio::piped())
        .spawn()
        .expect("start audit-emit");
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || {
        (0..)
            .map(line)
            .find_map(|line| stdin.write_all(line.as_bytes()).err())
    });
    let mut printed = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut accepted: Vec<String> = printed
        .by_ref()
        .take(5000)
        .map(|id| id.expect("a line"))
        .collect();
    child.kill().expect("kill -9");
    accepted.extend(printed.map_while(Result::ok).filter(|id| id.len() == 36));
    child.wait().expect("reap");
    writer.join().expect("no panic");

    server.now(|_| Reply::Commit);
    let output = run(
        emit(&server.url(), directory.path()).arg("--stdin"),
        String::new(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let events = server.events();
    let stored: BTreeSet<_> = events
        .iter()
        .map(|event| event.event_id.expect("an id").to_string())
        .collect();
    let missing = accepted.iter().filter(|id| !stored.contains(*id)).count();
    assert_eq!(missing, 0, "of {} accepted", accepted.len());
    assert_eq!(
        numbers(&events),
        (0..events.len()).collect::<Vec<_>>(),
        "no gap, in order"
    );
    assert!(events.is_sorted_by_key(|event| (event.event_timestamp, event.event_id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_at_the_same_time_share_a_directory_and_the_next_run_sends_what_they_left() {
    let directory = directory();
    let running: Vec<_> = (0..4)
        .map(|number| {
            let mut command = emit(NOBODY, directory.path());
            command.args(["--stdin", "--deadline", "1s"]);
            std::thread::spawn(move || run(&mut command, line(number)))
        })
        .collect();
    for run in running {
        let output = run.join().expect("no panic");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains("in the journal (cannot reach Data Storage"),
            "{}",
            text(&output.stderr)
        );
    }
    let server = Server::start(|_| Reply::Commit).await;
    let output = run(
        emit(&server.url(), directory.path()).arg("--stdin"),
        String::new(),
    );
    assert!(
        text(&output.stderr).contains("4 stored, 0 in the journal"),
        "{}",
        text(&output.stderr)
    );
    let numbers: BTreeSet<_> = numbers(&server.events()).into_iter().collect();
    assert_eq!(numbers, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn an_event_that_has_to_be_stored_now_says_when_it_is_not() {
    let directory = directory();
    let mut command = emit(NOBODY, directory.path());
    command.args(["--stdin", "--deadline", "100ms", "--require-stored"]);
    assert_eq!(run(&mut command, line(0)).status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_events_are_refused_and_what_was_accepted_is_stored_later() {
    let (directory, server) = (directory(), Server::start(|_| Reply::Commit).await);
    // A file system of its own and of 256 KiB, which only the processes below see.
    let script = r#"
        mount -t tmpfs -o size=256k tmpfs "$AUDIT_JOURNAL_DIR" || exit 90
        DATASTORAGE_URL="$NOBODY" "$EMIT" --stdin --deadline 100ms >"$OUT/first" 2>"$OUT/errors"; echo $? >"$OUT/code"
        exec "$EMIT" --stdin </dev/null"#;
    let journal = directory.path().join("journal");
    std::fs::create_dir(&journal).expect("writable");
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
        .env("EMIT", EMIT)
        .env("NOBODY", NOBODY)
        .env("OUT", directory.path());
    command
        .env("DATASTORAGE_URL", server.url())
        .env("AUDIT_JOURNAL_DIR", &journal);
    let output = run(&mut command, (0..2000).map(line).collect());
    let mount = "this test mounts a small file system: run it as root, or allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1), with unshare installed";
    assert!(output.status.success(), "{mount}: {}", text(&output.stderr));

    let read = |name: &str| {
        std::fs::read_to_string(directory.path().join(name)).expect("written by the script")
    };
    assert_eq!(read("code").trim(), "1");
    let errors = read("errors");
    assert!(
        errors.contains("cannot write the audit journal in")
            && errors.contains("No space left on device"),
        "{errors}"
    );
    let accepted: Vec<String> = read("first").lines().map(str::to_owned).collect();
    assert!(
        (100..2000).contains(&accepted.len()),
        "{} accepted",
        accepted.len()
    );
    let stored: Vec<_> = server
        .events()
        .iter()
        .map(|event| event.event_id.expect("an id").to_string())
        .collect();
    assert_eq!(
        stored, accepted,
        "exactly what was accepted is stored, in order"
    );
}

#[test]
fn in_a_directory_that_may_not_be_written_nothing_is_accepted_and_the_directory_is_named() {
    let directory = directory();
    let journal = directory.path().join("journal");
    std::fs::create_dir(&journal).expect("writable");
    let permissions = |path: &Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .expect("our own");
    };
    permissions(directory.path(), 0o755);
    permissions(&journal, 0o555);
    let mut command = emit(NOBODY, &journal);
    command.arg("--stdin");
    let is_root = std::fs::metadata("/proc/self")
        .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if is_root {
        // Permissions do not bind root. The binary may lie where only root looks.
        let copy = directory.path().join("audit-emit");
        std::fs::copy(EMIT, &copy).expect("copy");
        command = emit_by(&copy, NOBODY, &journal);
        command.arg("--stdin").uid(65534).gid(65534);
    }
    let output = run(&mut command, line(0));
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let errors = text(&output.stderr);
    assert!(
        errors.contains("cannot use the audit journal in")
            && errors.contains("journal/0: Permission denied"),
        "{errors}"
    );
}
