//! `doctor` on a machine with fake docker, kind and kubectl: what would stop a run is named with the line that puts it right.

use std::process::Output;

use snapbox::{assert_data_eq, str};
use testkit::fake_tool::FakeTools;

use crate::xtask;

struct Machine {
    tools: FakeTools,
    state: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let tools = FakeTools::new()
            .tool("docker", include_str!("fake/docker.sh"))
            .tool("kind", include_str!("fake/kind.sh"))
            .tool("kubectl", include_str!("fake/kubectl.sh"))
            .tool("ss", "echo 'LISTEN users:((\"other\",pid=1,fd=3))'");
        let state = tempfile::tempdir().expect("a temporary directory");
        testkit::postgres::installation();
        Self { tools, state }
    }

    fn doctor(&self, args: &[&str], node_image: &str) -> (i32, String) {
        let Output { status, stdout, .. } = xtask(&[&["doctor"], args].concat())
            .env("PATH", self.tools.path())
            .env("FAKE_STATE", self.state.path())
            .env("CARGO_TARGET_DIR", self.state.path().join("target"))
            .env("KIND_NODE_IMAGE", node_image)
            .env("POSTGRES_IMAGE", "missing/postgres:16")
            .output()
            .expect("the tool starts");
        let text = String::from_utf8_lossy(&stdout).into_owned();
        (status.code().unwrap_or(-1), text)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.state.path().join(name), text).expect("the directory is writable");
    }
}

#[test]
fn everything_is_looked_at_and_each_warning_has_its_line() {
    let machine = Machine::new();
    machine.write(
        "info.json",
        r#"{"ServerVersion":"99.0","Driver":"vfs","CgroupVersion":"1"}"#,
    );
    let (code, page) = machine.doctor(&[], "kindest/node:v1.31.0");
    assert_eq!(code, 0, "{page}");
    assert_data_eq!(
        page,
        str![[r#"
ok       build              cargo [..], checkout [..]
ok       docker             99.0
ok       kind               0.99.0
warning  kubectl            v1.34.1, and the node is 1.31: more than one minor version off
                            fix: install kubectl 1.31
warning  storage driver     vfs
                            fix: set "storage-driver": "overlay2" in /etc/docker/daemon.json and restart Docker
warning  cgroup             version 1
                            fix: boot with systemd.unified_cgroup_hierarchy=1; node images before Kubernetes 1.35 still run
ok       node image         kindest/node:v1.31.0 is here
warning  PostgreSQL image   missing/postgres:16 is not here
                            fix: docker pull missing/postgres:16, which the first run does by itself, or name another in POSTGRES_IMAGE
ok       services           built-in rows of kind/services.toml, as the tool was built
[..] memory             [..] available
...
[..] disk, build        [..] GB free at [..]
...
[..] ports              [..] of the table's ports are free[..]
...
ok       earlier runs       nothing left, 0 environments up
ok       disk, reports      [..] MB in [..]
ok       PostgreSQL         PostgreSQL [..]

kind can run, local can run

"#]]
    );
}

#[test]
fn without_docker_only_a_cluster_is_impossible() {
    let machine = Machine::new();
    machine.write("dead", "");
    let (code, page) = machine.doctor(&[], "");
    assert_eq!(code, 0, "{page}");
    assert!(
        page.ends_with("\nkind cannot run, local can run\n"),
        "{page}"
    );
    let (code, page) = machine.doctor(&["--target", "kind"], "");
    assert_eq!(code, 3, "{page}");
    assert!(
        page.contains("PROBLEM  docker             Cannot connect to the Docker daemon\n")
            && page.contains("sudo systemctl start docker"),
        "{page}"
    );
}

#[test]
fn a_program_reads_levels_and_lines() {
    let machine = Machine::new();
    let (code, text) = machine.doctor(&["--format", "json"], "kindest/node:v1.34.0");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &document["exit"]), (0, &0.into()));
    let checks = document["result"]["checks"].as_array().expect("checks");
    let image = checks
        .iter()
        .find(|check| check["name"] == "PostgreSQL image")
        .expect("the image's check");
    assert_eq!(image["level"], "warning");
    assert_eq!(image["target"], "kind");
    assert!(
        image["fix"]
            .as_str()
            .is_some_and(|fix| fix.starts_with("docker pull"))
    );
}

#[test]
fn what_a_killed_run_left_is_named_with_the_verb_that_removes_it() {
    let machine = Machine::new();
    let run = machine.state.path().join("target/e2e/gateway-0000aa");
    std::fs::create_dir_all(&run).expect("a directory");
    let state = r#"{"run":"gateway-0000aa","services":["gateway"],"target":"local","owner":{"pid":1,"started":1},
        "expires":"2000-01-01T00:00:00Z","resources":[],"environments":{}}"#;
    machine.write("target/e2e/gateway-0000aa/state.json", state);
    let (_, page) = machine.doctor(&[], "");
    assert!(
        page.contains("warning  earlier runs       left: gateway-0000aa")
            && page.contains("fix: cargo xtask reap"),
        "{page}"
    );
}

#[test]
fn docker_that_is_elsewhere_or_is_podman_is_refused_by_name_before_anything_is_made() {
    for (file, text, cause) in [
        (
            "endpoint",
            "ssh://me@builder",
            "Docker runs on another machine (builder)",
        ),
        ("info.json", r#"{"host":{}}"#, "`docker` is podman here"),
        (
            "info.json",
            r#"{"ServerVersion":"29.1","CgroupVersion":"1","SecurityOptions":["name=rootless"]}"#,
            "rootless Docker on cgroup v1",
        ),
    ] {
        let machine = Machine::new();
        machine.write(file, text);
        let (code, page) = machine.doctor(&["--target", "kind"], "");
        assert_eq!(code, 3, "{page}");
        assert!(
            page.contains(&format!("PROBLEM  docker             {cause}")),
            "{page}"
        );
        let plan = xtask(&["e2e", "workflowexecution", "--plan"])
            .env("PATH", machine.tools.path())
            .env("FAKE_STATE", machine.state.path())
            .output();
        let plan = String::from_utf8_lossy(&plan.expect("the tool starts").stdout).into_owned();
        assert!(plan.contains(" on local\n"), "{plan}");
        let run = xtask(&["up", "workflowexecution", "--target", "kind"])
            .env("PATH", machine.tools.path())
            .env("FAKE_STATE", machine.state.path())
            .env("CARGO_TARGET_DIR", machine.state.path().join("target"))
            .output()
            .expect("the tool starts");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(3), "{said}");
        assert!(
            said.contains(cause) && said.contains("--target local"),
            "{said}"
        );
        assert!(!machine.state.path().join("node").exists(), "{said}");
    }
}

#[test]
fn docker_elsewhere_is_refused_without_a_word_with_it_and_a_wrong_address_is_told_as_such() {
    let machine = Machine::new();
    machine.write("endpoint", "ssh://me@builder");
    machine.write("dead", "");
    let (code, page) = machine.doctor(&["--target", "kind"], "");
    assert_eq!(code, 3, "{page}");
    assert!(page.contains("another machine (builder)"), "{page}");
    machine.write("endpoint", "tcp://localhost:1");
    let (_, page, _) = crate::output(
        xtask(&["doctor", "--target", "kind"])
            .env("PATH", machine.tools.path())
            .env("FAKE_STATE", machine.state.path())
            .env("DOCKER_HOST", "tcp://localhost:1"),
    );
    assert!(page.contains("fix: correct or unset DOCKER_HOST"), "{page}");
}

#[test]
fn a_checkout_without_cargo_is_a_problem_and_no_run_begins() {
    let state = tempfile::tempdir().expect("a temporary directory");
    let without = |args: &[&str]| {
        crate::output(
            xtask(args)
                .env("CARGO_TARGET_DIR", state.path())
                .env("CARGO", "no-such-cargo"),
        )
    };
    let (code, page, _) = without(&["doctor", "--target", "local"]);
    assert_eq!(code, 3, "{page}");
    assert!(
        page.contains("PROBLEM  build              `no-such-cargo` is required and not on PATH")
            && page.contains("fix: set PATH to one that has cargo")
            && page.ends_with("local cannot run\n"),
        "{page}"
    );
    for verb in ["e2e", "up"] {
        let (code, _, said) = without(&[verb, "gateway", "--target", "local"]);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains("`no-such-cargo` is required"), "{said}");
    }
    assert!(!state.path().join("e2e").exists());
    let (_, told, _) = without(&["self", "version"]);
    assert!(told.contains("a run refuses: `no-such-cargo`"), "{told}");
}

#[test]
fn without_a_checkout_and_a_bundle_no_run_begins() {
    let state = tempfile::tempdir().expect("a temporary directory");
    let place = state.path().join("none");
    std::fs::create_dir(&place).expect("a directory");
    let at = |args: &[&str]| {
        crate::output(
            xtask(args)
                .current_dir(state.path())
                .env("E2E_SOURCE", &place)
                .env("HOME", state.path())
                // It is relative, so it is ignored.
                .env("XDG_STATE_HOME", "relative"),
        )
    };
    let (code, page, _) = at(&["doctor", "--target", "local"]);
    assert!(code == 3 && page.contains("there is no checkout"), "{page}");
    let (code, _, said) = at(&["up", "gateway", "--target", "local"]);
    assert!(code == 3 && said.contains("there is no checkout"), "{said}");
    let kept = std::fs::read_dir(state.path()).expect("it").flatten();
    let kept: Vec<_> = kept.map(|entry| entry.file_name()).collect();
    assert_eq!(kept, ["none"], "{said}");
}

#[test]
fn podman_in_the_place_of_docker_is_named_where_docker_is_missing() {
    let tools = FakeTools::new()
        .tool("podman", "echo podman version 4.3.1")
        .tool("kind", include_str!("fake/kind.sh"));
    let state = tempfile::tempdir().expect("a temporary directory");
    let (code, _, said) = crate::output(
        xtask(&["up", "workflowexecution", "--target", "kind"])
            .env("PATH", tools.bin())
            .env("CARGO_TARGET_DIR", state.path())
            .env("CARGO", env!("CARGO")),
    );
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("`docker` is required and not on PATH")
            && said.contains("podman, which is here"),
        "{said}"
    );
}
