//! Rows that are typed as a user does: `cargo xtask …`, from the command to the prompt.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bench::row::{Beside, Bound, Measured, Row, Topic, median};
use bench::tool::{Tool, ensure_built, timed};
use embedded_postgres::{Options, Server};
use serde_json::Value;

/// The service that a hot run is measured with.
const SERVICE: &str = "workflowexecution";
/// How many lines a suite prints.
const LINES: u32 = 300_000;

/// Runs the tool and returns the seconds that it took.
fn seconds(args: &[&str]) -> anyhow::Result<f64> {
    let (took, output) = timed(Tool::Typed.command().args(args))?;
    ensure_built(&output.stderr)?;
    Ok(took.as_secs_f64())
}

/// The same of a verb that answers with a document; cargo may build within the first of its kind, whose seconds are no figure.
fn answered(args: &[&str], is_first: bool) -> anyhow::Result<(f64, Value)> {
    let mut command = Tool::Typed.command();
    let (took, output) = timed(command.args(args).args(["--format", "json"]))?;
    if !is_first {
        ensure_built(&output.stderr)?;
    }
    let document = serde_json::from_slice(&output.stdout).context("the tool's result")?;
    Ok((took.as_secs_f64(), document))
}

/// A suite in a run's result.
#[derive(Clone, Debug, PartialEq)]
struct Suite {
    service: String,
    seconds: f64,
    /// What it says of its tests, such as `9 passed`.
    tests: String,
}

/// The suites of a run; that of a run of one service is of that one.
fn suites(result: &Value, only: &str) -> Vec<Suite> {
    let stages = result["stages"].as_array().into_iter().flatten();
    let suites = stages.filter(|stage| stage["stage"] == "run suite");
    suites
        .filter_map(|stage| {
            Some(Suite {
                service: stage["service"].as_str().unwrap_or(only).to_owned(),
                seconds: stage["seconds"].as_f64()?,
                tests: stage["note"].as_str().unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

/// A run of one service when all is built, beside what it cannot do without.
pub(crate) fn hot_local(rounds: u32) -> anyhow::Result<Vec<Row>> {
    let run = ["e2e", SERVICE, "--target", "local"];
    let (_, first) = answered(&run, true)?;
    let suites = suites(&first, SERVICE);
    let suite = suites.first().context("the run names no suite")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let program = std::env::var_os("E2E_XTASK").context("run this by `cargo xtask bench all`")?;
    let program = Tool::Program(program.into());
    let (mut typed, mut floor, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        typed.push(seconds(&run)?);
        bare.push(timed(program.command().args(run))?.0.as_secs_f64());
        floor.push(seconds(&["--version"])? + runtime.block_on(postgres())? + suite.seconds);
    }
    let what = "cargo's own look, PostgreSQL's start, the suite alone";
    let figure = Measured::new(median(&mut typed.clone()), "s")
        .goal(Bound::AtMost(0.7))
        .floor(Beside::of(what, &typed, &floor))
        .instead(Beside::of("the built tool without cargo", &typed, &bare));
    let what = format!("`e2e {SERVICE} --target local`, second time");
    Ok(vec![Row::measured(Topic::HotLocal, &what, figure)])
}

/// The seconds that a private PostgreSQL needs to start.
async fn postgres() -> anyhow::Result<f64> {
    let found = tokio::task::spawn_blocking(testkit::postgres::installation).await?;
    let began = Instant::now();
    let server = Server::start(&found, Options::default()).await?;
    let took = began.elapsed();
    server.stop().await?;
    Ok(took.as_secs_f64())
}

/// All services beside the one whose suite takes longest.
pub(crate) fn all(topic: Topic, target: &str, rounds: u32) -> anyhow::Result<Vec<Row>> {
    let all = ["e2e", "--all", "--target", target];
    // What is built and prepared is no part of the figures.
    let (_, first) = answered(&all, true)?;
    let suites = suites(&first, "");
    let slowest = suites
        .iter()
        .max_by(|one, other| one.seconds.total_cmp(&other.seconds));
    let slowest = slowest.context("the run names no suite")?;
    let among = tests(&log(&first)?, &slowest.service);
    let one = ["e2e", &slowest.service, "--target", target];
    answered(&one, true)?;
    let (mut together, mut alone, mut is_same) = (Vec::new(), Vec::new(), true);
    for _ in 0..rounds {
        together.push(seconds(&all)?);
        let (took, result) = answered(&one, false)?;
        let more = only_alone(&log(&result)?, &among);
        is_same &= more.is_some();
        alone.push(took - more.unwrap_or_default());
    }
    let floor = judged(Beside::of("", &together, &alone), slowest, is_same);
    let figure = Measured::new(median(&mut together), "s").floor(floor);
    let what = format!("`e2e --all --target {target}`: {} services", suites.len());
    Ok(vec![Row::measured(topic, &what, figure)])
}

/// A run's log of events, by its result.
fn log(result: &Value) -> anyhow::Result<Vec<Value>> {
    let dir = result["directory"]
        .as_str()
        .context("the run's directory")?;
    let text = std::fs::read_to_string(Path::new(dir).join("events.jsonl"))?;
    let events = text.lines().map(serde_json::from_str);
    Ok(events.collect::<Result<_, _>>()?)
}

/// The names of a service's tests in such a log.
fn tests(log: &[Value], service: &str) -> BTreeSet<String> {
    let tests = log.iter().filter(|event| event["event"] == "test");
    let own = tests.filter(|event| event["service"] == service);
    own.filter_map(|event| event["name"].as_str().map(str::to_owned))
        .collect()
}

/// The seconds of the tests that a suite has only where it runs by itself: they need a server of their own, and come one by one, each
/// with a result. None if the others are not `among`, the tests that it has among other services.
fn only_alone(log: &[Value], among: &BTreeSet<String>) -> Option<f64> {
    let (mut seconds, mut since) = (0.0, None);
    let (mut names, mut shared) = (BTreeSet::new(), BTreeSet::new());
    for event in log.iter().filter(|event| event["stage"] == "run suite") {
        let text = event["text"].as_str().unwrap_or_default();
        let at = event["seconds"].as_f64()?;
        let began = *since.get_or_insert(at);
        if text.starts_with("test result: ") {
            if names.is_disjoint(among) {
                seconds += at - began;
            }
            shared.extend(std::mem::take(&mut names).intersection(among).cloned());
            since = Some(at);
        } else if let Some((name, _)) = text
            .strip_prefix("test ")
            .and_then(|test| test.split_once(" ... "))
        {
            names.insert(name.to_owned());
        }
    }
    (shared == *among).then_some(seconds)
}

/// Names the service alone, and sets the goal where it does there what it does among the others.
fn judged(floor: Beside, slowest: &Suite, is_same: bool) -> Beside {
    let Suite { service, tests, .. } = slowest;
    if is_same {
        let what = format!("{service} alone, with the same {tests}");
        return Beside { what, ..floor }.goal(Bound::AtMost(1.2));
    }
    let what =
        format!("{service} alone, with other tests than its {tests} here: no verdict on 1.2 ×;");
    Beside { what, ..floor }
}

/// A suite that prints much, beside the same suite whose lines nobody keeps.
pub(crate) fn lines(rounds: u32) -> anyhow::Result<Vec<Row>> {
    let dir = tempfile::tempdir()?;
    let script = format!(
        "seq -f \"line %.0f of what a suite tells\" {LINES}; echo \"<testsuite><testcase name=prints/></testsuite>\" | sed s/prints/\\\"prints\\\"/ > lines.xml"
    );
    let table = dir.path().join("services.toml");
    std::fs::write(
        &table,
        format!(
            "[[service]]\nname = \"lines\"\nprofile = \"gateway\"\nnamespace = \"lines\"\ncomponents = [\"postgres\", \"datastorage\"]\n\
             ports = {{}}\nsuite = {{ command = [\"sh\", \"-c\", '''{script}'''], junit = \"lines.xml\" }}\n"
        ),
    )?;
    let table = table.to_string_lossy();
    let run = ["e2e", "lines", "--target", "local", "--services", &table];
    let (_, first) = answered(&run, true)?;
    let reports = first["reports"].as_array();
    ensure!(
        reports.is_some_and(|reports| !reports.is_empty()),
        "the run has written no report"
    );
    let (mut kept, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        kept.push(seconds(&run)?);
        let mut suite = Command::new("sh");
        suite.args(["-c", &script]).current_dir(dir.path());
        let began = Instant::now();
        let status = suite.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "the suite alone ended with {status}");
        bare.push(began.elapsed().as_secs_f64());
    }
    let figure = Measured::new(median(&mut kept.clone()), "s")
        .goal(Bound::AtMost(5.0))
        .floor(Beside::of(
            "the suite alone, its lines dropped",
            &kept,
            &bare,
        ));
    let what = "`e2e` of a suite that prints 300,000 lines";
    Ok(vec![Row::measured(Topic::Lines, what, figure)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suites_of_a_run_are_found_by_service_with_their_seconds() {
        let result = serde_json::json!({ "stages": [
            { "stage": "build suite", "service": "gateway", "seconds": 9.0 },
            { "stage": "run suite", "service": "gateway", "seconds": 1.5, "note": "6 passed" },
            { "stage": "run suite", "service": null, "seconds": 0.5, "note": "6 passed" },
        ]});
        let suite = |service: &str, seconds| Suite {
            service: service.to_owned(),
            seconds,
            tests: "6 passed".to_owned(),
        };
        let wanted = [suite("gateway", 1.5), suite(SERVICE, 0.5)];
        assert_eq!(suites(&result, SERVICE), wanted);
    }

    #[test]
    fn tests_that_a_suite_has_only_alone_are_taken_off_and_no_others() {
        let line = |seconds: f64, text: &str| serde_json::json!({ "seconds": seconds, "event": "line", "stage": "run suite", "text": text });
        let log = [
            line(5.0, "test a ... ok"),
            line(5.0, "test b ... ok"),
            line(6.0, "test result: ok. 2 passed; 0 failed"),
            line(8.0, "test alone::c ... ok"),
            line(8.5, "test result: ok. 1 passed; 0 failed"),
            line(9.0, "test alone::d ... ok"),
            line(9.5, "test result: ok. 1 passed; 0 failed"),
        ];
        let among = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(only_alone(&log, &among(&["a", "b", "alone::d"])), Some(2.5));
        assert_eq!(only_alone(&log, &among(&["a", "b", "alone::e"])), None);
    }

    #[test]
    fn all_services_are_judged_beside_one_alone_only_where_it_runs_the_same_tests() {
        let slowest = Suite {
            service: "notification".to_owned(),
            seconds: 1.0,
            tests: "8 passed".to_owned(),
        };
        let met = |is_same| {
            let floor = judged(Beside::measured("", 8.8, 1.1), &slowest, is_same);
            Measured::new(9.7, "s").floor(floor).is_met()
        };
        assert_eq!((met(true), met(false)), (Some(true), None));
    }
}
