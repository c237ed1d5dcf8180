//! Reports are made from an event log alone: a passing and a failing run, as CI systems and people read them.

use std::fs;
use std::path::Path;

use snapbox::{assert_data_eq, file, str};

use crate::run;

/// The reports of a recorded run.
fn reports(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let recorded =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/runs/{name}/events.jsonl"));
    fs::copy(recorded, dir.path().join("events.jsonl")).expect("the recorded log");
    let path = dir.path().to_str().expect("a path in UTF-8");
    let (code, stdout, stderr) = run(&["report", path]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout.lines().count(), 3, "{stdout}");
    dir
}

fn text(dir: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).expect("a report")
}

#[test]
fn a_failing_run_names_its_test_and_shows_the_flaky_one_as_flaky() {
    let dir = reports("failed");
    assert_data_eq!(text(&dir, "junit.xml"), file!["runs/failed/junit.xml"]);
    assert_data_eq!(text(&dir, "summary.md"), file!["runs/failed/summary.md"]);
}

#[test]
fn a_passing_run_has_no_failure_in_any_report() {
    let dir = reports("passed");
    assert_data_eq!(text(&dir, "junit.xml"), file!["runs/passed/junit.xml"]);
    assert_data_eq!(text(&dir, "summary.md"), file!["runs/passed/summary.md"]);
}

#[test]
fn the_timeline_needs_nothing_from_elsewhere_and_says_the_cause_first() {
    for name in ["passed", "failed"] {
        let page = text(&reports(name), "report.html");
        for foreign in [
            "<script", "<link", "<img", "src=", "href=", "url(", "@import",
        ] {
            assert!(!page.contains(foreign), "{name}: the page holds {foreign}");
        }
        for tag in ["section", "details", "div", "pre", "ul", "li", "span", "i"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(
                opened,
                page.matches(&format!("</{tag}>")).count(),
                "{name}: {tag} is not closed"
            );
        }
    }
    let page = text(&reports("failed"), "report.html");
    let at = |text: &str| {
        page.find(text)
            .unwrap_or_else(|| panic!("the page does not say {text}"))
    };
    assert!(at("tests failed") < at("What went wrong"));
    assert!(
        at("What went wrong")
            < at("failed: &lt;the reason&gt; of the failed task &amp; its message")
    );
    assert!(at("failed task &amp;") < at("class=\"gantt\""));
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn a_killed_run_is_told_as_killed_and_its_half_line_is_left_out() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = concat!(
        r#"{"seconds":0.0,"event":"run","run":"gateway-0","target":"kind","why":"--target kind"}"#,
        "\n",
        r#"{"seconds":0.1,"event":"stage-started","stage":"create cluster"}"#,
        "\n",
        r#"{"seconds":9.5,"event":"line","stage":"create cluster","text":"Preparing nodes"}"#,
        "\n",
        r#"{"seconds":9.6,"event":"li"#
    );
    fs::write(dir.path().join("events.jsonl"), log).expect("the log");
    let path = dir.path().to_str().expect("a path in UTF-8");
    assert_eq!(run(&["report", path]).0, 0);
    assert_data_eq!(
        text(&dir, "summary.md"),
        str![[r"
## ❌ gateway-0: killed before its end

On kind (--target kind), 9.5 s.

| stage | began | took | outcome | |
|---|---:|---:|---|---|
| **create cluster** | 0.1 s | 9.4 s | killed |  |

Bold stages are the critical path; idle for 0.1 s of it.

"]]
    );
}

#[test]
fn a_run_that_does_not_exist_is_a_usage_error() {
    let (code, _, stderr) = run(&["report", "nowhere-000000"]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("no run `nowhere-000000` has an event log"),
        "{stderr}"
    );
}
