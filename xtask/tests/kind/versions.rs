//! Several versions of Kubernetes on real nodes: what a node says of itself counts, and one version that fails keeps none from running.

use std::fs;
use std::process::Command;

use super::docker;

/// The suite sees the version that it runs on.
const TABLE: &str = r#"
[kubernetes]
"MISSING" = "localhost/kubernaut-test:no-such-node"
"RETAGGED" = "localhost/kubernaut-test-node:retagged"
"REAL" = "localhost/kubernaut-test-node:real"

[[service]]
name = "widget"
profile = "gateway"
namespace = "widget"
components = ["postgres", "own"]
ports = {}
suite = { command = ["sh", "-ec", "kubectl get --raw /version | grep vREAL.", "suite"] }
"#;

/// Two more names of the node image, removed whatever happens.
struct Names;

impl Names {
    const ALL: [&str; 2] = [
        "localhost/kubernaut-test-node:retagged",
        "localhost/kubernaut-test-node:real",
    ];

    fn of(image: &str) -> Self {
        for name in Self::ALL {
            docker(&["tag", image, name]);
        }
        Self
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for name in Self::ALL {
            drop(Command::new("docker").args(["image", "rm", name]).output());
        }
    }
}

#[test]
fn a_version_passes_where_the_node_says_it_runs_it_and_the_others_are_red_rows() {
    let named = std::env::var("KIND_NODE_IMAGE").ok();
    // Tests before this one have had kind pull its own.
    let image = named.unwrap_or_else(|| {
        let images = docker(&["image", "ls", "--quiet", "kindest/node"]);
        images.first().expect("a node image").clone()
    });
    let version = docker(&[
        "run",
        "--rm",
        "--entrypoint",
        "cat",
        &image,
        "/kind/version",
    ]);
    let version = version[0].trim_start_matches("v1.").split('.').next();
    let minor: u32 = version
        .and_then(|it| it.parse().ok())
        .expect("a minor version");
    let [missing, retagged, real] = [minor - 2, minor - 1, minor].map(|it| format!("1.{it}"));
    let _names = Names::of(&image);
    let (dir, place) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let table = TABLE
        .replace("MISSING", &missing)
        .replace("RETAGGED", &retagged);
    fs::write(
        dir.path().join("services.toml"),
        table.replace("REAL", &real),
    )
    .expect("a table");
    let versions = format!("{missing},{retagged},{real}");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args([
            "e2e",
            "widget",
            "--target",
            "kind",
            "--kubernetes",
            &versions,
            "--services",
        ])
        .arg(dir.path().join("services.toml"))
        .env("CARGO_TARGET_DIR", place.path())
        .output()
        .expect("the tool starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(3),
        "the first failure decides: {said}"
    );
    let row = |version: &str| {
        let mut rows = said.lines().filter(|line| line.contains("  widget  "));
        let row = rows.find(|line| line.starts_with(&format!("{version} ")));
        row.unwrap_or_else(|| panic!("no row of {version}: {said}"))
            .to_owned()
    };
    assert!(
        row(&missing).contains("no-such-node is not on this host"),
        "{said}"
    );
    let told = format!(
        "Kubernetes {retagged} was asked for, and the API server of localhost/kubernaut-test-node:retagged is v{real}."
    );
    assert!(row(&retagged).contains(&told), "{said}");
    assert!(row(&real).contains("  passed"), "{said}");
    let runs = fs::read_dir(place.path().join("e2e"))
        .expect("runs")
        .flatten();
    let mut runs = runs.map(|run| run.path());
    let all = runs.find(|run| run.to_string_lossy().contains("-kubernetes-"));
    let junit = fs::read_to_string(all.expect("a report of all").join("junit.xml"));
    let junit = junit.expect("a JUnit file");
    for version in [missing, retagged, real] {
        assert!(
            junit.contains(&format!("name=\"stages on Kubernetes {version}\"")),
            "{junit}"
        );
    }
    let left = docker(&[
        "ps",
        "--all",
        "--format",
        "{{.Names}}",
        "--filter",
        "name=e2e-widget",
    ]);
    assert_eq!(left, Vec::<String>::new(), "a node is left");
}
