//! Services split over jobs: each runs in exactly one of them, and jobs that split differently can be seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::{output, run, xtask};

const SERVICES: &str = r#"{"workflowexecution": 90, "datastorage": 50, "gateway": 30, "aianalysis": 20, "notification": 10.5, "signalprocessing": 10}"#;

fn durations(dir: &Path) -> String {
    let file = dir.join("durations.json");
    fs::write(&file, SERVICES).expect("a file");
    file.display().to_string()
}

/// The services of a plan.
fn planned(stdout: &str) -> Vec<String> {
    let line = stdout
        .lines()
        .find_map(|line| line.strip_prefix("plan for "));
    let names = line.expect("a plan").split(" on ").next();
    names
        .expect("names")
        .split(", ")
        .map(str::to_owned)
        .collect()
}

#[test]
fn jobs_with_other_histories_split_alike_and_run_every_service_once() {
    let mut all = Vec::new();
    let mut splits = BTreeSet::new();
    for number in 1..=3 {
        let target = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(target.path().join("e2e")).expect("a directory");
        let history = format!(
            r#"{{"local: run suite of gateway": {}, "local: run suite of datastorage": {}}}"#,
            number * 100,
            900 - number * 100
        );
        fs::write(target.path().join("e2e/history.json"), history).expect("a file");
        let shard = format!("{number}/3");
        let (code, stdout, stderr) = output(
            xtask(&[
                "e2e", "--all", "--target", "local", "--plan", "--shard", &shard,
            ])
            .env("CARGO_TARGET_DIR", target.path()),
        );
        assert_eq!(code, 0, "{stderr}");
        all.extend(planned(&stdout));
        let told = stderr
            .strip_prefix(&format!("shard {shard} of "))
            .expect("the split");
        splits.insert(told.to_owned());
    }
    all.sort();
    assert_eq!(
        all,
        [
            "aianalysis",
            "datastorage",
            "gateway",
            "notification",
            "remediationorchestrator",
            "signalprocessing",
            "workflowexecution"
        ]
    );
    assert_eq!(splits.len(), 1, "{splits:?}");
    assert_data_eq!(
        splits.pop_first().expect("one"),
        str![[r"
7 services in 3 shards, split e28a1505, evenly by name
  1/3: aianalysis, notification, workflowexecution
  2/3: datastorage, remediationorchestrator
  3/3: gateway, signalprocessing

"]]
    );
}

#[test]
fn a_matrix_hands_each_job_its_services_by_name_and_leaves_out_a_job_without_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = durations(dir.path());
    let (code, stdout, stderr) = run(&["ci", "matrix", "--shards", "3", "--durations", &file]);
    assert_eq!(code, 0, "{stderr}");
    assert_data_eq!(
        stdout,
        str![[r#"
{"include":[{"services":"workflowexecution","shard":"1/3","timeout_minutes":30},{"services":"aianalysis datastorage","shard":"2/3","timeout_minutes":35},{"services":"gateway notification remediationorchestrator signalprocessing","shard":"3/3","timeout_minutes":45}]}

"#]]
    );
    assert!(
        stderr.contains("which does not have remediationorchestrator: as the median, 25.0 s"),
        "{stderr}"
    );
    let (code, stdout, _) = run(&["ci", "matrix", "--shards", "9"]);
    let matrix: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(code, 0);
    assert_eq!(matrix["include"].as_array().map(Vec::len), Some(7));
}

#[test]
fn a_shard_without_a_service_says_so_and_passes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let summary = dir.path().join("summary.md");
    let services = ["gateway", "notification", "--target", "local"];
    let words = [
        &["e2e"][..],
        &services,
        &["--shard", "3/3", "--format", "json"],
    ]
    .concat();
    let (code, stdout, stderr) = output(xtask(&words).env("GITHUB_STEP_SUMMARY", &summary));
    assert_eq!(code, 0);
    assert!(
        stderr.contains("nothing to run in shard 3/3, split ") && stderr.contains("3/3: nothing"),
        "{stderr}"
    );
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(document["services"], Value::Array(Vec::new()));
    let summary = fs::read_to_string(summary).expect("the job's summary");
    assert!(summary.contains("nothing to run"), "{summary}");
}

#[test]
fn what_cannot_be_split_is_refused_with_what_is_right() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broken = dir.path().join("broken.json");
    fs::write(&broken, r#"{"gateway": "long"}"#).expect("a file");
    let broken = broken.display().to_string();
    for (words, told) in [
        (&["--all", "--shard", "0/3"][..], "write K/N, such as 2/3"),
        (&["--all", "--shard", "4/3"], "write K/N, such as 2/3"),
        (&["--all", "--shard", "2"], "write K/N, such as 2/3"),
        (
            &["gateway", "--shard", "1/2"],
            "--shard splits services, and `gateway` is one",
        ),
        (&["--all", "--durations", "x"], "--shard <K/N>"),
        (
            &["--all", "--shard", "1/3", "--durations", &broken],
            "ci durations > FILE` writes such a file",
        ),
        (
            &["--all", "--shard", "1/3", "--durations", "/nowhere"],
            "the durations in /nowhere cannot be read",
        ),
    ] {
        let (code, _, stderr) = run(&[&["e2e"], words].concat());
        assert_eq!(code, 2, "{words:?}: {stderr}");
        assert!(stderr.contains(told), "{words:?}: {stderr}");
    }
    let (code, _, stderr) = run(&["ci", "matrix", "--shards", "0"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("write a number from 1 to 256"), "{stderr}");
}

#[test]
fn a_service_that_runs_alone_has_a_shard_of_its_own() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let table = dir.path().join("services.toml");
    let entry = "[[service]]\nname = \"lonely\"\nprofile = \"gateway\"\nnamespace = \"lonely\"\n\
                 components = [\"postgres\"]\nalone = true\nsuite = { command = [\"true\"] }\n";
    fs::write(&table, entry).expect("a file");
    let table = table.display().to_string();
    let matrix = |shards| run(&["ci", "matrix", "--services", &table, "--shards", shards]);
    let (code, stdout, stderr) = matrix("2");
    assert_eq!(code, 0, "{stderr}");
    let matrix_of_two: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(matrix_of_two["include"][0]["services"], "lonely");
    let (code, _, stderr) = matrix("1");
    assert_eq!(code, 2);
    assert!(
        stderr.contains("never others beside lonely") && stderr.contains("take 2 shards or more"),
        "{stderr}"
    );
}

const RUN: &str = r#"{"seconds":0.0,"event":"run","run":"gateway-0","target":"local","why":"--target local"}
{"seconds":0.0,"event":"about","services":["gateway","notification"],"shard":"2/3, split d2842b17"}
{"seconds":1.0,"event":"stage-started","stage":"run suite","service":"gateway"}
{"seconds":3.25,"event":"stage-ended","stage":"run suite","service":"gateway","outcome":"ok","took":2.25,"note":""}
{"seconds":3.0,"event":"stage-started","stage":"run suite","service":"notification"}
{"seconds":4.0,"event":"stage-ended","stage":"run suite","service":"notification","outcome":"failed","took":1.0,"note":""}
{"seconds":5.0,"event":"ended","exit":1}
"#;

#[test]
fn the_durations_of_past_runs_are_those_of_suites_that_passed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = dir.path().display().to_string();
    let (code, stdout, stderr) = run(&["ci", "durations", &place]);
    assert_eq!((code, &*stdout), (0, "{}\n"), "{stderr}");
    assert!(stderr.contains("a split by this file is even"), "{stderr}");
    let run_dir = dir.path().join("e2e of a job/gateway-0");
    fs::create_dir_all(&run_dir).expect("a directory");
    fs::write(run_dir.join("events.jsonl"), RUN).expect("a log");
    let (code, stdout, _) = run(&["ci", "durations", &place]);
    assert_eq!((code, &*stdout), (0, "{\n  \"gateway\": 2.3\n}\n"));
}

#[test]
fn the_reports_of_a_shard_name_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("events.jsonl"), RUN).expect("a log");
    assert_eq!(run(&["report", &dir.path().display().to_string()]).0, 0);
    let report = |name: &str| fs::read_to_string(dir.path().join(name)).expect("a report");
    let junit = report("junit.xml");
    let property = r#"<property name="shard" value="2/3, split d2842b17"/>"#;
    assert!(junit.contains(property), "{junit}");
    let summary = report("summary.md");
    let told = "Shard 2/3, split d2842b17: gateway, notification.";
    assert!(summary.contains(told), "{summary}");
}
