//! Several suites of a service, suites that are run again, and suites that run only some tests: a team's table on the local target.

use std::fs;

use serde_json::Value;

use crate::team::Team;

/// A service with PostgreSQL only and these suites.
fn widget(suites: &[String]) -> String {
    format!(
        "[[service]]\nname = \"widget\"\nprofile = \"gateway\"\nnamespace = \"widget\"\ncomponents = [\"postgres\"]\nports = {{}}\n\
         suite = [\n{}\n]\n",
        suites.join(",\n")
    )
}

/// A suite of a shell script that writes its JUnit file by `result`.
fn suite(name: &str, more: &str, script: &str) -> String {
    format!(
        "{{ name = \"{name}\", {more} junit = \"{name}.xml\", command = [\"sh\", \"-c\", '''result() {{ \
         echo \"<testsuite>$1</testsuite>\" > {name}.xml; }}; {script}''', \"{name}\"] }}"
    )
}

const PASSES: &str = "<testcase name='stores'/><testcase name='counts'/>";
const FAILS: &str =
    "<testcase name='stores'/><testcase name='counts'><failure message='expected 2'/></testcase>";

/// Only at the first attempt.
fn first(then: &str, others: &str) -> String {
    format!("if [ $E2E_ATTEMPT = 1 ]; then {then}; else {others}; fi")
}

#[test]
fn a_failing_suite_keeps_none_of_the_others_from_running_and_each_is_told_by_its_name() {
    let met = |own: &str, other: &str| {
        format!(
            "test -e was-red || exit 9; touch {own}-began; until [ -e {other}-began ]; do sleep 0.05; done; echo {own} here; result \"{PASSES}\""
        )
    };
    let team = Team::new(&[widget(&[
        suite(
            "smoke",
            "",
            &format!("touch was-red; result \"{FAILS}\"; exit 1"),
        ),
        suite("api", "", &met("api", "ui")),
        suite("ui", "beside = true,", &met("ui", "api")),
    ])]);
    let (code, _, stderr) = team.run(&["e2e", "widget", "--target", "local"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("error: run suite smoke: 1 of 2 tests failed: counts"),
        "{stderr}"
    );
    for passed in ["run suite api ok", "run suite ui ok"] {
        assert!(stderr.contains(passed), "{passed}: {stderr}");
    }
    assert!(team.of_run("suite-api.log").contains("api here"));
    assert!(team.of_run("verdict.txt").contains("suite-smoke.log"));
    let junit = team.of_run("junit.xml");
    for told in [
        "<testsuite name=\"widget.smoke\" tests=\"2\" failures=\"1\"",
        "<testsuite name=\"widget.ui\" tests=\"2\" failures=\"0\"",
        "<testcase classname=\"widget.api\" name=\"counts\"/>",
    ] {
        assert!(junit.contains(told), "{told}: {junit}");
    }
    assert!(
        team.of_run("summary.md")
            .contains("<code>smoke: counts</code>")
    );
}

#[test]
fn a_command_line_runs_only_the_suites_that_it_names() {
    let team = Team::new(&[widget(&[
        suite("smoke", "", &format!("result \"{PASSES}\"")),
        suite("full", "", "exit 1"),
    ])]);
    let (code, _, stderr) = team.run(&["e2e", "widget", "--target", "local", "--suite", "smok"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains("has no suite named `smok`")
            && stderr.contains("did you mean `smoke`? its suites are: smoke, full"),
        "{stderr}"
    );
    assert_eq!(team.run(&["up", "widget", "--target", "local"]).0, 0);
    let (code, _, stderr) = team.run(&["test", "widget", "--suite", "smoke"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("run suite smoke ok") && !stderr.contains("run suite full"),
        "{stderr}"
    );
    let (code, _, stderr) = team.run(&["test", "widget"]);
    assert_eq!(code, 1, "{stderr}");
    let (code, _, stderr) = team.run(&["test", "--suite", "smoke"]);
    assert_eq!(code, 2, "a service is missing: {stderr}");
    assert_eq!(team.run(&["down", "widget"]).0, 0);
}

#[test]
fn a_test_that_passes_at_the_second_attempt_is_flaky_in_every_report_and_fails_nothing() {
    let fails_once = first(
        &format!("result \"{FAILS}\"; exit 1"),
        &format!("result \"{PASSES}\""),
    );
    let crashes_once = first("exit 3", &format!("result \"{PASSES}\""));
    let team = Team::new(&[widget(&[
        suite("unsteady", "retries = 1,", &fails_once),
        suite("crashing", "retries = 2,", &crashes_once),
    ])]);
    let (code, stdout, stderr) =
        team.run(&["e2e", "widget", "--target", "local", "--format", "json"]);
    assert_eq!(code, 0, "{stderr}");
    for told in [
        "1 passed, 1 flaky: counts (at attempt 1: expected 2)",
        "flaky: widget unsteady: counts: failed 1 of 2 times: expected 2",
        "flaky: widget crashing: crashing (outside its tests): failed 1 of 2 times: ",
    ] {
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    let document: Value = serde_json::from_str(&stdout).expect("one document");
    assert_eq!(document["exit"], 0);
    assert_eq!(document["flaky"][0]["test"], "counts");
    let junit = team.of_run("junit.xml");
    assert!(
        junit.contains("<flakyFailure type=\"test\" message=\"failed 1 of 2 times: expected 2\"><stackTrace>expected 2</stackTrace></flakyFailure>"),
        "{junit}"
    );
    assert!(junit.contains("failures=\"0\" errors=\"0\""), "{junit}");
    assert!(
        team.of_run("summary.md")
            .contains("flaky: <code>unsteady: counts</code>")
    );
    assert!(
        team.of_run("report.html")
            .contains("<b class=\"flaky\">flaky</b> <code>unsteady: counts")
    );
    let (code, stdout, _) = team.run(&["flakes"]);
    assert_eq!(code, 0);
    assert!(
        stdout.contains("widget.unsteady counts\n    failed 1 of the last 2 times: F."),
        "{stdout}"
    );
    let (code, _, stderr) = team.run(&["e2e", "widget", "--target", "local", "--retries", "0"]);
    assert_eq!(code, 1, "the command line has the last word: {stderr}");
}

#[test]
fn what_fails_at_every_attempt_or_does_not_run_again_is_red() {
    let once_more = "echo attempt $E2E_ATTEMPT;";
    let vanishes = first(
        &format!("result \"{FAILS}\"; exit 1"),
        "result \"<testcase name='stores'/>\"",
    );
    let team = Team::new(&[widget(&[
        suite(
            "red",
            "retries = 2,",
            &format!("{once_more} result \"{FAILS}\"; exit 1"),
        ),
        suite("vanishing", "retries = 1,", &vanishes),
        suite("crashing", "retries = 1,", "exit 3"),
    ])]);
    let (code, _, stderr) = team.run(&["e2e", "widget", "--target", "local"]);
    assert_eq!(code, 1, "{stderr}");
    for told in [
        "run suite red: 1 of 2 tests failed, tried 3 times: counts",
        "run suite vanishing: 1 of 2 tests failed, tried 2 times: counts",
        "it did not run again at attempt 2; at attempt 1: expected 2",
        "run suite crashing: at attempt 2: ",
    ] {
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    let log = team.of_run("suite-red.log");
    assert!(
        log.contains("attempt 1") && log.contains("attempt 3"),
        "{log}"
    );
    let junit = team.of_run("junit.xml");
    assert!(
        junit.contains("<failure type=\"test\" message=\"failed 3 of 3 times: expected 2\">")
            && junit.contains("<rerunFailure "),
        "{junit}"
    );
    assert!(!junit.contains("<flakyFailure"), "{junit}");
}

#[test]
fn a_filter_reaches_the_suites_command_and_one_that_matches_nothing_is_red() {
    let script = "echo \"words $*, variable $E2E_FILTER\"; \
                  if [ \"$2\" = audit ]; then result \"<testcase name='audit stores'/>\"; else result \"<testcase name='audit stores'><skipped/></testcase>\"; fi";
    let team = Team::new(&[widget(&[
        suite("smoke", "filter = [\"--focus\", \"${FILTER}\"],", script),
        suite("deaf", "", &format!("result \"{PASSES}\"")),
    ])]);
    let e2e = |more: &[&str]| team.run(&[&["e2e", "widget", "--target", "local"], more].concat());
    let (code, _, stderr) = e2e(&["--filter", "audit"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains("the suite `deaf` of `widget`") && stderr.contains("filter = ["),
        "{stderr}"
    );
    assert!(
        !team.place.0.path().join("e2e").exists()
            || fs::read_dir(team.place.0.path().join("e2e"))
                .expect("runs")
                .count()
                == 0,
        "nothing is made before"
    );
    let (code, _, stderr) = e2e(&["--filter", "audit", "--suite", "smoke"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        team.of_run("suite-smoke.log")
            .contains("words --focus audit, variable audit"),
        "{stderr}"
    );
    let (code, _, stderr) = e2e(&["--filter", "nothing", "--suite", "smoke"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("ran no test that matches `nothing`"),
        "{stderr}"
    );
}
