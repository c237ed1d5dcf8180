//! How time, memory and processor seconds grow with the number of a team's own services.

use bench::row::{Beside, Measured, Outcome, Row, Topic, median};
use bench::tool::Tool;

use crate::memory::{mib, runs};
use crate::processes::Peaks;
use crate::run::run;

/// How many services a table has.
const COUNTS: [u32; 3] = [1, 7, 20];
/// What a service's suite does: an event, stored and read, and a report.
const SUITE: &str = r#"set -e
curl -sSf "$DATASTORAGE_URL/api/v1/audit/events" -H 'Content-Type: application/json' -d '{"event_category":"gateway",
"event_action":"received","event_outcome":"success","resource_type":"Signal","correlation_id":"one"}'
curl -sSf "$DATASTORAGE_URL/api/v1/audit/events?correlation_id=one" | grep received
echo '<testsuite><testcase name="an event"/></testsuite>' >junit.xml"#;

/// A service's part of the table.
fn entry(number: u32) -> String {
    format!(
        "[[service]]\nname = \"team-{number}\"\nprofile = \"gateway\"\nnamespace = \"team-{number}\"\n\
         components = [\"postgres\", \"datastorage\"]\nports = {{}}\n\
         suite = {{ command = [\"sh\", \"-c\", '''mkdir -p {number}; cd {number}; {SUITE}'''], junit = \"{number}/junit.xml\" }}\n"
    )
}

/// The rows of each number; a number that the tool does not take is a row that says why.
pub(crate) fn rows(tool: &Tool, rounds: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut one = None;
    for count in COUNTS {
        match of(tool, rounds, count, one) {
            Ok((seconds, found)) => {
                one = one.or(Some(seconds));
                rows.extend(found);
            }
            Err(error) => {
                let why = Outcome::Failed(format!("{error:#}"));
                rows.push(Row::new(Topic::Services, &format!("{count} services"), why));
            }
        }
    }
    rows
}

/// Time and memory of a number of services; `one` has the seconds of one.
fn of(tool: &Tool, rounds: u32, count: u32, one: Option<f64>) -> anyhow::Result<(f64, Vec<Row>)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("services.toml");
    std::fs::write(&file, (1..=count).map(entry).collect::<String>())?;
    let file = file.to_string_lossy();
    let names: Vec<String> = (1..=count).map(|number| format!("team-{number}")).collect();
    let mut args = vec!["--target", "local", "--services", &file];
    args.extend(names.iter().map(String::as_str));
    let runs = runs()?;
    let mut peaks = Peaks::default();
    // Looking takes time too: the figures of time are others.
    run(tool, &args, |id, run| {
        let record = run.map(|run| runs.join(run).join("processes.jsonl"));
        peaks.look(id, record.as_deref())
    })?;
    let (mut seconds, mut processors) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let run = run(tool, &args, |_, _| Ok(()))?;
        seconds.push(run.seconds);
        processors.push(run.processors);
    }
    let cores = std::thread::available_parallelism()?.get();
    let (time, used) = (median(&mut seconds), median(&mut processors));
    let floor = used / f64::from(u32::try_from(cores)?);
    let what = "its processor seconds, spread over the cores";
    let mut figure = Measured::new(time, "s").floor(Beside::measured(what, floor, time / floor));
    if let Some(one) = one {
        let after_another = one * f64::from(count);
        let what = format!("{count} times the run of one");
        figure = figure.instead(Beside::measured(&what, after_another, time / after_another));
    }
    let what = match count {
        1 => "1 service of a team".to_owned(),
        _ => format!("{count} services of a team"),
    };
    let [memory, tool_peak] =
        ["all processes at once", "the tool, peak"].map(|part| format!("{what}: {part}"));
    Ok((
        time,
        vec![
            Row::measured(Topic::Services, &what, figure),
            Row::measured(Topic::Services, &memory, mib(peaks.all)),
            Row::measured(Topic::Services, &tool_peak, mib(peaks.tool)),
        ],
    ))
}
