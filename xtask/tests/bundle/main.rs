//! A release as a team gets it: `dist` makes it, its bundle is unpacked where nothing else is, and runs use it on a PATH on which neither
//! cargo nor a compiler of Rust lies.
//!
//! Not among what a plain `cargo test` runs, for it builds every program in release form: `cargo xtask test` runs it.

mod installed;
mod kind;
mod release;

use std::fs;
use std::process::Command;

use installed::{Installed, Team, output};

/// A table whose suite asks nothing but what every run has.
const WIDGET: &str = "[[service]]\nname = \"widget\"\nprofile = \"gateway\"\nnamespace = \"widget\"\n\
    components = [\"postgres\", \"datastorage\"]\nports = {}\nsuite = { command = [\"true\"] }\n";

#[test]
fn the_suite_of_a_built_in_service_runs_with_the_programs_of_the_bundle() {
    let installed = Installed::new();
    let (code, _, said) = installed.run(&["e2e", "workflowexecution", "--target", "local"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("used as given in the bundle"), "{said}");
    installed.assert_nothing_was_compiled();
}

#[test]
fn the_example_of_a_team_runs_without_docker_from_a_copy_elsewhere() {
    let installed = Installed::new();
    let team = Team::copied();
    let mut command = installed.command(&["e2e", "greeter", "--target", "local"]);
    let (code, _, said) = output(team.enter(&mut command));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("used as given in the bundle"), "{said}");
    installed.assert_nothing_was_compiled();
}

#[test]
fn the_tool_says_what_its_bundle_holds_and_that_runs_use_it() {
    let installed = Installed::new();
    let (code, said, _) = installed.run(&["self", "version", "--format", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let result = &said["result"];
    let programs = result["bundle"]["programs"].as_array().expect("programs");
    assert_eq!(programs.len(), 8, "{said}");
    assert!(
        programs.iter().all(|program| program["intact"] == true),
        "{said}"
    );
    assert_eq!(
        result["programs_from"]["bundle"],
        result["bundle"]["directory"]
    );
    let commit = result["bundle"]["commit"].as_str().expect("a commit");
    let (_, version, _) = installed.run(&["--version"]);
    assert!(version.contains(commit), "{version}");
    let (_, plan, _) = installed.run(&["e2e", "workflowexecution", "--target", "local", "--plan"]);
    assert!(plan.contains("programs: the bundle "), "{plan}");
    let (_, doctor, _) = installed.run(&["doctor", "--target", "local"]);
    assert!(
        doctor.contains("has the programs") && !doctor.contains("cargo"),
        "{doctor}"
    );
}

#[test]
fn within_a_checkout_the_checkout_is_used_unless_the_bundle_is_asked_for() {
    let installed = Installed::new();
    let from = |source: Option<&str>| {
        let mut command = installed.command(&["self", "version", "--format", "json"]);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        // cargo is needed to know where a checkout builds.
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(source) = source {
            command.env("E2E_SOURCE", source);
        }
        let (_, said, _) = output(&mut command);
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        said["result"]["programs_from"].clone()
    };
    assert!(from(None)["checkout"].is_string());
    assert!(from(Some("bundle"))["bundle"].is_string());
}

#[test]
fn what_works_on_a_checkout_says_so_where_there_is_none() {
    let installed = Installed::new();
    for args in [
        &["test"][..],
        &["bench", "migrations"],
        &["gen", "client"],
        &["dist"],
    ] {
        let (code, _, said) = installed.run(args);
        assert_eq!(code, Some(3), "{args:?}: {said}");
        let told = said.contains("works on a checkout") && said.contains("E2E_SOURCE");
        assert!(told, "{args:?}: {said}");
    }
}

#[test]
fn a_tool_without_its_bundle_says_what_it_lacks_before_anything_is_made() {
    let installed = Installed::new();
    let alone = tempfile::tempdir().expect("a directory");
    fs::copy(&installed.tool, alone.path().join("xtask")).expect("a copy");
    fs::write(alone.path().join("services.toml"), WIDGET).expect("a table");
    let mut command = Command::new(alone.path().join("xtask"));
    installed.isolate(&mut command);
    command.args([
        "e2e",
        "widget",
        "--target",
        "local",
        "--services",
        "services.toml",
    ]);
    let (code, _, said) = output(command.current_dir(alone.path()));
    assert_eq!(code, Some(3), "{said}");
    for word in [
        "has no bundle beside it",
        "kubernaut-e2e-",
        "E2E_SOURCE",
        "E2E_DATASTORAGE_BIN",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("cargo"), "{said}");
}

#[test]
fn a_bundle_that_is_not_whole_is_refused_by_the_name_of_what_is_wrong() {
    let installed = Installed::new();
    let broken = tempfile::tempdir().expect("a directory");
    for file in fs::read_dir(installed.dir()).expect("a bundle").flatten() {
        fs::copy(file.path(), broken.path().join(file.file_name())).expect("a copy");
    }
    fs::write(broken.path().join("datastorage"), "cut").expect("a file");
    let run = |args: &[&str]| {
        let mut command = Command::new(broken.path().join("xtask"));
        installed.isolate(&mut command);
        output(command.args(args).current_dir(broken.path()))
    };
    let (code, _, said) = run(&["e2e", "workflowexecution", "--target", "local"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("datastorage has 3 bytes, not ") && said.contains("unpack"),
        "{said}"
    );
    let (code, said, _) = run(&["self", "version"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("NOT what it should be") && said.contains("a run refuses"),
        "{said}"
    );
    // What does not need the programs still runs.
    let (code, _, said) = run(&["down"]);
    assert_eq!(code, Some(0), "{said}");
}
