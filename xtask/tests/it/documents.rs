//! What the README says is what the tool does.

use std::fs;

use serde_json::Value;

use crate::run;

#[test]
fn the_readme_lists_every_exit_code_with_its_meaning() {
    let readme = include_str!("../../../README.md");
    let rows: Vec<(u8, &str)> = readme
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
            Some((cells.next()?.parse().ok()?, cells.next()?))
        })
        .collect();
    let (_, help, _) = run(&["--help"]);
    let listed = help.lines().filter(|line| {
        let code = line.split_whitespace().next().unwrap_or_default();
        line.starts_with("  ") && code.parse::<u8>().is_ok()
    });
    assert_eq!(
        rows.len(),
        listed.count(),
        "the README's table of exit codes: {rows:?}"
    );
    for (code, meaning) in rows {
        let line = format!("  {code:>3}  {meaning}\n");
        assert!(help.contains(&line), "the help does not say {line:?}");
    }
}

/// Every command of this tool that the README shows, with a value in the place of each placeholder.
fn shown() -> Vec<Vec<String>> {
    shown_in(include_str!("../../../README.md"), "cargo xtask ")
}

/// Every command that a document shows, without what it begins with.
fn shown_in(text: &str, tool: &str) -> Vec<Vec<String>> {
    let spans = text.split('`').skip(1).step_by(2);
    let blocks = text.lines().filter_map(|line| line.strip_prefix("$ "));
    let mut shown: Vec<Vec<String>> = spans
        .chain(blocks)
        .filter_map(|text| text.trim().strip_prefix(tool))
        .map(|rest| {
            let rest = rest.split(" #").next().unwrap_or_default();
            // What is left to the shell.
            let rest = rest.split(" > ").next().unwrap_or_default();
            let clean = rest.replace(['[', ']', '…'], "");
            let value = |word: &str| match word {
                "SERVICE" => "workflowexecution".to_owned(),
                "PROFILE" => "gateway".to_owned(),
                "PART" => "postgres".to_owned(),
                "TOPIC" => "lifecycle".to_owned(),
                "SHELL" => "bash".to_owned(),
                "RUN" | "WHAT" | "DIR" | "FILE" => "name".to_owned(),
                word => word.to_owned(),
            };
            clean.split_whitespace().map(value).collect()
        })
        .collect();
    shown.sort();
    shown.dedup();
    shown
}

#[test]
fn every_command_that_the_readme_shows_is_understood() {
    let shown = shown();
    assert!(shown.len() > 25, "the README shows only {shown:?}");
    all_understood(shown);
}

#[test]
fn every_command_that_the_example_shows_is_understood() {
    let text = include_str!("../../../kind/examples/greeter/README.md");
    let shown = [shown_in(text, "xtask "), shown_in(text, "cargo xtask ")].concat();
    assert!(shown.len() > 6, "the example shows only {shown:?}");
    all_understood(shown);
}

pub(crate) fn all_understood(shown: Vec<Vec<String>>) {
    for words in shown {
        let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
        if args[0] == "gen" {
            // It hands everything after it to a program of its own.
            args.truncate(1);
        }
        // What stands before it is read first: an unknown verb, flag or value is an error all the same.
        args.push("--help");
        let (code, _, stderr) = run(&args);
        assert_eq!(code, 0, "cargo xtask {}: {stderr}", words.join(" "));
    }
}

#[test]
fn what_the_readme_shows_for_looking_around_runs_on_a_machine_where_nothing_is_up() {
    let shown = shown();
    for (command, wanted) in [
        ("doctor", [0, 3]),
        ("status", [0, 0]),
        ("services", [0, 0]),
        ("flakes", [0, 0]),
        ("ci matrix", [0, 0]),
        ("reap", [0, 0]),
        ("diagnose workflowexecution", [3, 3]),
        ("logs workflowexecution", [3, 3]),
        ("test workflowexecution", [3, 3]),
        ("completions bash", [0, 0]),
        ("down workflowexecution", [0, 0]),
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        assert!(
            shown.iter().any(|shown| *shown == words),
            "the README no longer shows {command}"
        );
        let (code, _, stderr) = run(&words);
        assert!(wanted.contains(&code), "{command}: {code} {stderr}");
    }
}

#[test]
fn the_readmes_picture_is_there_and_small() {
    let picture = include_bytes!("../../docs/timeline.png");
    assert!(picture.starts_with(b"\x89PNG"));
    assert!(picture.len() < 150_000, "{} bytes", picture.len());
}

/// What each document shows of a table of services, below its headings.
fn tables() -> Vec<(&'static str, String)> {
    let documents = [
        include_str!("../../../README.md"),
        include_str!("../../../kind/README.md"),
        include_str!("../../../crates/e2e/README.md"),
    ];
    let mut tables = Vec::new();
    for document in documents {
        let mut heading = "";
        let mut block: Option<String> = None;
        for line in document.lines() {
            match &mut block {
                None if line == "```toml" => block = Some(String::new()),
                None if line.starts_with('#') => heading = line,
                None => {}
                Some(_) if line == "```" => tables.extend(block.take().map(|text| (heading, text))),
                Some(text) => text.extend([line, "\n"]),
            }
        }
    }
    tables
}

#[test]
fn every_table_that_the_documents_show_is_read_by_the_tool_and_holds_to_the_schema() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../kind/services.schema.json")).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("services.toml");
    let tables = tables();
    assert!(tables.len() > 10, "{tables:?}");
    for (heading, shown) in tables {
        // Fields alone are those of a service that runs itself.
        let table = if shown.contains("[[") {
            shown
        } else {
            format!(
                "[[service]]\nname = \"widget\"\nprofile = \"gateway\"\nnamespace = \"widget\"\n\
                 components = [\"postgres\", \"datastorage\", \"own\"]\n{shown}"
            )
        };
        let value = toml::from_str::<Value>(&table).expect(heading);
        let wrong = schema.iter_errors(&value).map(|error| error.to_string());
        let wrong: Vec<String> = wrong.collect();
        assert_eq!(wrong, Vec::<String>::new(), "{heading}: {table}");
        fs::write(&file, &table).expect("a table");
        let (code, _, said) = run(&["services", "--services", &file.display().to_string()]);
        assert_eq!(code, 0, "{heading}: {said}\n{table}");
    }
}

#[test]
fn the_table_of_names_has_every_name_that_a_run_makes() {
    let readme = include_str!("../../../kind/README.md");
    let (_, names) = readme.split_once("## Names").expect("the section on names");
    let names = names.split("\n## ").next().unwrap_or_default();
    let source = include_str!("../../../crates/e2e-runner/src/run/check_parts.rs");
    let quoted = source.split("const ALWAYS").nth(1).expect("the names");
    let quoted = quoted.split("];").next().unwrap_or_default();
    let plain = quoted.split('"').skip(1).step_by(2);
    for name in plain.chain([
        e2e_env::RUN,
        e2e_env::SERVICE,
        e2e_env::TARGET,
        e2e_env::TOOL,
        e2e_env::EVIDENCE_DIR,
        e2e_env::PGPASSWORD,
        e2e_env::NAMESPACE,
        e2e_env::KUBECONFIG,
        e2e_env::NODE,
        e2e_env::DATABASE_URL,
        e2e_env::DATASTORAGE_URL,
        e2e_env::DATASTORAGE_REPLICAS,
        e2e_env::DATASTORAGE_TOKEN_FILE,
        e2e_env::DATASTORAGE_UNMIGRATED_URL,
        e2e_env::fake::LISTEN_ADDRESS,
        "port:",
        "image:",
    ]) {
        assert!(names.contains(&format!("`{name}")), "{name} is not in it");
    }
}
