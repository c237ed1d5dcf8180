//! `cargo xtask bench all`: every row of the README's table, one after the other, each with its floor and what a user would pick
//! instead, in one run.
//!
//! A row that has a benchmark of its own is measured by that; the others here, as a user types them.
//!
//! Modules, each may import those after it: `typed`, `siblings`, `machine`

mod machine;
mod siblings;
mod typed;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use bench::history::{History, Run};
use bench::row::{Outcome, Row, Topic};
use bench::tool::checkout;
use bench::{plot, processor, readme, rest};
use clap::{Parser, ValueEnum};
use jiff::Timestamp;

/// The exit code of a machine that is not at rest.
const REFUSED: u8 = 3;

/// Measures every row of the README's table
#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo xtask bench all",
    after_help = "Examples:\n  \
        cargo xtask bench all --at-rest                            # every row, into the README\n  \
        cargo xtask bench all --at-rest --skip first-run,kind\n  \
        cargo xtask bench all --only schema,hot-local --rounds 3   # printed only, on a machine that does other things too\n  \
        cargo xtask bench all --only schema --history target/bench.jsonl --plot target/bench.svg"
)]
struct Args {
    /// Refuse on a busy machine and say what else runs; write the table into the README
    #[arg(long)]
    at_rest: bool,
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROW")]
    only: Vec<Topic>,
    /// Leave these out; the table names them
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROW")]
    skip: Vec<Topic>,
    /// How often each figure is taken, and the seconds of Data Storage's load; what takes long is taken twice at most
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Write the table into the README without --at-rest, or with --only or a row that failed
    #[arg(long)]
    write: bool,
    /// Add this run to a file, a line of JSON for each run; a path within the checkout, or a whole one
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Draw the ratios of that file's runs
    #[arg(long, value_name = "FILE.svg", requires = "history")]
    plot: Option<PathBuf>,
}

impl Args {
    /// Why a row is not measured.
    fn left_out(&self, topic: Topic) -> Option<&'static str> {
        if self.skip.contains(&topic) {
            Some("--skip")
        } else if topic == Topic::FirstRun && !self.at_rest && !self.only.contains(&topic) {
            Some("takes minutes: only with --at-rest, or where --only names it")
        } else {
            None
        }
    }

    /// The rows that the table has.
    fn topics(&self) -> Vec<Topic> {
        let all = Topic::value_variants().iter().copied();
        all.filter(|topic| self.only.is_empty() || self.only.contains(topic))
            .collect()
    }

    /// Whether the table goes into the README.
    fn is_written(&self, rows: &[Row]) -> bool {
        self.write || (self.at_rest && self.only.is_empty() && failed(rows) == 0)
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let readme = checkout().join("README.md");
    if args.at_rest || args.write {
        // Before an hour of measurements.
        ensure_markers(&readme)?;
    }
    if args.at_rest {
        say("looking whether the machine is at rest");
        if let Err(busy) = rest::look(say)? {
            // A refusal, not an error of this program: no backtrace.
            say(&busy.to_string());
            return Ok(ExitCode::from(REFUSED));
        }
    }
    let at = Timestamp::now();
    let [before, ..] = processor::load()?;
    let (commit, is_changed) = machine::commit()?;
    let machine = machine::machine()?;
    let topics = args.topics();
    let measured = topics
        .iter()
        .filter(|topic| args.left_out(**topic).is_none());
    siblings::build(measured.copied())?;
    let mut rows = Vec::new();
    for topic in topics {
        if let Some(why) = args.left_out(topic) {
            let why = Outcome::NotRun(why.to_owned());
            rows.push(Row::new(topic, &described(topic), why));
            continue;
        }
        say(&format!("\n== {}: {}", topic.name(), described(topic)));
        let began = Instant::now();
        rows.extend(measure(topic, &args));
        say(&format!("   took {} s", began.elapsed().as_secs()));
    }
    let run = Run {
        at,
        commit,
        is_changed,
        machine,
        at_rest: args.at_rest,
        load: [before, processor::load()?[0]],
        rows,
    };
    let table = readme::table(&run);
    say(&format!("\n{table}"));
    if args.is_written(&run.rows) {
        // What it says now: the run took its time.
        let text = std::fs::read_to_string(&readme)?;
        let text = readme::replace(&text, &table).context("README.md has lost its markers")?;
        std::fs::write(&readme, text)?;
        say("the table is in README.md");
    }
    if let Some(file) = &args.history {
        keep(&run, file, args.plot.as_deref())?;
    }
    let failed = failed(&run.rows);
    if failed > 0 {
        say(&format!("rows that failed: {failed}; the table says why"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures a row; what fails is a row that says so, and keeps no other from being measured.
fn measure(topic: Topic, args: &Args) -> Vec<Row> {
    let short = args.rounds.min(2);
    let missing = match topic {
        Topic::Kind | Topic::AllKind | Topic::MemoryKind => siblings::no_kind(),
        _ => None,
    };
    if let Some(why) = missing {
        return vec![Row::new(topic, &described(topic), Outcome::NotRun(why))];
    }
    let found = match topic {
        Topic::HotLocal => typed::hot_local(args.rounds),
        Topic::AllLocal => typed::all(topic, "local", args.rounds),
        Topic::AllKind => typed::all(topic, "kind", short),
        Topic::Lines => typed::lines(short),
        _ => Ok(siblings::measure(topic, args.rounds, args.at_rest)),
    };
    found.unwrap_or_else(|error| {
        let why = Outcome::Failed(format!("{error:#}"));
        vec![Row::new(topic, &described(topic), why)]
    })
}

/// The help text of a row.
fn described(topic: Topic) -> String {
    let value = topic.to_possible_value();
    let help = value.and_then(|value| value.get_help().map(ToString::to_string));
    help.unwrap_or_default()
}

fn failed(rows: &[Row]) -> usize {
    let failed = |row: &&Row| matches!(row.outcome, Outcome::Failed(_));
    rows.iter().filter(failed).count()
}

fn ensure_markers(readme: &std::path::Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(readme).context("README.md of the checkout")?;
    if readme::replace(&text, "").is_none() {
        bail!(
            "README.md has no place for the table: put these two lines where it belongs, each once\n{}\n{}",
            readme::BEGIN,
            readme::END
        );
    }
    Ok(())
}

/// Adds the run to the history, and draws that.
fn keep(
    run: &Run,
    file: &std::path::Path,
    picture: Option<&std::path::Path>,
) -> anyhow::Result<()> {
    let shown = file.display();
    History::append(file, run).with_context(|| format!("the history {shown}"))?;
    let history = History::read(file).with_context(|| format!("the history {shown}"))?;
    say(&format!("{shown} holds {} runs", history.runs.len()));
    if history.unread > 0 {
        say(&format!(
            "{} of its lines are of another form and were passed over; remove them",
            history.unread
        ));
    }
    if let Some(picture) = picture {
        std::fs::write(picture, plot::svg(&history.runs))
            .with_context(|| format!("the picture {}", picture.display()))?;
    }
    Ok(())
}

fn say(line: &str) {
    // Nobody may be reading any more; the measurement goes on to its clean-up all the same.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Args {
        let words = ["all"].iter().chain(words);
        Args::try_parse_from(words).expect("arguments")
    }

    #[test]
    fn the_row_that_takes_minutes_is_measured_at_rest_or_by_name() {
        let left_out = |words: &[&str]| args(words).left_out(Topic::FirstRun).is_some();
        assert!(left_out(&[]));
        assert!(!left_out(&["--at-rest"]));
        assert!(!left_out(&["--only", "first-run"]));
        assert!(left_out(&["--at-rest", "--skip", "kind,first-run"]));
    }

    #[test]
    fn a_row_that_is_skipped_is_in_the_table_and_one_that_was_not_asked_for_is_not() {
        let args = args(&["--only", "schema,kind", "--skip", "kind"]);
        assert_eq!(args.topics(), [Topic::Schema, Topic::Kind]);
        assert_eq!(args.left_out(Topic::Kind), Some("--skip"));
        assert_eq!(args.left_out(Topic::Schema), None);
    }

    #[test]
    fn the_readme_gets_a_whole_table_of_a_machine_at_rest_or_what_it_is_told_to() {
        let failed = [Row::new(
            Topic::Lines,
            "lines",
            Outcome::Failed("exit 4".to_owned()),
        )];
        assert!(!args(&[]).is_written(&[]));
        assert!(args(&["--write"]).is_written(&[]));
        assert!(args(&["--at-rest"]).is_written(&[]));
        assert!(!args(&["--at-rest"]).is_written(&failed));
        assert!(!args(&["--at-rest", "--only", "lines"]).is_written(&[]));
        assert!(args(&["--at-rest", "--only", "lines", "--write"]).is_written(&failed));
    }
}
