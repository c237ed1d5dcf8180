//! What fits a screen: the lines of the live view, a table's row, a message.

use std::io::IsTerminal as _;
use std::time::Instant;

/// How many lines of a failed stage are shown where its lines were not shown as they came.
const TAIL: usize = 15;
/// How many lines of a message go where no screen limits them, such as a log of CI.
const UNSEEN: usize = 80;
/// Where the size of the terminal is not known.
const SIZE: (usize, usize) = (80, 24);

/// A stage under way.
#[derive(Debug)]
pub struct Running {
    /// Its name, with its service's before it.
    pub name: String,
    /// When it began.
    pub since: Instant,
    /// The last that its commands printed.
    pub lines: Vec<String>,
}

impl Running {
    /// Takes a line that one of its commands printed.
    pub fn line(&mut self, text: &str) {
        let text = e2e_report::text::plain(text);
        let text = text.trim_end();
        if !text.trim().is_empty() {
            if self.lines.len() == TAIL {
                self.lines.remove(0);
            }
            self.lines.push(text.to_owned());
        }
    }
}

/// What runs and since when.
pub fn heartbeat(running: &[Running], now: Instant) -> String {
    let stages: Vec<String> = running
        .iter()
        .map(|stage| {
            format!(
                "{} for {:.0} s",
                stage.name,
                now.duration_since(stage.since).as_secs_f64()
            )
        })
        .collect();
    format!("  … still running: {}", stages.join(", "))
}

/// Columns and rows of the terminal that standard error is.
pub fn size() -> (usize, usize) {
    terminal_size::terminal_size_of(std::io::stderr())
        .map_or(SIZE, |(width, height)| (width.0.into(), height.0.into()))
}

/// The live view: a line per stage, none longer than the screen is wide, all of them no more than half of it is high.
pub fn live_lines(running: &[Running], now: Instant, width: usize, height: usize) -> Vec<String> {
    let most = (height / 2).max(2);
    let shown = if running.len() > most {
        most - 1
    } else {
        running.len()
    };
    let names = running[..shown]
        .iter()
        .map(|stage| stage.name.chars().count())
        .max();
    let name_width = names.unwrap_or_default().min(width / 2);
    let mut lines: Vec<String> = running[..shown]
        .iter()
        .map(|stage| {
            let elapsed = now.saturating_duration_since(stage.since).as_secs_f64();
            let name = cut(&stage.name, name_width);
            let last = stage
                .lines
                .last()
                .map(|line| line.trim())
                .unwrap_or_default();
            let line = format!("  … {name:<name_width$} {elapsed:>6.1} s  {last}");
            // The last column is left free: some terminals wrap when it is written.
            cut(line.trim_end(), width.saturating_sub(1))
        })
        .collect();
    if shown < running.len() {
        lines.push(format!("  … and {} more", running.len() - shown));
    }
    lines
}

/// A table's row as it fits the terminal that standard output is, whole where it is none.
pub fn row(text: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let width = terminal_size::terminal_size_of(std::io::stdout())
        .map_or(SIZE.0, |(width, _)| width.0.into());
    cut(text, width)
}

/// The beginning of a text that fits `width` columns.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// A message as it fits one screen, its middle left out: the sentence that says what failed stays in view, and so does the next move.
pub fn on_one_screen(text: &str) -> String {
    let (width, height) = if std::io::stderr().is_terminal() {
        size()
    } else {
        (usize::MAX, UNSEEN)
    };
    clipped(text, width, height.saturating_sub(4).max(12))
}

/// `text` on at most about `rows` rows of a screen of that width.
fn clipped(text: &str, width: usize, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let height = |line: &&str| line.chars().count().div_ceil(width.max(1)).max(1);
    if lines.iter().map(height).sum::<usize>() <= rows {
        return text.to_owned();
    }
    let fitting = |lines: &mut dyn Iterator<Item = &&str>, most: usize| {
        let mut used = 0;
        lines
            .take_while(|line| {
                used += height(line);
                used <= most
            })
            .count()
    };
    // What failed first says more than what failed last.
    let head = fitting(&mut lines.iter(), rows * 3 / 4).max(1);
    let foot = fitting(&mut lines[head..].iter().rev(), rows / 4 - 1);
    let left_out = lines.len() - head - foot;
    if left_out == 0 {
        return text.to_owned();
    }
    let middle =
        format!("        … {left_out} lines left out: the whole is in the run's directory");
    [
        &lines[..head],
        &[middle.as_str()],
        &lines[lines.len() - foot..],
    ]
    .concat()
    .join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn running(name: &str, began: Instant, line: &str) -> Running {
        let mut stage = Running {
            name: name.to_owned(),
            since: began,
            lines: Vec::new(),
        };
        stage.line(line);
        stage
    }

    #[test]
    fn the_live_view_fits_the_screen_and_shows_elapsed_time_and_last_line() {
        let began = Instant::now();
        let now = began + Duration::from_millis(12_340);
        let stages = [
            running(
                "create cluster",
                began,
                "\u{1b}[1m ✓ Preparing nodes \u{1b}[0m",
            ),
            running("gateway: build Data Storage", began, &"long ".repeat(40)),
        ];
        let wide = live_lines(&stages, now, 200, 50);
        assert_eq!(
            wide[0],
            "  … create cluster                12.3 s  ✓ Preparing nodes"
        );
        for width in [20, 40, 80] {
            let lines = live_lines(&stages, now, width, 50);
            assert!(
                lines.iter().all(|line| line.chars().count() < width),
                "{lines:?}"
            );
        }
        assert_eq!(
            live_lines(&stages, now, 80, 50)[1],
            "  … gateway: build Data Storage   12.3 s  long long long long long long long l…"
        );
    }

    #[test]
    fn more_stages_than_half_a_screen_are_counted() {
        let now = Instant::now();
        let stages: Vec<_> = (0..9)
            .map(|number| running(&format!("stage {number}"), now, ""))
            .collect();
        let lines = live_lines(&stages, now, 80, 10);
        assert_eq!((lines.len(), lines[4].as_str()), (5, "  … and 5 more"));
    }

    #[test]
    fn the_heartbeat_says_what_runs_and_since_when() {
        let began = Instant::now();
        let stages = [
            running("create cluster", began, ""),
            running("build suite", began, ""),
        ];
        assert_eq!(
            heartbeat(&stages, began + Duration::from_secs(20)),
            "  … still running: create cluster for 20 s, build suite for 20 s"
        );
    }

    #[test]
    fn a_long_message_keeps_its_beginning_and_its_end_on_one_screen() {
        let text: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
        let short = clipped(&text.join("\n"), 80, 24);
        assert!(
            short.starts_with("line 0\n") && short.ends_with("\nline 99"),
            "{short}"
        );
        assert_eq!(short.lines().count(), 24);
        assert!(short.contains("… 77 lines left out"), "{short}");
        // A long line takes several rows.
        assert!(
            clipped(&["x".repeat(800), text.join("\n")].concat(), 80, 24)
                .lines()
                .count()
                < 20
        );
        assert_eq!(clipped("short", 80, 24), "short");
    }
}
