//! How a diagnosis looks: for a person, the causes with evidence and commands; for a program, one document.

use std::fmt::Write as _;
use std::time::Duration;

use ::diagnose::{Diagnosis, Finding, Repair, Verdict};
use serde_json::{Value, json};

use crate::commands::diagnose::place::Place;
use e2e_runner::exit::Exit;

/// The page for a person.
pub fn human(diagnosis: &Diagnosis, place: &Place, took: Duration) -> String {
    let mut text = format!("diagnosis of {}, profile {}\n", place.title, place.profile);
    for (name, url) in [("Data Storage", &place.url), ("database", &place.database)] {
        if let Some(url) = url {
            writeln!(text, "  {name:<13} {url}").unwrap_or_default();
        }
    }
    text.push('\n');
    for check in &diagnosis.checks {
        let word = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Wrong => "WRONG",
            Verdict::Skipped => "-",
        };
        let name = check.name;
        writeln!(text, "  {word:<6} {name:<14} {}", check.detail).unwrap_or_default();
    }
    let looks = diagnosis
        .checks
        .iter()
        .filter(|check| check.verdict != Verdict::Skipped)
        .count();
    if diagnosis.is_healthy() {
        let seconds = took.as_secs_f64();
        write!(text, "\nhealthy: {looks} checks passed ({seconds:.2} s)").unwrap_or_default();
        return text;
    }
    for (number, finding) in diagnosis.findings.iter().enumerate() {
        write!(
            text,
            "\n{}. {}: {}\n",
            number + 1,
            finding.cause,
            finding.summary
        )
        .unwrap_or_default();
        for evidence in &finding.evidence {
            writeln!(text, "     {evidence}").unwrap_or_default();
        }
        let steps = finding.repair.iter().zip(commands(finding, place));
        for (at, (step, command)) in steps.enumerate() {
            let label = match step {
                Repair::Person(_) => "decide:",
                _ if at == 0 => "repair:",
                _ => "then:",
            };
            writeln!(text, "   {label:<7} {command}").unwrap_or_default();
        }
    }
    let decided = diagnosis
        .findings
        .iter()
        .flat_map(|finding| &finding.repair);
    if decided
        .into_iter()
        .any(|step| matches!(step, Repair::Person(_)))
    {
        text.push_str(
            "\nWhat is to be decided removes or rewrites something that is there; --repair leaves it as it is.\n",
        );
    }
    text
}

/// What repairs a finding, as a person would type it.
fn commands(finding: &Finding, place: &Place) -> Vec<String> {
    finding
        .repair
        .iter()
        .map(|step| match step {
            Repair::Migrate => place.migrate(""),
            Repair::Partitions => place.migrate("partitions"),
            Repair::Files(files) => {
                let files: Vec<String> = files
                    .iter()
                    .map(|file| format!("migrations/{file}"))
                    .collect();
                format!("cat {} | {}", files.join(" "), place.psql("").trim_end())
            }
            Repair::Sql(sql) | Repair::Person(sql) => place.psql(&format!("-c {}", shell(sql))),
            Repair::Manual(what) => what.clone(),
        })
        .collect()
}

/// A word for a POSIX shell.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The document for a program.
pub fn document(diagnosis: &Diagnosis, place: &Place, exit: Exit) -> String {
    let mut result = json!(diagnosis);
    for (value, finding) in result["findings"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .zip(&diagnosis.findings)
    {
        value["commands"] = json!(commands(finding, place));
    }
    result["healthy"] = Value::Bool(diagnosis.is_healthy());
    result["profile"] = json!(place.profile);
    result["datastorage"] = json!(place.url);
    result["database"] = json!(place.database);
    let document = json!({"version": 1, "verb": "diagnose", "exit": exit.code(), "result": result});
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::shell;

    #[test]
    fn a_statement_survives_the_shell() {
        assert_eq!(shell("SET DEFAULT '1.0'"), r"'SET DEFAULT '\''1.0'\'''");
    }
}
