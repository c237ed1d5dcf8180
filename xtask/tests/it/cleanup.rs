//! Clean-up touches only what is the tool's own, and works whatever else is broken.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::team::{STORAGE, Team, bare, ends, executable};

const WAITS: &str = "touch waits; while [ ! -e go ]; do sleep 0.05; done; curl --fail --silent $DATASTORAGE_URL/health/ready";

/// Starts a run whose suite waits, and returns once it does.
fn waiting(team: &Team, verb: &[&str]) -> Child {
    team.until_it_waits(team.command(verb))
}

#[test]
fn down_ends_neither_a_person_s_shell_nor_what_runs_in_it() {
    let team = Team::new(&[bare("widget", STORAGE, "", "true")]);
    assert_eq!(team.run(&["up", "widget", "--target", "local"]).0, 0);
    let script = team.dir.path().join("shell");
    let text = "#!/bin/sh\nsleep 3218 & mine=$!\n$E2E_TOOL down widget || exit 9\nkill -0 $mine && kill $mine && exit 3\n";
    executable(&script, text);
    let (code, _, stderr) = team.run_with(&["shell", "widget"], |command| {
        command.env("SHELL", &script);
    });
    assert_eq!(code, 3, "the shell's own exit code: {stderr}");
    assert_eq!(team.place.states(), Vec::<Value>::new());
}

#[test]
fn a_closed_terminal_is_an_orderly_end() {
    let team = Team::new(&[bare("widget", STORAGE, "", WAITS)]);
    let mut run = waiting(&team, &["e2e", "widget", "--target", "local"]);
    let sent = Command::new("kill")
        .args(["-s", "HUP", &run.id().to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
    assert_eq!(ends(&mut run), Some(129));
    assert_eq!(team.place.states(), Vec::<Value>::new());
    assert!(team.of_run("verdict.txt").contains("SIGHUP"));
}

#[test]
fn a_test_holds_its_environment_against_down_and_another_run() {
    let team = Team::new(&[bare("widget", STORAGE, "", WAITS)]);
    assert_eq!(team.run(&["up", "widget", "--target", "local"]).0, 0);
    let mut test = waiting(&team, &["test", "widget"]);
    let (code, _, stderr) = team.run(&["down", "widget"]);
    assert_eq!(code, 7, "{stderr}");
    let told = format!("is in use by process {}", test.id());
    assert!(stderr.contains(&told), "{stderr}");
    let (code, _, stderr) = team.run(&["test", "widget"]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("is in use by process"), "{stderr}");
    // Nor does anybody remove what is used because its time is over.
    let runs = fs::read_dir(team.place.0.path().join("e2e")).expect("runs");
    for path in runs.flatten().map(|run| run.path().join("state.json")) {
        if let Ok(text) = fs::read_to_string(&path) {
            let mut state: Value = serde_json::from_str(&text).expect("a state");
            state["expires"] = json!("2020-01-01T00:00:00Z");
            fs::write(&path, state.to_string()).expect("a state");
        }
    }
    assert_eq!(team.run(&["reap"]).0, 0);
    fs::write(team.dir.path().join("go"), "").expect("a file");
    assert_eq!(
        ends(&mut test),
        Some(0),
        "its Data Storage answered to the end"
    );
    assert_eq!(team.run(&["down"]).0, 0);
    assert_eq!(team.place.states(), Vec::<Value>::new());
}

#[test]
fn clean_up_needs_no_table_of_services() {
    let team = Team::new(&[bare("widget", STORAGE, "", "true")]);
    assert_eq!(team.run(&["up", "widget", "--target", "local"]).0, 0);
    fs::write(team.dir.path().join("services.toml"), "x = [").expect("a broken table");
    for verb in [
        &["status"][..],
        &["reap"],
        &["logs", "widget"],
        &["down", "widget"],
    ] {
        let (code, _, stderr) = team.run(verb);
        assert_eq!(code, 0, "{verb:?}: {stderr}");
    }
    assert_eq!(team.place.states(), Vec::<Value>::new());
}

/// The state of a run that was killed long ago, with the resources that it may have made.
fn abandoned(team: &Team, run: &str, resources: &Value) {
    let dir = team.place.0.path().join("e2e").join(run);
    fs::create_dir_all(&dir).expect("a run's directory");
    let state = json!({
        "run": run, "services": ["widget"], "target": "local", "owner": {"pid": 1, "started": 1},
        "expires": "2020-01-01T00:00:00Z", "resources": resources,
    });
    fs::write(dir.join("state.json"), state.to_string()).expect("a state");
}

#[test]
fn reap_goes_past_what_it_cannot_remove_and_names_it_by_run() {
    let team = Team::new(&[bare("widget", STORAGE, "", "true")]);
    let gone = team.dir.path().join("gone");
    fs::create_dir(&gone).expect("a directory");
    let nowhere = team.dir.path().join("no-such-file");
    let database = json!([{"resource": "database", "name": "d", "url_file": nowhere}]);
    abandoned(&team, "a-1", &database);
    abandoned(
        &team,
        "b-2",
        &json!([{"resource": "directory", "path": gone}]),
    );
    abandoned(&team, "c-3", &json!([{"resource": "of-a-newer-version"}]));
    let (code, _, stderr) = team.run(&["reap"]);
    assert_eq!(code, 7, "{stderr}");
    assert!(!gone.exists(), "the second run is removed: {stderr}");
    assert!(
        stderr.contains("run a-1 left something behind") && stderr.contains("database d"),
        "{stderr}"
    );
    assert!(
        stderr.contains("c-3/state.json") && stderr.contains("of-a-newer-version"),
        "{stderr}"
    );
    let (_, _, stderr) = team.run(&["status"]);
    assert!(stderr.contains("c-3/state.json"), "{stderr}");
}

#[test]
fn two_clean_ups_at_once_are_both_content() {
    let team = Team::new(&[bare("widget", STORAGE, "", "true")]);
    for number in 0..8 {
        let dir = team.dir.path().join(number.to_string());
        fs::create_dir(&dir).expect("a directory");
        abandoned(
            &team,
            &format!("run-{number}"),
            &json!([{"resource": "directory", "path": dir}]),
        );
    }
    let start = || {
        let mut command = team.command(&["reap"]);
        command
            .stderr(Stdio::null())
            .spawn()
            .expect("the tool starts")
    };
    let mut both = [start(), start()];
    assert_eq!(both.each_mut().map(ends), [Some(0), Some(0)]);
    assert_eq!(team.place.states(), Vec::<Value>::new());
}

/// A program that answers, writes into its directory without end, and takes a second to end after its first SIGTERM.
const SERVER: &str = r"
import http.server, os, signal, threading, time
host, port = os.environ['LISTEN_ADDRESS'].split(':')
terms = []

def stop():
    time.sleep(1)
    open('terms', 'w').write(str(len(terms)))
    os._exit(0)

def end(*_):
    terms.append(1)
    if len(terms) == 1:
        threading.Thread(target=stop).start()

def write():
    n = 0
    while True:
        n += 1
        os.makedirs(os.environ['E2E_PROGRAM'], exist_ok=True)
        open(os.path.join(os.environ['E2E_PROGRAM'], str(n)), 'w').write('x')
        time.sleep(0.001)

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

signal.signal(signal.SIGTERM, end)
threading.Thread(target=write, daemon=True).start()
http.server.HTTPServer((host, int(port)), Ready).serve_forever()
";

#[test]
fn a_service_of_a_team_s_own_gets_one_sigterm_and_ends_before_its_directory_goes() {
    let own = format!("{STORAGE}, \"own\"");
    let process = "process = [\"python3\", \"server.py\"]";
    let team = Team::new(&[bare("widget", &own, process, "true")]);
    fs::write(team.dir.path().join("server.py"), SERVER).expect("a program");
    let (code, _, stderr) = team.run(&["e2e", "widget", "--target", "local"]);
    assert_eq!(code, 0, "nothing is left behind: {stderr}");
    assert_eq!(team.read("terms"), "1");
}

#[test]
fn a_run_of_a_version_without_locks_is_left_to_its_living_process() {
    let team = Team::new(&[bare("widget", STORAGE, "", "true")]);
    let mine = team.dir.path().join("mine");
    fs::create_dir(&mine).expect("a directory");
    abandoned(
        &team,
        "old-1",
        &json!([{"resource": "directory", "path": mine}]),
    );
    let path = team.place.0.path().join("e2e/old-1/state.json");
    let text = fs::read_to_string(&path).expect("a state");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    state["owner"] = json!({"pid": std::process::id(), "started": null});
    fs::write(&path, state.to_string()).expect("a state");
    let (code, _, stderr) = team.run(&["down", "widget"]);
    assert_eq!(code, 7, "{stderr}");
    assert!(
        stderr.contains(&format!(
            "old-1 is in use by process {}",
            std::process::id()
        )),
        "{stderr}"
    );
    assert!(mine.exists());
}

#[test]
fn a_part_that_is_killed_while_its_environment_is_removed_is_not_left_behind() {
    let team = Team::new(&[bare("widget", STORAGE, "", "true")]);
    for pause in [0, 30, 60, 90, 120] {
        assert_eq!(team.run(&["up", "widget", "--target", "local"]).0, 0);
        let runs = team.place.states();
        let run = runs[0]["run"].as_str().expect("a run").to_owned();
        let mut kill = team
            .command(&["kill", "datastorage", "--service", "widget"])
            .stderr(Stdio::null())
            .spawn()
            .expect("the tool starts");
        std::thread::sleep(Duration::from_millis(pause));
        let (_, _, stderr) = team.run(&["down", "widget"]);
        ends(&mut kill);
        // `down` may have found nothing yet to remove where `kill` was first; then once more.
        team.run(&["down", "widget"]);
        assert_eq!(team.place.states(), Vec::<Value>::new(), "{stderr}");
        assert_eq!(
            crate::place::processes(&run),
            Vec::<String>::new(),
            "after {pause} ms: {stderr}"
        );
    }
}

#[test]
fn clean_up_needs_no_cargo() {
    let team = Team::new(&[bare("widget", STORAGE, "", "true")]);
    assert_eq!(team.run(&["up", "widget", "--target", "local"]).0, 0);
    for verb in [&["status"][..], &["down"]] {
        let (code, _, stderr) = team.run_with(verb, |command| {
            command
                .env("CARGO", "no-such-cargo")
                .env("PATH", "/no/such/directory");
        });
        assert_eq!(code, 0, "{verb:?}: {stderr}");
    }
    assert_eq!(team.place.states(), Vec::<Value>::new());
}
