//! The table of the README: from a run to text, and where in the README it belongs.

use crate::history::Run;
use crate::row::{Beside, Bound, Found, Measured, Outcome, Row};

/// The line before the table.
pub const BEGIN: &str = "<!-- bench all: begin, written by `cargo xtask bench all --at-rest` -->";
/// The line after it.
pub const END: &str = "<!-- bench all: end -->";

/// The run as a paragraph and a table.
pub fn table(run: &Run) -> String {
    let changed = if run.is_changed {
        " and changes that are not committed"
    } else {
        ""
    };
    let rest = if run.at_rest {
        "at rest"
    } else {
        "**not seen at rest**"
    };
    format!(
        "{}, commit {}{changed}; {}, {} cores, {:.1} GiB of memory, {}; {rest}: load {:.2} before, {:.2} after.\n\n\
         {}",
        run.at.strftime("%Y-%m-%d"),
        run.commit,
        run.machine.processor,
        run.machine.cores,
        gibibytes(run.machine.memory),
        run.machine.kernel,
        run.load[0],
        run.load[1],
        lines(&run.rows)
    )
}

/// The rows as a table.
pub fn lines(rows: &[Row]) -> String {
    let mut text = "| row | what | measured | goal | floor | a user's other choice | goals |\n|---|---|---|---|---|---|---|\n".to_owned();
    for row in rows {
        let cells = match &row.outcome {
            Outcome::Measured(measured) => figures(measured),
            Outcome::NotRun(why) => other("not run", why),
            Outcome::Failed(why) => other("**failed**", why),
        };
        let first = [format!("`{}`", row.topic.name()), row.what.clone()];
        let line = first.into_iter().chain(cells);
        let line: Vec<_> = line.map(|cell| cell.replace('|', "\\|")).collect();
        text = text + "| " + &line.join(" | ") + " |\n";
    }
    text
}

fn figures(measured: &Measured) -> [String; 5] {
    let unit = &measured.unit;
    let goal = measured
        .goal
        .map_or_else(String::new, |goal| bound(goal, &format!(" {unit}")));
    let beside = |beside: &Option<Beside>| {
        beside
            .as_ref()
            .map_or_else(|| "–".to_owned(), |beside| compared(beside, unit))
    };
    let met = match measured.is_met() {
        Some(true) => "met",
        Some(false) => "**falls short**",
        None => "",
    };
    [
        format!("{} {unit}", number(measured.value)),
        goal,
        beside(&measured.floor),
        beside(&measured.instead),
        met.to_owned(),
    ]
}

fn other(what: &str, why: &str) -> [String; 5] {
    let why: String = why.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut cells = <[String; 5]>::default();
    cells[0] = format!("{what}: {why}");
    cells
}

fn compared(Beside { what, found }: &Beside, unit: &str) -> String {
    match found {
        Found::Missing(why) => format!("{what}: not here ({why})"),
        Found::Measured { value, ratio, goal } => {
            let goal = goal.map_or_else(String::new, |goal| format!(" (goal {})", bound(goal, "")));
            let value = number(*value);
            // A ratio of 0 would say nothing.
            let places = if *ratio < 0.1 { 3 } else { 2 };
            format!("{what} {value} {unit}: {ratio:.places$} ×{goal}")
        }
    }
}

fn bound(bound: Bound, unit: &str) -> String {
    match bound {
        Bound::AtMost(value) => format!("≤ {}{unit}", short(value)),
        Bound::AtLeast(value) => format!("≥ {}{unit}", short(value)),
    }
}

/// Without zeros that say nothing: goals are round.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// With as many places as a figure deserves, and its thousands apart.
fn number(value: f64) -> String {
    let places = match value.abs() {
        least if least < 10.0 => 2,
        less if less < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.places$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut apart = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    if rest.is_empty() {
        apart
    } else {
        format!("{apart}.{rest}")
    }
}

#[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 MiB")]
fn gibibytes(mebibytes: u64) -> f64 {
    mebibytes as f64 / 1024.0
}

/// The README with the table between the markers, in the place of what was there; none unless it has them once each, in this order.
pub fn replace(readme: &str, table: &str) -> Option<String> {
    let once = |marker| readme.matches(marker).count() == 1;
    if !once(BEGIN) || !once(END) {
        return None;
    }
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        table.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::example;
    use crate::row::Topic;

    fn rows() -> Vec<Row> {
        let events = Measured::new(60_312.4, "events/s")
            .floor(Beside::measured("COPY", 49_000.0, 1.23).goal(Bound::AtLeast(0.8)))
            .instead(Beside::measured("the Go server", 8214.0, 7.34).goal(Bound::AtLeast(8.0)));
        let hot = Measured::new(0.68, "s").goal(Bound::AtMost(0.7));
        let dir = Measured::new(340.0, "ms").instead(Beside::missing("goose", "no go on the PATH"));
        vec![
            Row::measured(Topic::HotLocal, "`e2e workflowexecution`", hot),
            Row::measured(Topic::MigrateDir, "100 files", dir),
            Row::measured(Topic::Datastorage, "100 events a request", events),
            Row::new(
                Topic::AllKind,
                "all seven",
                Outcome::NotRun("docker version: cannot connect".to_owned()),
            ),
            Row::new(
                Topic::Lines,
                "300,000 lines",
                Outcome::Failed("exit 4:\n a | b".to_owned()),
            ),
        ]
    }

    #[test]
    fn the_table_shows_what_was_measured_what_was_left_out_and_what_failed() {
        let golden = "\
2026-01-02, commit 0123abc; A Processor, 2 cores, 8.0 GiB of memory, Linux 6.1; at rest: load 0.10 before, 1.25 after.

| row | what | measured | goal | floor | a user's other choice | goals |
|---|---|---|---|---|---|---|
| `hot-local` | `e2e workflowexecution` | 0.68 s | ≤ 0.7 s | – | – | met |
| `migrate-dir` | 100 files | 340 ms |  | – | goose: not here (no go on the PATH) |  |
| `datastorage` | 100 events a request | 60,312 events/s |  | COPY 49,000 events/s: 1.23 × (goal ≥ 0.8) | the Go server 8,214 events/s: 7.34 × (goal ≥ 8) | **falls short** |
| `all-kind` | all seven | not run: docker version: cannot connect |  |  |  |  |
| `lines` | 300,000 lines | **failed**: exit 4: a \\| b |  |  |  |  |
";
        assert_eq!(table(&example("0123abc", rows())), golden);
    }

    #[test]
    fn a_changed_tree_and_a_machine_that_was_not_at_rest_are_said() {
        let mut run = example("0123abc", Vec::new());
        (run.is_changed, run.at_rest) = (true, false);
        let text = table(&run);
        assert!(
            text.contains("commit 0123abc and changes that are not committed;"),
            "{text}"
        );
        assert!(
            text.contains("**not seen at rest**: load 0.10 before"),
            "{text}"
        );
    }

    #[test]
    fn the_table_takes_the_place_of_the_one_before_and_of_nothing_else() {
        let readme = format!("# Title\n\n{BEGIN}\nold | table\n{END}\n\nmore\n");
        let first = replace(&readme, "new\n").expect("markers");
        assert_eq!(
            first,
            format!("# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nmore\n")
        );
        assert_eq!(replace(&first, "new").as_deref(), Some(first.as_str()));
    }

    #[test]
    fn a_readme_with_one_marker_or_with_two_tables_is_left_alone() {
        assert_eq!(replace(&format!("a {BEGIN} b"), "new"), None);
        assert_eq!(replace(&format!("{END} {BEGIN}"), "new"), None);
        let twice = format!("{BEGIN}{END}").repeat(2);
        assert_eq!(replace(&twice, "new"), None);
    }

    #[test]
    fn the_readme_of_this_project_has_a_place_for_it() {
        let readme = include_str!("../../../README.md");
        assert!(replace(readme, "new").is_some_and(|new| new.len() > 10_000));
    }

    #[test]
    fn a_figure_has_the_places_it_deserves() {
        let shown = [0.05, 1.4, 21.94, 533.2, 1_234_567.8].map(number);
        assert_eq!(shown, ["0.05", "1.40", "21.9", "533", "1,234,568"]);
    }
}
