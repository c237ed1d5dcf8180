//! How long each stage took and how it ended, as a value and as the closing table.

use std::fmt::Write as _;
use std::time::Duration;

use e2e_report::Outcome;

use crate::run::plan::Id;

/// A finished stage, for the closing table.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The stage.
    pub id: Id,
    /// When it began, counted from the run's start.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// What it made or saw.
    pub note: String,
}

/// The closing table: when each stage began, how long it took, how it ended.
pub fn table(timings: &[Timing], total: Duration) -> String {
    let width = timings
        .iter()
        .map(|timing| timing.id.name().len())
        .max()
        .unwrap_or_default()
        .max(24);
    let mut text = format!(
        "{:<width$} {:>8} {:>9}  {:<8} {}\n",
        "stage", "began", "took", "outcome", ""
    );
    for Timing {
        id,
        began,
        took,
        outcome,
        note,
    } in timings
    {
        let (began, took) = (began.as_secs_f64(), took.as_secs_f64());
        let row = format!(
            "{:<width$} {began:>6.1} s {took:>7.1} s  {:<8} {note}",
            id.name(),
            outcome.word()
        );
        writeln!(text, "{}", row.trim_end()).unwrap_or_default();
    }
    let row = format!(
        "{:<width$} {:>8} {:>7.1} s",
        "total",
        "",
        total.as_secs_f64()
    );
    text + row.trim_end()
}
