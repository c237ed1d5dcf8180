//! Imports between the modules of each crate: no circle, and none against the order that the crate's root file writes down.

mod graph;
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use graph::Graph;

/// Crates that still have circles. The test fails for one that has none any more, so that the list only gets shorter.
const WITH_CIRCLES: [&str; 0] = [];

/// Crates whose root file does not say yet in which order its modules may import each other.
const WITHOUT_ORDER: [&str; 0] = [];

/// A library or a program of the workspace.
struct Target {
    package: String,
    root: PathBuf,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn targets() -> Vec<Target> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = [
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ];
    let output = Command::new(cargo)
        .args(arguments)
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut targets = Vec::new();
    for package in list(&metadata["packages"]) {
        for target in list(&package["targets"]) {
            let kinds: Vec<_> = list(&target["kind"]).iter().map(text).collect();
            if kinds.iter().any(|kind| kind == "lib" || kind == "bin") {
                targets.push(Target {
                    package: text(&package["name"]),
                    root: PathBuf::from(text(&target["src_path"])),
                });
            }
        }
    }
    assert!(targets.len() > 10, "{} targets", targets.len());
    targets
}

fn graph(root: &Path) -> Graph {
    Graph::of(source::read(root, &workspace()))
}

/// Compares the crates that have a fault with those that are known to have it.
fn compare(known: &[&str], faults: impl Fn(&Graph) -> Vec<String>) {
    let mut wrong = Vec::new();
    let mut with_it = BTreeSet::new();
    for Target { package, root } in targets() {
        let found = faults(&graph(&root));
        if !found.is_empty() {
            if !known.contains(&package.as_str()) {
                wrong.push(format!("{package}:\n{}", found.join("\n")));
            }
            with_it.insert(package);
        }
    }
    for package in known {
        if !with_it.contains(*package) {
            wrong.push(format!(
                "{package} has nothing of this any more: take it off the list in {}",
                file!()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn no_crate_has_a_circle_of_modules() {
    compare(&WITH_CIRCLES, Graph::circles);
}

#[test]
fn no_module_imports_against_the_order_of_its_crate() {
    for Target { package, root } in targets() {
        let against = graph(&root).against_the_order();
        assert!(against.is_empty(), "{package}:\n{}", against.join("\n"));
    }
}

#[test]
fn each_crate_of_several_modules_writes_their_order_down() {
    compare(&WITHOUT_ORDER, |graph| {
        graph.order_is_missing().into_iter().collect()
    });
}

#[test]
fn no_target_of_a_run_sees_another_and_no_tool_sees_a_run() {
    let graph = graph(&workspace().join("crates/e2e-runner/src/lib.rs"));
    for (one, other) in [
        ("run::kind", "run::local"),
        ("run::local", "run::kind"),
        ("tools", "run"),
    ] {
        let imports = graph.between(one, other);
        assert!(imports.is_empty(), "{}", imports.join("\n"));
    }
    assert!(!graph.between("run", "tools").is_empty());
}

fn fixture(name: &str) -> Graph {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/modules/fixtures");
    Graph::of(source::read(&dir.join(name).join("lib.rs"), &dir))
}

#[test]
fn a_circle_is_found_with_file_and_line_of_each_import() {
    assert_eq!(
        fixture("circle").circles(),
        ["3 modules in a circle: one, three, two\n  \
          circle/one.rs:6: one imports two\n  \
          circle/three.rs:5: three imports one\n  \
          circle/two.rs:5: two imports three"]
    );
}

#[test]
fn an_import_against_the_order_is_found_with_file_and_line() {
    let graph = fixture("order");
    assert_eq!(graph.circles(), Vec::<String>::new());
    assert_eq!(
        graph.against_the_order(),
        [
            "order/below.rs:4: below imports above, which comes before it in the order of order/lib.rs",
            "order/lib.rs: the order leaves out `forgotten`",
            "order/lib.rs: the order names `gone`, which is no module",
            "order/parts/last.rs:2: parts::last imports parts::first, which comes before it in the order of order/parts/mod.rs",
        ]
    );
}
