//! Fake tools are found, obey their script and remember their calls.

use std::process::Command;

use testkit::fake_tool::FakeTools;

#[test]
fn a_fake_tool_runs_its_script_and_remembers_its_arguments() {
    let tools = FakeTools::new()
        .tool("kind", r#"[ "$1" = version ] && echo "kind v0.0.0""#)
        .tool("kubectl", "exit 3");
    let run = |name: &str, arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/env");
        command
            .arg(name)
            .args(arguments)
            .env("PATH", tools.path())
            .output()
            .unwrap()
    };
    assert_eq!(run("kind", &["version"]).stdout, b"kind v0.0.0\n");
    assert_eq!(
        run("kubectl", &["get", "pods", "-l", "a=b c", "", "two\nlines"])
            .status
            .code(),
        Some(3)
    );
    let expected = [
        vec!["kind", "version"],
        vec!["kubectl", "get", "pods", "-l", "a=b c", "", "two\nlines"],
    ];
    assert_eq!(tools.calls(), expected);
}

#[test]
fn calls_at_the_same_time_are_all_remembered_whole() {
    let tools = FakeTools::new().tool("docker", "");
    let call = |n| {
        Command::new(tools.bin().join("docker"))
            .arg(format!("call-{n}"))
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..40).map(call).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let (mut calls, mut expected) = (tools.calls(), Vec::new());
    expected.extend((0..40).map(|n| vec!["docker".to_owned(), format!("call-{n}")]));
    calls.sort();
    expected.sort();
    assert_eq!(calls, expected);
}
