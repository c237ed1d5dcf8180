//! What a run as a guest is refused: each in one line of cause, with a next move.

use std::fs;

use crate::guests::{machine, said, widget};
use crate::place::{PLACE, write_private};

#[test]
fn a_context_that_is_not_allowed_and_a_user_without_rights_are_told_before_anything_is_made() {
    let machine = machine(1);
    let elsewhere = [
        "e2e",
        "widget",
        "--target",
        "cluster",
        "--context",
        "production",
    ];
    let mut command = PLACE.tool("maker", machine.path(), &elsewhere);
    command
        .arg("--services")
        .arg(machine.path().join("services.toml"));
    let output = command.output().expect("the tool starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("may not use the context `production`"),
        "{}",
        said(&output)
    );
    let output = widget("nobody", machine.path(), &["e2e", "widget"]).output();
    let output = output.expect("the tool starts");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("namespaces"), "{}", said(&output));
    assert_eq!(PLACE.of_runs(), Vec::<String>::new());
}

#[test]
fn a_registry_that_refuses_is_told_before_anything_is_made() {
    let machine = machine(1);
    let docker = machine.path().join("docker");
    fs::create_dir_all(&docker).expect("a directory");
    write_private(&docker.join("config.json"), "{}");
    let mut command = widget("maker", machine.path(), &["e2e", "widget"]);
    let output = command
        .env("DOCKER_CONFIG", &docker)
        .output()
        .expect("the tool starts");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let host = PLACE.registry.split('/').next().expect("a host");
    assert!(
        said(&output).contains(host) && said(&output).contains("login"),
        "{}",
        said(&output)
    );
    assert_eq!(PLACE.of_runs(), Vec::<String>::new());
}

#[test]
fn a_quota_that_is_full_is_waited_for_and_told() {
    let machine = machine(1);
    PLACE.apply(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: few, namespace: team-b}\nspec: {hard: {pods: \"1\"}}\n",
    );
    let config = machine.path().join("config/kubernaut-e2e/config.toml");
    let mut command = widget(
        "tenant",
        machine.path(),
        &["e2e", "widget", "--namespace", "team-b"],
    );
    let text = fs::read_to_string(&config).expect("a file");
    write_private(&config, &format!("{text}wait_for_room_seconds = 15\n"));
    let output = command.output().expect("the tool starts");
    PLACE.kubectl(&["delete", "resourcequota", "few", "--namespace", "team-b"]);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(
        said(&output).contains("waits for room") && said(&output).contains("exceeded quota: few"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_namespace_that_hangs_is_left_behind_by_name_and_goes_once_it_can() {
    let machine = machine(1);
    let up = widget("maker", machine.path(), &["up", "widget"]).output();
    let up = up.expect("the tool starts");
    assert!(up.status.success(), "{}", said(&up));
    let namespaces = PLACE.of_runs();
    let name = namespaces[0].trim_start_matches("namespace/");
    PLACE.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: held, namespace: {name}, finalizers: [example.io/hold]}}\n"
    ));
    let verb = |words: &[&str]| {
        let mut command = PLACE.tool("maker", machine.path(), words);
        let command = command.env("CARGO_TARGET_DIR", machine.path());
        command.output().expect("the tool starts")
    };
    let down = verb(&["down", "widget"]);
    assert_eq!(down.status.code(), Some(7), "{}", said(&down));
    for told in [name, "configmaps/held", "example.io/hold", "reap"] {
        assert!(said(&down).contains(told), "{told}: {}", said(&down));
    }
    let free = r#"{"metadata": {"finalizers": null}}"#;
    PLACE.kubectl(&[
        "patch",
        "configmap",
        "held",
        "--namespace",
        name,
        "--type",
        "merge",
        "--patch",
        free,
    ]);
    let reap = verb(&["reap"]);
    assert!(reap.status.success(), "{}", said(&reap));
    assert_eq!(PLACE.of_runs(), Vec::<String>::new());
}
