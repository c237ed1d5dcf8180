//! What a benchmark found, for programs: with `--json FILE` a benchmark adds a line for each row to the file, beside its own table.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a row belongs to, as `bench all` takes it by name. They are measured in this order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// One service's local run for the second time, as typed
    HotLocal,
    /// All services locally beside the slowest of them alone
    AllLocal,
    /// A suite that prints 300,000 lines
    Lines,
    /// The whole schema with all checks beside one message and psql
    Schema,
    /// A directory of 100 goose files beside goose
    MigrateDir,
    /// A file of 20,000 INSERTs beside goose
    Inserts,
    /// Data Storage: events beside COPY, reads by correlation id, memory
    Datastorage,
    /// Kind until Data Storage is ready, cold, warm and hot, beside the plain commands
    Kind,
    /// All services on Kind beside the slowest of them alone
    AllKind,
    /// Memory of a local run of all services, by part
    MemoryLocal,
    /// Memory of a cold run of all services on Kind, by part and container
    MemoryKind,
    /// Time, memory and processor seconds of 1, 7 and 20 services of a team's own
    Services,
    /// Bytes on disk after a week of runs, and after `reap`
    Disk,
    /// A clean copy, an empty target directory and empty caches to the first green; takes minutes
    FirstRun,
}

impl Topic {
    /// The name by which the command line takes it.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

/// One line of the table.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// What it belongs to.
    pub topic: Topic,
    /// What was done.
    pub what: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is a figure.
    Measured(Measured),
    /// It was left out; why.
    NotRun(String),
    /// It was tried and failed; why.
    Failed(String),
}

/// A figure and what it is beside.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Measured {
    /// The figure.
    pub value: f64,
    /// Its unit, and that of what is beside it.
    pub unit: String,
    /// What the figure itself is to keep.
    pub goal: Option<Bound>,
    /// The least that the work takes, whoever does it.
    pub floor: Option<Beside>,
    /// What a user would pick instead.
    pub instead: Option<Beside>,
}

/// Something that the figure is compared with.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Beside {
    /// What it is.
    pub what: String,
    /// What it took, and how the figure compares.
    pub found: Found,
}

/// How a comparison ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Both were measured in the same run.
    Measured {
        /// In the unit of the figure.
        value: f64,
        /// The figure's part of it; of those that took turns the median, which no quotient of the medians has to be.
        ratio: f64,
        /// What the ratio is to keep.
        goal: Option<Bound>,
    },
    /// It is not on this machine; why.
    Missing(String),
}

/// A goal.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Bound {
    /// Whether a value keeps it.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl Beside {
    /// Something that was measured too.
    pub fn measured(what: &str, value: f64, ratio: f64) -> Self {
        let what = what.to_owned();
        let goal = None;
        let found = Found::Measured { value, ratio, goal };
        Self { what, found }
    }

    /// Something that took turns with the figure's tries.
    pub fn of(what: &str, ours: &[f64], theirs: &[f64]) -> Self {
        let value = median(&mut theirs.to_vec());
        Self::measured(what, value, median_ratio(ours, theirs))
    }

    /// Something that is not here.
    pub fn missing(what: &str, because: &str) -> Self {
        Self {
            what: what.to_owned(),
            found: Found::Missing(because.to_owned()),
        }
    }

    /// Sets what the ratio is to keep.
    #[must_use]
    pub fn goal(mut self, bound: Bound) -> Self {
        if let Found::Measured { goal, .. } = &mut self.found {
            *goal = Some(bound);
        }
        self
    }
}

impl Measured {
    /// A figure alone.
    pub fn new(value: f64, unit: &str) -> Self {
        Self {
            value,
            unit: unit.to_owned(),
            goal: None,
            floor: None,
            instead: None,
        }
    }

    /// Sets what the figure itself is to keep.
    #[must_use]
    pub fn goal(self, bound: Bound) -> Self {
        let goal = Some(bound);
        Self { goal, ..self }
    }

    /// Sets the least that the work takes.
    #[must_use]
    pub fn floor(self, floor: Beside) -> Self {
        let floor = Some(floor);
        Self { floor, ..self }
    }

    /// Sets what a user would pick instead.
    #[must_use]
    pub fn instead(self, instead: Beside) -> Self {
        let instead = Some(instead);
        Self { instead, ..self }
    }

    /// What it is beside, the floor first.
    pub fn besides(&self) -> impl Iterator<Item = &Beside> {
        self.floor.iter().chain(&self.instead)
    }

    /// Whether all goals are met; none without a goal that could be looked at.
    pub fn is_met(&self) -> Option<bool> {
        let own = self.goal.map(|goal| goal.is_met(self.value));
        let besides = self.besides().filter_map(|beside| match beside.found {
            Found::Measured { ratio, goal, .. } => goal.map(|goal| goal.is_met(ratio)),
            Found::Missing(_) => None,
        });
        own.into_iter()
            .chain(besides)
            .reduce(|all, each| all && each)
    }
}

impl Row {
    /// A row with a figure.
    pub fn measured(topic: Topic, what: &str, measured: Measured) -> Self {
        Self::new(topic, what, Outcome::Measured(measured))
    }

    /// A row without one.
    pub fn new(topic: Topic, what: &str, outcome: Outcome) -> Self {
        let what = what.to_owned();
        Self {
            topic,
            what,
            outcome,
        }
    }

    /// Adds it to the file as a line, if one is wanted.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append_to(&self, file: Option<&Path>) -> std::io::Result<()> {
        file.map_or(Ok(()), |file| append(file, self))
    }

    /// The rows of such a file; none if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read, or has a line that is no row.
    pub fn read_from(file: &Path) -> std::io::Result<Vec<Self>> {
        let text = match std::fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        let rows = text.lines().map(serde_json::from_str);
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Adds a value to a file of lines of JSON, which is made where it is missing.
pub(crate) fn append(file: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let line = serde_json::to_string(value)? + "\n";
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(line.as_bytes())
}

/// Sorts, and returns the median; of an even number the higher of the two.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of the ratios of pairs that took turns: a machine that is slow for a while is slow for both.
pub fn median_ratio(values: &[f64], beside: &[f64]) -> f64 {
    let pairs = values.iter().zip(beside);
    median(
        &mut pairs
            .map(|(value, beside)| value / beside)
            .collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Measured {
        Measured::new(900.0, "events/s")
            .floor(Beside::measured("COPY", 1000.0, 0.9).goal(Bound::AtLeast(0.8)))
            .instead(Beside::missing("goose", "not on the PATH"))
    }

    #[test]
    fn a_row_is_read_as_it_was_written_and_others_stay_in_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("rows.jsonl");
        let rows = [
            Row::measured(Topic::Datastorage, "events", events()),
            Row::new(Topic::Kind, "cold", Outcome::NotRun("no Docker".to_owned())),
        ];
        assert_eq!(Row::read_from(&file).expect("no rows"), []);
        for row in &rows {
            row.append_to(Some(&file)).expect("a line");
            row.append_to(None).expect("nothing");
        }
        assert_eq!(Row::read_from(&file).expect("rows"), rows);
    }

    #[test]
    fn a_row_is_met_when_all_its_goals_are() {
        assert_eq!(events().is_met(), Some(true));
        let slow = events().goal(Bound::AtLeast(901.0));
        assert_eq!(slow.is_met(), Some(false));
        assert_eq!(Measured::new(1.0, "s").is_met(), None);
        let exact = Measured::new(1.0, "s").goal(Bound::AtMost(1.0));
        assert_eq!(exact.is_met(), Some(true));
    }

    #[test]
    fn what_is_missing_meets_no_goal_and_breaks_none() {
        let missing = Beside::missing("goose", "not here").goal(Bound::AtMost(0.7));
        let measured = Measured::new(1.0, "s").instead(missing);
        assert_eq!(measured.is_met(), None);
    }

    #[test]
    fn the_ratio_is_that_of_the_pairs_and_not_of_the_medians() {
        let ratio = median_ratio(&[10.0, 4.0, 3.0], &[5.0, 2.0, 3.0]);
        assert!((ratio - 2.0).abs() < f64::EPSILON, "{ratio}");
    }

    #[test]
    fn a_topic_is_named_alike_on_the_command_line_and_in_a_line() {
        for topic in Topic::value_variants() {
            let line = serde_json::to_string(topic).expect("JSON");
            assert_eq!(line, format!("\"{}\"", topic.name()));
        }
    }
}
