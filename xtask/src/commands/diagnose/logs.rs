//! Data Storage's log: how many lines complain, and the last of them.

use std::time::Instant;

use ::diagnose::Diagnosis;
use serde_json::Value;

/// How many of the last lines are read.
const LINES: usize = 500;

/// Reads the end of a log. Complaints of the past are shown and find nothing by themselves: the cause may be gone.
pub fn read(log: &str, diagnosis: &mut Diagnosis) {
    let began = Instant::now();
    let lines: Vec<&str> = log.lines().collect();
    let end = &lines[lines.len().saturating_sub(LINES)..];
    let complaints: Vec<String> = end.iter().filter_map(|line| complaint(line)).collect();
    let detail = match complaints.last() {
        None => format!("no complaint in the last {} lines", end.len()),
        Some(last) => format!(
            "{} of the last {} lines complain, the last: {last}",
            complaints.len(),
            end.len()
        ),
    };
    diagnosis.add("log", began, detail, Vec::new());
}

/// The message of a line of level WARN or ERROR, with what it says beside.
fn complaint(line: &str) -> Option<String> {
    let parsed: Value = serde_json::from_str(line).ok()?;
    let level = parsed["level"].as_str()?;
    if !matches!(level, "WARN" | "ERROR") {
        return None;
    }
    let message = parsed["message"].as_str().unwrap_or_default();
    let beside = parsed["detail"].as_str().or(parsed["error"].as_str());
    // What follows is the next move, which a finding has of its own.
    let beside = beside.and_then(|beside| beside.split("; ").next());
    Some(match beside {
        Some(beside) => format!("{message}: {beside}"),
        None => message.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complaint_is_shown_with_what_it_says_beside() {
        let log = concat!(
            r#"{"timestamp":"2026-01-15T10:00:00Z","level":"INFO","message":"started"}"#,
            "\n",
            r#"{"level":"WARN","message":"a request fails at the database","detail":"relation missing; migrate"}"#,
            "\nnot JSON\n"
        );
        let mut diagnosis = Diagnosis::default();
        read(log, &mut diagnosis);
        assert_eq!(
            diagnosis.checks[0].detail,
            "1 of the last 3 lines complain, the last: a request fails at the database: relation missing"
        );
        assert!(diagnosis.is_healthy());
    }
}
