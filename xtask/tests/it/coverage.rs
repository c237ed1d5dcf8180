//! `--coverage` on the local target: what a team's own programs wrote, merged and told; a word where they wrote nothing.

use std::fs;
use std::net::TcpStream;

use serde_json::Value;

use crate::team::{Team, entry, junit};

/// It answers with a word until it gets SIGTERM.
const MAIN: &str = "package main\n\nimport (\n\t\"context\"\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n\t\"os/signal\"\n\t\"syscall\"\n\n\t\
    \"example.io/covered/word\"\n)\n\nfunc main() {\n\thttp.HandleFunc(\"/\", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, word.Of(1)) })\n\t\
    ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)\n\tdefer stop()\n\tserver := &http.Server{Addr: \"127.0.0.1:\" + os.Args[1]}\n\t\
    go server.ListenAndServe()\n\t<-ended.Done()\n\tserver.Shutdown(context.Background())\n}\n";
const WORD: &str = "package word\n\nfunc Of(n int) string {\n\tif n > 0 {\n\t\treturn \"asked\"\n\t}\n\treturn \"never\"\n}\n";
const IMAGES: &str = "ready_path = \"/\"\npublish = [{ env = \"SERVICE_URL\" }]\nimages = [{ name = \"localhost/covered\", \
    build = { go = \"./cmd/server\", env = { GOFLAGS = \"\", GOPROXY = \"off\" } } }]\n";

fn team(process: &str) -> Team {
    let more = format!("{IMAGES}process = {process}");
    let script = format!(
        "set -e; curl --silent --fail $SERVICE_URL; {}",
        junit("covered", "<testcase name='asks'/>")
    );
    let team = Team::new(&[entry("covered", "\"postgres\", \"own\"", &more, &script)]);
    for (path, text) in [
        ("go.mod", "module example.io/covered\n\ngo 1.21\n"),
        ("cmd/server/main.go", MAIN),
        ("word/word.go", WORD),
    ] {
        let path = team.dir.path().join(path);
        let parent = path.parent().expect("a directory above");
        fs::create_dir_all(parent).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    team
}

const RUN: [&str; 5] = ["e2e", "covered", "--target", "local", "--keep=always"];

#[test]
fn what_a_go_program_covered_is_told_in_one_line_and_it_runs_again_in_a_kept_environment() {
    let team = team("[\"${binary:localhost/covered}\", \"${port:SERVICE_URL}\"]");
    let wanted = [&RUN[..], &["--coverage", "--format=json"]].concat();
    let (code, stdout, stderr) = team.run(&wanted);
    assert_eq!(code, 0, "{stderr}");
    let result: Value = serde_json::from_str(&stdout).expect("a document");
    let stages = result["stages"].as_array().expect("stages");
    let stage = stages
        .iter()
        .find(|stage| stage["stage"] == "collect coverage");
    let note = stage.and_then(|stage| stage["note"].as_str());
    let note = note.expect("the stage has a note");
    assert!(
        note.starts_with("coverage: ")
            && note.contains(" % of statements in 2 packages, ")
            && note.ends_with("/coverage/go.txt"),
        "{note}"
    );
    assert!(stderr.contains(note), "{stderr}");
    assert!(
        team.of_run("summary.md")
            .contains(" % of statements in 2 packages")
    );
    let profile = team.of_run("coverage/go.txt");
    assert!(
        profile.contains("example.io/covered/word/word.go:4.11,6.3 1 1\n")
            && profile.contains("example.io/covered/word/word.go:7.2,7.16 1 0\n"),
        "{profile}"
    );

    let kept = team.place.states().remove(0);
    let url = kept["environments"]["covered"]["SERVICE_URL"].as_str();
    let address = url.and_then(|url| url.strip_prefix("http://"));
    let address = address.expect("the service's address");
    assert!(
        TcpStream::connect(address).is_ok(),
        "nobody is at {address}"
    );

    let (code, _, stderr) = team.run(&RUN);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stderr.contains("coverage"), "{stderr}");
    let (code, _, stderr) = team.run(&["down"]);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn a_program_that_writes_no_coverage_fails_the_run_in_words_and_one_that_is_not_the_team_s_is_refused()
 {
    let server = "[\"python3\", \"-m\", \"http.server\", \"--bind\", \"127.0.0.1\", \"${port:SERVICE_URL}\"]";
    let team = team(server);
    let (code, _, stderr) = team.run(&["e2e", "covered", "--target", "local", "--coverage"]);
    assert_eq!(code, 4, "{stderr}");
    assert!(
        stderr.contains("collect coverage: no program of covered wrote any coverage")
            && stderr.contains("go build -cover"),
        "{stderr}"
    );
    let (code, _, stderr) = team.run(&["e2e", "gateway", "--target", "local", "--coverage"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains("no program of a team's own runs"),
        "{stderr}"
    );
}
