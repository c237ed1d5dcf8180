//! A wrong command line ends with exit 2 and says what is right.

use snapbox::{assert_data_eq, file, str};

use crate::{output, run, xtask};

#[test]
fn an_unknown_service_is_told_the_names() {
    let (code, _, stderr) = run(&["e2e", "workflows"]);
    assert_eq!(code, 2);
    assert_data_eq!(
        stderr,
        str![[r"
error: no service is named `workflows`
  hint: did you mean `workflowexecution`? the services are: workflowexecution, datastorage, gateway, aianalysis, notification, remediationorchestrator, signalprocessing

"]]
    );
}

#[test]
fn a_service_without_a_suite_says_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let table = dir.path().join("services.toml");
    let entry = "[[service]]\nname = \"widget\"\nprofile = \"gateway\"\nnamespace = \"widget\"\ncomponents = [\"postgres\"]\nports = {}\n";
    std::fs::write(&table, entry).expect("a file");
    let table = table.display().to_string();
    let (code, _, stderr) = run(&["e2e", "widget", "--target", "local", "--services", &table]);
    assert_eq!(code, 2);
    assert_data_eq!(
        stderr,
        str![[r"
error: the service `widget` has no suite yet
  hint: add `suite` to its entry in the table of services, or use `cargo xtask migrate --profile gateway`

"]]
    );
}

#[test]
fn a_mistake_in_a_table_of_ones_own_is_told_with_file_and_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let table = dir.path().join("services.toml");
    let entry = "# ours\n[[service]]\nname = \"Widget\"\nprofile = \"gateway\"\nnamespace = \"widget\"\ncomponents = []\nports = {}\n";
    std::fs::write(&table, entry).expect("a file");
    let (code, _, stderr) = run(&["services", "--services", &table.display().to_string()]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("services.toml, line 2: service `Widget`: name must be lower-case"),
        "{stderr}"
    );
}

#[test]
fn the_services_are_a_matrix_for_continuous_integration() {
    let (code, stdout, _) = run(&["ci", "matrix"]);
    assert_eq!(code, 0);
    let matrix: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    let names: Vec<_> = matrix["include"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry["service"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(names.len(), 7);
    assert_eq!(matrix["include"][0]["profile"], "workflowexecution");
    assert_eq!(matrix["include"][0]["timeout_minutes"], 30);
}

#[test]
fn several_services_share_what_they_can_in_one_plan() {
    let (code, stdout, _) = run(&[
        "e2e",
        "gateway",
        "notification",
        "--target",
        "kind",
        "--plan",
    ]);
    assert_eq!(code, 0);
    assert_data_eq!(stdout, file!["golden/plan-two.txt"]);
}

#[test]
fn the_integration_tiers_ports_are_for_one_service_without_a_cluster() {
    for services in [
        &["gateway", "notification"][..],
        &["gateway", "--target", "kind"],
    ] {
        let (code, _, stderr) = run(&[&["up", "--ports", "integration"], services].concat());
        assert_eq!(code, 2);
        assert!(
            stderr.contains("for one service without a cluster"),
            "{stderr}"
        );
    }
}

#[test]
fn a_server_of_ones_own_is_not_for_kind() {
    let url = "postgres://slm_user@127.0.0.1:1/x";
    let (code, _, stderr) = run(&[
        "e2e",
        "workflowexecution",
        "--target",
        "kind",
        "--postgres-url",
        url,
    ]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("--postgres-url is for the targets local and cluster"),
        "{stderr}"
    );
}

#[test]
fn an_unknown_flag_is_a_usage_error() {
    assert_eq!(run(&["e2e", "workflowexecution", "--kepp", "never"]).0, 2);
}

#[test]
fn an_unknown_tier_is_told_the_names() {
    let (code, _, stderr) = run(&["test", "--require", "example"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("example-local, example-kind"), "{stderr}");
}

#[test]
fn help_lists_the_verbs() {
    let (code, stdout, _) = run(&["--help"]);
    assert_eq!(code, 0);
    assert_data_eq!(stdout, file!["golden/help.txt"]);
}

#[test]
fn every_verb_has_help_and_those_with_flags_show_examples() {
    for verb in ["e2e", "up", "test", "down", "migrate"] {
        let (code, stdout, _) = run(&[verb, "--help"]);
        assert_eq!(code, 0, "{verb}");
        assert!(stdout.contains("Examples:"), "{verb} shows no example");
    }
}

#[test]
fn the_plan_on_kind_is_printed_and_nothing_is_made() {
    let (code, stdout, _) = run(&["e2e", "workflowexecution", "--target", "kind", "--plan"]);
    assert_eq!(code, 0);
    assert_data_eq!(stdout, file!["golden/plan-kind.txt"]);
}

#[test]
fn the_plan_without_docker_is_printed_and_nothing_is_made() {
    let (code, stdout, _) = run(&["e2e", "workflowexecution", "--target", "local", "--plan"]);
    assert_eq!(code, 0);
    assert_data_eq!(stdout, file!["golden/plan-local.txt"]);
}

#[test]
fn the_services_are_listed_with_their_profiles() {
    let (code, stdout, _) = run(&["services"]);
    assert_eq!(code, 0);
    assert_data_eq!(stdout, file!["golden/services.txt"]);
}

#[test]
fn an_empty_variable_is_as_one_that_is_not_set() {
    let empty = |args: &[&str]| {
        let names = [
            "E2E_SERVICES",
            "E2E_PROGRESS",
            "E2E_SOURCE",
            "CARGO",
            "E2E_PREPARED_NODE",
        ];
        let mut command = xtask(args);
        output(command.envs(names.map(|name| (name, ""))))
    };
    let (code, _, said) = empty(&["services"]);
    assert_eq!(code, 0, "{said}");
    let (code, told, said) = empty(&["self", "version"]);
    assert_eq!(code, 0, "{said}");
    assert!(told.contains("a run builds its programs from /"), "{told}");
    let (code, _, said) = empty(&["e2e", "gateway", "--target", "local", "--plan"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn an_unknown_word_for_prepared_nodes_is_refused_with_those_that_there_are() {
    let plan = ["e2e", "gateway", "--target", "local", "--plan"];
    let (code, _, said) = output(xtask(&plan).env("E2E_PREPARED_NODE", "nonsense"));
    assert_eq!(code, 2);
    assert_data_eq!(
        said,
        str![[r"
error: E2E_PREPARED_NODE is `nonsense`, which it cannot be
  hint: set it to `never` or `unbooted`, or unset it

"]]
    );
}

#[test]
fn a_place_that_can_hold_no_archive_of_a_node_is_told_before_anything_is_done() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = dir.path().display().to_string();
    for verb in ["export", "import"] {
        let (code, _, stderr) = run(&["node", verb, &place]);
        assert_eq!(code, 2, "{stderr}");
        let next = format!("hint: name a file in it: {place}/node.tar");
        assert!(stderr.contains("is a directory") && stderr.contains(&next));
        let missing = format!("{place}/missing/node.tar");
        let (code, _, stderr) = run(&["node", verb, &missing]);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("hint: name a file "), "{stderr}");
    }
    assert!(!dir.path().with_added_extension("part").exists());
}
