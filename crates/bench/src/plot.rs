//! The ratios of a history as a picture: a strip for each comparison, its runs from left to right, its goal dashed.

use std::collections::BTreeMap;

use crate::history::Run;
use crate::row::{Bound, Found, Outcome, Topic};

/// Of the picture.
const WIDTH: f64 = 760.0;
/// Of a strip.
const HEIGHT: f64 = 74.0;
/// Where a strip's line begins and ends, from the left.
const LINE: [f64; 2] = [24.0, WIDTH - 90.0];
/// Where a strip's line may be, from its top.
const ROOM: [f64; 2] = [28.0, HEIGHT - 8.0];
/// Of the title.
const TITLE: f64 = 30.0;

/// A ratio over the runs.
#[derive(Default)]
struct Strip {
    /// The number of the run, and the ratio.
    points: Vec<(usize, f64)>,
    /// That of the newest run.
    goal: Option<Bound>,
}

/// The picture as a document of its own.
pub fn svg(runs: &[Run]) -> String {
    let strips = strips(runs);
    let count = u32::try_from(strips.len()).unwrap_or(u32::MAX);
    let height = TITLE + HEIGHT * f64::from(count);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{}\" y=\"20\" font-size=\"14\">{}</text>\n",
        LINE[0],
        escaped(&title(runs))
    );
    let mut top = TITLE;
    for ((topic, what), strip) in &strips {
        let what = format!("{}: {what}", topic.name());
        strip.draw(&mut svg, &what, top, runs);
        top += HEIGHT;
    }
    svg + "</svg>\n"
}

fn title(runs: &[Run]) -> String {
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return "no runs yet".to_owned();
    };
    let [first, last] = [first, last].map(|run| run.at.strftime("%Y-%m-%d").to_string());
    format!(
        "{} runs of cargo xtask bench all, {first} to {last}: ratios, goals dashed",
        runs.len()
    )
}

/// By topic, and by what is beside what.
fn strips(runs: &[Run]) -> BTreeMap<(Topic, String), Strip> {
    let mut strips: BTreeMap<_, Strip> = BTreeMap::new();
    for (number, run) in runs.iter().enumerate() {
        for row in &run.rows {
            let Outcome::Measured(measured) = &row.outcome else {
                continue;
            };
            for beside in measured.besides() {
                if let Found::Measured { ratio, goal, .. } = beside.found {
                    let what = format!("{} ÷ {}", row.what, beside.what);
                    let strip = strips.entry((row.topic, what)).or_default();
                    strip.points.push((number, ratio));
                    strip.goal = goal;
                }
            }
        }
    }
    strips
}

impl Strip {
    fn draw(&self, svg: &mut String, what: &str, top: f64, runs: &[Run]) {
        let goal = self.goal.map(|(Bound::AtMost(at) | Bound::AtLeast(at))| at);
        // From nothing on, so that a small change looks small.
        let most = self.points.iter().map(|(_, ratio)| *ratio).chain(goal);
        let most = most.fold(f64::MIN_POSITIVE, f64::max);
        let y = |ratio: f64| top + ROOM[1] - (ROOM[1] - ROOM[0]) * ratio / most;
        let x = |number: usize| {
            let part = match runs.len() {
                0 | 1 => 1.0,
                count => f64::from(u32::try_from(number).unwrap_or(u32::MAX)) / as_f64(count - 1),
            };
            LINE[0] + (LINE[1] - LINE[0]) * part
        };
        let mut put = |line: std::fmt::Arguments<'_>| svg.push_str(&line.to_string());
        put(format_args!(
            "<text x=\"{}\" y=\"{}\">{}</text>\n",
            LINE[0],
            top + 18.0,
            escaped(what)
        ));
        put(format_args!(
            "<line x1=\"{0}\" y1=\"{2}\" x2=\"{1}\" y2=\"{2}\" stroke=\"#ccc\"/>\n",
            LINE[0],
            LINE[1],
            y(0.0)
        ));
        if let Some(goal) = goal {
            put(format_args!(
                "<line x1=\"{0}\" y1=\"{2:.1}\" x2=\"{1}\" y2=\"{2:.1}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>\n",
                LINE[0],
                LINE[1],
                y(goal)
            ));
        }
        let points: Vec<String> = self
            .points
            .iter()
            .map(|(number, ratio)| format!("{:.1},{:.1}", x(*number), y(*ratio)))
            .collect();
        put(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"1.5\"/>\n",
            points.join(" ")
        ));
        for (number, ratio) in &self.points {
            put(format_args!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{}\"><title>{} {ratio:.2}</title></circle>\n",
                x(*number),
                y(*ratio),
                match self.goal {
                    Some(goal) if !goal.is_met(*ratio) => "#b3261e",
                    _ => "#1f5fa8",
                },
                escaped(&runs[*number].commit)
            ));
        }
        if let Some((number, last)) = self.points.last() {
            // Of a comparison that the newest run does not have it is not the newest figure.
            let old = if number + 1 == runs.len() {
                ""
            } else {
                " (before)"
            };
            put(format_args!(
                "<text x=\"{}\" y=\"{:.1}\">{last:.2} ×{old}</text>\n",
                LINE[1] + 8.0,
                y(*last) + 4.0
            ));
        }
    }
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::example;
    use crate::row::{Beside, Measured, Row};

    fn run(commit: &str, ratio: f64) -> Run {
        let floor = Beside::measured("one <message>", 1.0, ratio).goal(Bound::AtMost(1.2));
        let figure = Measured::new(ratio, "ms").floor(floor);
        example(commit, vec![Row::measured(Topic::Schema, "schema", figure)])
    }

    #[test]
    fn a_strip_has_a_point_for_each_run_its_goal_and_the_last_ratio() {
        let svg = svg(&[run("a", 2.0), run("b", 1.0), run("c", 1.5)]);
        // The room of a strip is 38 high: 2 is at its top, 1 in the middle.
        let line = "<polyline points=\"24.0,58.0 347.0,77.0 670.0,67.5\"";
        assert!(svg.contains(line), "{svg}");
        assert!(
            svg.contains("y1=\"73.2\"") && svg.contains("stroke-dasharray"),
            "{svg}"
        );
        assert!(svg.contains(">1.50 ×</text>"), "{svg}");
        assert!(
            svg.contains("schema: schema ÷ one &lt;message&gt;"),
            "{svg}"
        );
        assert_eq!(svg.matches("fill=\"#b3261e\"").count(), 2, "{svg}");
    }

    #[test]
    fn a_run_without_a_comparison_leaves_its_place_empty() {
        let svg = svg(&[run("a", 1.0), run("b", 1.0), example("c", Vec::new())]);
        assert!(svg.contains("points=\"24.0,64.3 347.0,64.3\""), "{svg}");
        assert!(svg.contains("1.00 × (before)"), "{svg}");
    }

    #[test]
    fn one_run_and_none_are_pictures_too() {
        for runs in [vec![], vec![run("a", 1.0)]] {
            let svg = svg(&runs);
            assert!(
                svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
                "{svg}"
            );
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
