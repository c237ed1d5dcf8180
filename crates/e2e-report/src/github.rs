//! What GitHub shows of a run: the job's summary, and an annotation per failure.

use std::fmt::Write as _;

use crate::critical_path::Path;
use crate::log::{Log, Standing};
use crate::text::{both_ends, cell, duration, escaped};

/// How many lines of evidence a summary repeats.
const EVIDENCE: usize = 30;

/// The summary in Markdown.
pub fn summary(log: &Log) -> String {
    let mark = if log.exit == Some(0) { "✅" } else { "❌" };
    let mut text = format!("## {mark} {}: {}\n\n", log.run, log.verdict());
    let [passed, flaky, failed] = log.counts();
    if !log.tests.is_empty() {
        writeln!(
            text,
            "{passed} tests passed, {flaky} flaky, {failed} failed."
        )
        .unwrap_or_default();
    }
    writeln!(
        text,
        "On {}{} ({}), {}.\n",
        log.target,
        log.kubernetes
            .as_ref()
            .map_or_else(String::new, |version| format!(" with Kubernetes {version}")),
        log.why,
        duration(log.seconds)
    )
    .unwrap_or_default();
    if let Some(shard) = &log.shard {
        let services = log.services.join(", ");
        writeln!(text, "Shard {shard}: {services}.\n").unwrap_or_default();
    }
    if let Some(failure) = &log.failure {
        writeln!(text, "**{}**\n", failure.summary.replace('\n', " ")).unwrap_or_default();
        if !failure.detail.trim().is_empty() {
            writeln!(text, "{}\n", fenced(&both_ends(&failure.detail, EVIDENCE)))
                .unwrap_or_default();
        }
        if !failure.hint.is_empty() {
            writeln!(text, "Hint: {}\n", failure.hint).unwrap_or_default();
        }
    }
    for test in log
        .tests
        .iter()
        .filter(|test| test.standing() != Standing::Passed)
    {
        writeln!(
            text,
            "<details><summary>{}: <code>{}</code> {}</summary>\n\n{}\n\n</details>\n",
            test.standing().word(),
            escaped(&test.full_name()),
            test.tally(),
            fenced(&both_ends(test.said(), EVIDENCE))
        )
        .unwrap_or_default();
    }
    let path = Path::of(log);
    text.push_str("| stage | began | took | outcome | |\n|---|---:|---:|---|---|\n");
    for (at, stage) in log.stages.iter().enumerate() {
        let name = if path.stages.contains(&at) {
            format!("**{}**", cell(&stage.name))
        } else {
            cell(&stage.name)
        };
        let outcome = stage.outcome_word();
        writeln!(
            text,
            "| {name} | {} | {} | {outcome} | {} |",
            duration(stage.began),
            duration(stage.took(log.seconds)),
            cell(&stage.note)
        )
        .unwrap_or_default();
    }
    writeln!(
        text,
        "\nBold stages are the critical path; idle for {} of it.",
        duration(path.idle())
    )
    .unwrap_or_default();
    text
}

/// A block of code whose fence the text cannot close.
fn fenced(text: &str) -> String {
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}\n{text}\n{fence}")
}

/// The annotations of a run, as workflow commands: one per failed test, else one for what failed.
pub fn annotations(log: &Log) -> Vec<String> {
    let mut lines: Vec<String> = log
        .tests
        .iter()
        .filter(|test| test.standing() != Standing::Passed)
        .map(|test| {
            let title = format!(
                "{} {} {}",
                on_version(log, &test.full_name()),
                test.standing().word(),
                test.tally()
            );
            let level = match test.standing() {
                Standing::Flaky => "warning",
                _ => "error",
            };
            command(level, panicked_at(test.said()), &title, test.said().trim())
        })
        .collect();
    if let Some(failure) = log.failure.as_ref().filter(|_| lines.is_empty()) {
        let message = format!("{}\n{}", failure.detail.trim(), failure.hint);
        lines.push(command(
            "error",
            None,
            &on_version(log, &failure.summary),
            message.trim(),
        ));
    }
    lines
}

/// A title with the version of Kubernetes before it, where one was asked for: there may be annotations of several.
fn on_version(log: &Log, title: &str) -> String {
    log.kubernetes.as_ref().map_or_else(
        || title.to_owned(),
        |version| format!("Kubernetes {version}: {title}"),
    )
}

fn command(level: &str, place: Option<(&str, &str)>, title: &str, message: &str) -> String {
    let place = place.map_or_else(String::new, |(file, line)| {
        format!("file={},line={line},", property(file))
    });
    let title = title.lines().next().unwrap_or_default();
    format!(
        "::{level} {place}title={}::{}",
        property(title),
        data(&both_ends(message, EVIDENCE))
    )
}

/// Escapes of GitHub's workflow commands (actions/toolkit, packages/core/src/command.ts).
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// File and line of a panic, as Rust's standard library prints them.
fn panicked_at(said: &str) -> Option<(&str, &str)> {
    let (_, rest) = said.split_once("panicked at ")?;
    let place = rest.lines().next()?.trim_end_matches(':');
    let mut parts = place.rsplitn(3, ':');
    let (_column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    line.parse::<u32>().ok()?;
    Some((file, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_test_is_annotated_where_it_panicked() {
        let said = "thread 'a' (1) panicked at crates/e2e/tests/it/audit.rs:41:9:\nleft: 1, 100%\n";
        assert_eq!(
            command(
                "error",
                panicked_at(said),
                "audit::lost, again",
                said.trim()
            ),
            "::error file=crates/e2e/tests/it/audit.rs,line=41,title=audit%3A%3Alost%2C again::thread 'a' (1) panicked at \
             crates/e2e/tests/it/audit.rs:41:9:%0Aleft: 1, 100%25"
        );
    }

    #[test]
    fn a_fence_is_longer_than_any_in_the_text() {
        assert_eq!(fenced("a ``` b"), "````\na ``` b\n````");
    }
}
