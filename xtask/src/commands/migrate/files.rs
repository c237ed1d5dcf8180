//! Verbs that need no database: lint and new.

use std::path::Path;

use migrations::{Catalogue, Finding};

use super::verbs::Output;
use e2e_runner::exit::{Exit, Failure};

/// Checks the catalogue's files.
pub fn lint(catalogue: &Catalogue) -> Output {
    let findings: Vec<Finding> = migrations::lint(catalogue);
    let lines: Vec<String> = catalogue
        .warnings()
        .iter()
        .cloned()
        .chain(findings.iter().map(ToString::to_string))
        .collect();
    let (exit, text) = if findings.is_empty() && lines.is_empty() {
        (
            Exit::Passed,
            format!(
                "{} migrations follow the rules",
                catalogue.migrations().len()
            ),
        )
    } else if findings.is_empty() {
        (Exit::Passed, lines.join("\n"))
    } else {
        (Exit::Migration, lines.join("\n"))
    };
    let data = serde_json::json!({ "findings": findings, "warnings": catalogue.warnings() });
    Output { exit, text, data }
}

/// Writes the next pair of files into `directory` and names them.
pub fn new(directory: &Path, name: &str) -> Result<Output, Failure> {
    let valid = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !valid {
        return Err(
            Failure::new(Exit::Usage, format!("`{name}` is no name of a migration"))
                .hint("use lower case and underscores, beginning with the table"),
        );
    }
    let cannot = |error: std::io::Error| {
        Failure::new(Exit::Preflight, format!("{}: {error}", directory.display()))
            .hint("run it in a checkout of the schema's repository")
    };
    let mut last = 0;
    for entry in std::fs::read_dir(directory).map_err(cannot)? {
        let file = entry
            .map_err(cannot)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let number = file
            .get(..4)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0);
        last = last.max(number);
        if file.get(5..) == Some(&format!("{name}.up.sql")) {
            return Err(
                Failure::new(Exit::Usage, format!("{file} is there already"))
                    .hint("a migration's name is its identity: choose another"),
            );
        }
    }
    let stem = format!("{:04}_{name}", last + 1);
    let up = "-- What it is for, in a sentence.\n-- requires: \n-- provides: table \n\n";
    let files = [
        (format!("{stem}.up.sql"), up),
        (format!("{stem}.down.sql"), ""),
    ];
    for (file, text) in &files {
        std::fs::write(directory.join(file), text).map_err(cannot)?;
    }
    let names: Vec<String> = files
        .iter()
        .map(|(file, _)| directory.join(file).display().to_string())
        .collect();
    let text = format!(
        "{}\nmigrations/README.md says what goes in, and which check catches what",
        names.join("\n")
    );
    Ok(Output {
        exit: Exit::Passed,
        text,
        data: serde_json::json!({ "files": names }),
    })
}

/// Writes the next file of a team's directory in goose's format and names it.
pub fn new_goose(directory: &Path, name: &str) -> Result<Output, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(Exit::Usage, format!("{}: {error}", directory.display()))
            .hint("give --dir a directory that exists")
    };
    let mut last: Option<(u64, usize)> = None;
    for entry in std::fs::read_dir(directory).map_err(cannot)? {
        let file = entry
            .map_err(cannot)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let digits = file
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap_or_default();
        if let Some(number) = digits.parse().ok().filter(|_| file.contains(".sql")) {
            last = last.max(Some((number, digits.len())));
        }
    }
    let (number, width) = last.map_or((1, 5), |(number, width)| (number + 1, width));
    let file = directory.join(format!("{number:0width$}_{name}.sql"));
    let text = "-- +goose Up\n\n-- +goose Down\n";
    std::fs::write(&file, text).map_err(cannot)?;
    let file = file.display().to_string();
    Ok(Output {
        exit: Exit::Passed,
        text: file.clone(),
        data: serde_json::json!({ "files": [file] }),
    })
}
