//! Progress as each reader gets it: lines in a pipe, JSON for a program, a live view on a terminal. A run that fails at once
//! shows all three.

use snapbox::{assert_data_eq, str};
use testkit::fake_tool::FakeTools;

use crate::xtask;

/// A run on a machine whose Docker does not answer, and what it says on standard error.
fn failing(progress: &[&str], no_color: &str) -> String {
    let target = tempfile::tempdir().expect("a temporary directory");
    let tools = FakeTools::new().tool(
        "docker",
        "echo 'Cannot connect to the Docker daemon' >&2; exit 1",
    );
    let args = [&["up", "workflowexecution", "--target", "kind"], progress].concat();
    let output = xtask(&args)
        .env("PATH", tools.path())
        .env("CARGO_TARGET_DIR", target.path())
        .env("NO_COLOR", no_color)
        .output()
        .expect("the tool starts");
    assert_eq!(output.status.code(), Some(3));
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn a_pipe_gets_whole_lines_without_escapes_and_the_cause_last() {
    let text = failing(&[], "");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_data_eq!(
        text,
        str![[r"
run workflowexecution-[..] on kind: --target kind
  … preflight
  ✗ preflight failed ([..] s) · `docker info --format {{json .}}` ended with exit 1
  … collect evidence
  ✓ collect evidence ok ([..] s) · [..]/verdict.txt
  … tear down
  ✓ tear down ok ([..] s) · [..]
stage  [..]  began [..]
preflight [..] failed   `docker info --format {{json .}}` ended with exit 1
collect evidence [..] ok       [..]/verdict.txt
tear down [..] ok       its processes
total [..] s
timeline: [..]/report.html
error: preflight: `docker info --format {{json .}}` ended with exit 1
    Cannot connect to the Docker daemon
  hint: start Docker (`sudo systemctl start docker`), or run with --target local

"]]
    );
}

#[test]
fn a_program_gets_an_event_per_line_and_nothing_else() {
    let text = failing(&["--progress", "json"], "");
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(kinds.first(), Some(&"run"));
    assert!(
        kinds.contains(&"planned") && kinds.contains(&"failed") && kinds.contains(&"ended"),
        "{kinds:?}"
    );
    let last = events
        .last()
        .and_then(|event| event["text"].as_str())
        .unwrap_or_default();
    assert!(last.starts_with("error: preflight: "), "{last}");
}

#[test]
fn a_terminal_gets_a_view_that_is_drawn_again_and_colour_only_repeats_what_words_say() {
    let coloured = failing(&["--progress", "tty"], "");
    let plain = failing(&["--progress", "tty"], "1");
    assert!(
        coloured.contains("\u{1b}[31m✗\u{1b}[0m preflight failed"),
        "{coloured}"
    );
    assert!(
        !plain.contains("\u{1b}[31m") && plain.contains("✗ preflight failed"),
        "{plain}"
    );
    // Up one line, erase to the end of the screen.
    assert!(plain.contains("\u{1b}[1A\u{1b}[J"), "{plain}");
}

#[test]
fn github_gets_a_summary_and_an_annotation() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let summary = dir.path().join("summary");
    let tools = FakeTools::new().tool("docker", "exit 1");
    let output = xtask(&["up", "workflowexecution", "--target", "kind"])
        .env("PATH", tools.path())
        .env("CARGO_TARGET_DIR", dir.path())
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .expect("the tool starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        stderr
            .lines()
            .any(|line| line.starts_with("::error title=preflight%3A `docker info")),
        "{stderr}"
    );
    assert_eq!(stdout, "", "a shell may evaluate it");
    let summary = std::fs::read_to_string(summary).expect("a summary");
    assert!(
        summary.starts_with("## ❌ workflowexecution-") && summary.contains("| **preflight** |"),
        "{summary}"
    );
}
