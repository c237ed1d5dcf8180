//! Rows that are typed as a user does: `cargo xtask …`, from the command to the prompt.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bench::row::{Beside, Bound, Measured, Row, Topic, median, median_ratio};
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

/// The same of a verb that answers with a document.
fn answered(args: &[&str]) -> anyhow::Result<(f64, Value)> {
    let mut command = Tool::Typed.command();
    let (took, output) = timed(command.args(args).args(["--format", "json"]))?;
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
    // A document of the tool has what the verb found below `result`.
    let stages = result["stages"]
        .as_array()
        .or_else(|| result["result"]["stages"].as_array());
    let stages = stages.into_iter().flatten();
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

/// A figure of several tries beside another that took turns with it.
fn beside(what: &str, ours: &[f64], theirs: &[f64]) -> Beside {
    Beside::measured(
        what,
        median(&mut theirs.to_vec()),
        median_ratio(ours, theirs),
    )
}

/// A run of one service when all is built, beside what it cannot do without.
pub(crate) fn hot_local(rounds: u32) -> anyhow::Result<Vec<Row>> {
    let run = ["e2e", SERVICE, "--target", "local"];
    let (_, first) = answered(&run)?;
    let suites = suites(&first, SERVICE);
    let suite = suites.first().context("the run names no suite")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut typed, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        typed.push(seconds(&run)?);
        floor.push(seconds(&["--version"])? + runtime.block_on(postgres())? + suite.seconds);
    }
    let what = "cargo's own look, PostgreSQL's start, the suite alone";
    let figure = Measured::new(median(&mut typed.clone()), "s")
        .goal(Bound::AtMost(0.7))
        .floor(beside(what, &typed, &floor));
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
    let (_, first) = answered(&all)?;
    let suites = suites(&first, "");
    let slowest = suites
        .iter()
        .max_by(|one, other| one.seconds.total_cmp(&other.seconds));
    let slowest = slowest.context("the run names no suite")?;
    let one = ["e2e", &slowest.service, "--target", target];
    let (_, by_itself) = answered(&one)?;
    let by_itself = self::suites(&by_itself, &slowest.service);
    let by_itself = by_itself.first().context("the run names no suite")?;
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        together.push(seconds(&all)?);
        alone.push(seconds(&one)?);
    }
    let floor = judged(beside("", &together, &alone), slowest, by_itself);
    let figure = Measured::new(median(&mut together), "s").floor(floor);
    let what = format!("`e2e --all --target {target}`: {} services", suites.len());
    Ok(vec![Row::measured(topic, &what, figure)])
}

/// Names the service alone, and sets the goal where it does there what it does among the others. By itself a suite has tests too that
/// need a PostgreSQL of their own: beside those the others would look quick.
fn judged(floor: Beside, among_others: &Suite, by_itself: &Suite) -> Beside {
    let service = &by_itself.service;
    if among_others.tests == by_itself.tests {
        let what = format!("{service} alone");
        return Beside { what, ..floor }.goal(Bound::AtMost(1.2));
    }
    let what = format!(
        "{service} alone, with {} and not {}: not the same work, so no verdict on 1.2 ×;",
        by_itself.tests, among_others.tests
    );
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
    let (_, first) = answered(&run)?;
    let reports = first["reports"]
        .as_array()
        .or_else(|| first["result"]["reports"].as_array());
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
        .floor(beside("the suite alone, its lines dropped", &kept, &bare));
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
        let within = serde_json::json!({ "result": result });
        assert_eq!(suites(&within, SERVICE), wanted);
    }

    #[test]
    fn all_services_are_judged_beside_one_alone_only_where_it_runs_the_same_tests() {
        let suite = |tests: &str| Suite {
            service: "notification".to_owned(),
            seconds: 1.0,
            tests: tests.to_owned(),
        };
        let met = |alone: &str| {
            let floor = Beside::measured("", 8.8, 0.86);
            let floor = judged(floor, &suite("8 passed"), &suite(alone));
            (
                floor.what.clone(),
                Measured::new(7.5, "s").floor(floor).is_met(),
            )
        };
        assert_eq!(
            met("8 passed"),
            ("notification alone".to_owned(), Some(true))
        );
        let (what, verdict) = met("9 passed");
        assert_eq!(verdict, None);
        assert!(what.contains("9 passed and not 8 passed"), "{what}");
    }
}
