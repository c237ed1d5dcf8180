//! The timeline: one page without scripts and without anything from elsewhere.

use std::fmt::Write as _;

use crate::critical_path::Path;
use crate::event::Outcome;
use crate::log::{Log, Stage, Standing};
use crate::text::{duration, escaped};

pub(crate) const STYLE: &str = include_str!("report.css");

/// The page.
pub fn page(log: &Log) -> String {
    let class = if log.exit == Some(0) {
        "passed"
    } else {
        "failed"
    };
    let path = Path::of(log);
    let mut body = format!(
        "<header class=\"{class}\"><p class=\"verdict\">{}</p><h1>{}</h1><p>on {}{} · {}{}</p></header>\n",
        escaped(&log.verdict()),
        escaped(&log.run),
        escaped(&log.target),
        about(log),
        escaped(&log.why),
        log.at
            .split('.')
            .next()
            .filter(|at| !at.is_empty())
            .map_or_else(String::new, |at| format!(
                " · {} UTC",
                escaped(&at.replace('T', " "))
            )),
    );
    body.push_str(&failure(log));
    body.push_str(&facts(log, &path));
    body.push_str(&timeline(log, &path));
    body.push_str(&tests(log));
    body.push_str(&output(log));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escaped(&log.run),
        escaped(&log.verdict()),
    )
}

/// The version of Kubernetes and the shard, where the run is of one.
fn about(log: &Log) -> String {
    let version = log.kubernetes.iter();
    let version = version.map(|version| format!(" with Kubernetes {}", escaped(version)));
    let shard = log.shard.iter();
    let shard = shard.map(|shard| format!(", shard {}", escaped(shard)));
    version.chain(shard).collect()
}

fn failure(log: &Log) -> String {
    let Some(failure) = &log.failure else {
        return String::new();
    };
    let mut text = format!(
        "<section class=\"cause\"><h2>What went wrong</h2>\n<p>{}</p>\n",
        escaped(&failure.summary)
    );
    if !failure.detail.trim().is_empty() {
        writeln!(
            text,
            "<pre tabindex=\"0\">{}</pre>",
            escaped(failure.detail.trim())
        )
        .unwrap_or_default();
    }
    if !failure.hint.is_empty() {
        writeln!(
            text,
            "<p class=\"next\"><b>Next:</b> {}</p>",
            escaped(&failure.hint)
        )
        .unwrap_or_default();
    }
    text + "</section>\n"
}

fn facts(log: &Log, path: &Path) -> String {
    let idle = path.idle();
    let share = if log.seconds > 0.0 {
        idle / log.seconds * 100.0
    } else {
        0.0
    };
    let mut facts = vec![
        (duration(log.seconds), "in all".to_owned()),
        (
            duration((log.seconds - idle).max(0.0)),
            "on the critical path".to_owned(),
        ),
        (duration(idle), format!("idle on it ({share:.0} %)")),
    ];
    let [passed, flaky, failed] = log.counts();
    if !log.tests.is_empty() {
        facts.push((
            format!("{passed} / {}", log.tests.len()),
            format!("tests passed, {flaky} flaky, {failed} failed"),
        ));
    }
    let mut items = String::new();
    for (value, what) in &facts {
        write!(
            items,
            "<div><dt>{}</dt><dd>{}</dd></div>",
            escaped(what),
            escaped(value)
        )
        .unwrap_or_default();
    }
    format!("<dl>{items}</dl>\n")
}

/// A scale with at most eight marks at round seconds.
fn step(seconds: f64) -> f64 {
    [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    ]
    .into_iter()
    .find(|step| seconds / step <= 8.0)
    .unwrap_or(1800.0)
}

fn timeline(log: &Log, path: &Path) -> String {
    let total = log.seconds.max(0.001);
    let percent = |seconds: f64| (seconds / total * 100.0).clamp(0.0, 100.0);
    let mut text = "<section><h2>Stages</h2>\n<div class=\"gantt\">\n<div class=\"row axis\"><span></span><div class=\"track\">".to_owned();
    let step = step(total);
    let mut mark = 0.0;
    while mark < total * 0.97 {
        let label = if step < 1.0 {
            format!("{mark:.1}")
        } else {
            format!("{mark:.0}")
        };
        write!(
            text,
            "<i style=\"left:{:.2}%\">{label} s</i>",
            percent(mark)
        )
        .unwrap_or_default();
        mark += step;
    }
    text.push_str("</div><span></span></div>\n");
    for (at, stage) in log.stages.iter().enumerate() {
        let gap = path.gap(at);
        text.push_str(&row(stage, gap, log.seconds, &percent));
    }
    text.push_str("</div>\n<p class=\"legend\"><span><b class=\"key critical\"></b> critical path</span> <span><b class=\"key\"></b> beside it</span> ");
    text.push_str("<span><b class=\"key idle\"></b> idle on the path</span> <span><b class=\"key floor\"></b> fastest ever here</span> ");
    text.push_str("<span><b class=\"key failed\"></b> failed</span> <span><b class=\"key stopped\"></b> stopped</span></p>\n</section>\n");
    text
}

fn row(stage: &Stage, gap: Option<f64>, end: f64, percent: &impl Fn(f64) -> f64) -> String {
    let took = stage.took(end);
    let outcome = match stage.outcome {
        Some(outcome) if stage.ended.is_some() => outcome,
        _ => Outcome::Stopped,
    };
    let critical = if gap.is_some() { " critical" } else { "" };
    let mut track = String::new();
    if let Some(gap) = gap.filter(|gap| *gap > 0.05) {
        write!(
            track,
            "<i class=\"idle\" style=\"left:{:.2}%;width:{:.2}%\" title=\"idle {}\"></i>",
            percent(stage.began - gap),
            percent(gap),
            duration(gap)
        )
        .unwrap_or_default();
    }
    let note = if stage.note.is_empty() {
        String::new()
    } else {
        format!(" · {}", stage.note)
    };
    write!(
        track,
        "<i class=\"bar {}{critical}\" style=\"left:{:.2}%;width:{:.2}%\" title=\"{}\"></i>",
        outcome.word(),
        percent(stage.began),
        percent(took),
        escaped(&format!(
            "{}: {} from {}{note}",
            stage.name,
            duration(took),
            duration(stage.began)
        ))
    )
    .unwrap_or_default();
    let mut beside = String::new();
    if let Some(fastest) = stage.fastest.filter(|fastest| *fastest > 0.0) {
        write!(
            track,
            "<i class=\"floor\" style=\"left:{:.2}%;width:{:.2}%\" title=\"fastest ever here: {}\"></i>",
            percent(stage.began),
            percent(fastest.min(took)),
            duration(fastest)
        )
        .unwrap_or_default();
        if took > fastest * 1.5 && took - fastest > 0.5 {
            write!(
                beside,
                " <small title=\"times the fastest ever here\">{:.1}×</small>",
                took / fastest
            )
            .unwrap_or_default();
        }
    }
    let word = match outcome {
        Outcome::Failed => " <em>failed</em>",
        Outcome::Stopped => " <em>stopped</em>",
        Outcome::Ok => "",
    };
    format!(
        "<div class=\"row{critical}\"><span class=\"name\">{}{word}</span><div class=\"track\">{track}</div><span class=\"took\">{}{beside}</span></div>\n",
        escaped(&stage.name),
        duration(took)
    )
}

fn tests(log: &Log) -> String {
    if log.tests.is_empty() {
        return String::new();
    }
    let mut tests: Vec<_> = log.tests.iter().collect();
    tests.sort_by_key(|test| match test.standing() {
        Standing::Failed => 0,
        Standing::Flaky => 1,
        Standing::Passed => 2,
    });
    let mut text = "<section><h2>Tests</h2>\n<ul class=\"tests\">\n".to_owned();
    for test in tests {
        let (word, name) = (test.standing().word(), escaped(&test.full_name()));
        if test.standing() == Standing::Passed {
            writeln!(
                text,
                "<li><b class=\"{word}\">{word}</b> <code>{name}</code></li>"
            )
            .unwrap_or_default();
        } else {
            writeln!(
                text,
                "<li><details open><summary><b class=\"{word}\">{word}</b> <code>{name}</code> {}</summary><pre tabindex=\"0\">{}</pre></details></li>",
                test.tally(),
                escaped(test.said().trim())
            )
            .unwrap_or_default();
        }
    }
    text + "</ul>\n</section>\n"
}

fn output(log: &Log) -> String {
    let mut text = String::new();
    for note in &log.notes {
        writeln!(text, "<p class=\"note\">{}</p>", escaped(note)).unwrap_or_default();
    }
    for stage in log.stages.iter().filter(|stage| !stage.lines.is_empty()) {
        let open = if stage.outcome == Some(Outcome::Failed) && log.tests.is_empty() {
            " open"
        } else {
            ""
        };
        let cut = if stage.cut > 0 {
            format!(", {} before them left out", stage.cut)
        } else {
            String::new()
        };
        let noun = if stage.lines.len() == 1 {
            "line"
        } else {
            "lines"
        };
        writeln!(
            text,
            "<details{open}><summary>{} <small>{} {noun}{cut}</small></summary><pre tabindex=\"0\">{}</pre></details>",
            escaped(&stage.name),
            stage.lines.len(),
            escaped(&stage.printed())
        )
        .unwrap_or_default();
    }
    if text.is_empty() {
        return text;
    }
    format!("<section class=\"output\"><h2>Output</h2>\n{text}</section>\n")
}
