//! What GitHub runs, run here as GitHub does: the steps of the action with their variables and files, and every command of this tool that
//! a workflow or an example for another system has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use testkit::fake_tool::FakeTools;

use crate::documents::all_understood;

const ACTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.github/actions/e2e");
/// How Go names this machine's processor.
const ARCH: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else {
    "arm64"
};
/// The tool in the bundle: whether the real one understands what it is told, and an answer.
const TOOL: &str = r#"#!/bin/sh
echo "$*" >>"$CALLS"
"$REAL" "$@" --help >/dev/null || exit 2
case "$1 $2" in
  "node cache-key") echo kubernaut-node-0123456789ab ;;
  "node import") test -s "$3" && echo localhost/kubernaut-node:0123456789ab ;;
  "node export") ! test -e "$(dirname "$3")/none" && echo exported >"$3" ;;
  e2e*) echo "runs in $XDG_STATE_HOME with node ${KIND_NODE_IMAGE:-of kind}" >>"$CALLS" ;;
esac
"#;
/// curl that finds what the directory holds.
const CURL: &str = r#"for word; do url=$word; done
while [ "$1" != --output ]; do shift; done
exec cp "$RELEASES/$(basename "$url")" "$2""#;

/// The directory in a bundle for this machine.
fn bundle() -> String {
    let (version, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    format!("kubernaut-e2e-{version}-{arch}-unknown-linux-gnu")
}

#[test]
fn no_artifact_takes_a_kubeconfig_along() {
    let github = Path::new(ACTION).join("../..");
    let files = [
        "actions/e2e/action.yml",
        "workflows/ci.yml",
        "workflows/e2e.yml",
    ];
    let texts = files.map(|file| fs::read_to_string(github.join(file)).expect("a file"));
    let paths = texts.iter().flat_map(|text| text.lines());
    let paths: Vec<&str> = paths.filter(|line| line.contains("/e2e/*/")).collect();
    assert!(paths.len() > 10, "{paths:?}");
    // A run's kubeconfig has no extension.
    for path in paths {
        let (_, last) = path.rsplit_once('/').expect("a path");
        assert!(last.contains('.') && !last.ends_with(".*"), "{path}");
    }
}

fn action() -> Value {
    yaml(&Path::new(ACTION).join("action.yml"))
}

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("a file");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// A job of GitHub, with a release that it can download.
struct Job {
    dir: tempfile::TempDir,
    tools: FakeTools,
    inputs: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
    /// What the job sets besides.
    variables: BTreeMap<String, String>,
}

impl Job {
    fn new(inputs: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let job = Self {
            tools: FakeTools::new().tool("curl", CURL),
            inputs: action()["inputs"]
                .as_object()
                .expect("inputs")
                .iter()
                .filter_map(|(name, input)| {
                    Some((name.clone(), input["default"].as_str()?.to_owned()))
                })
                .chain(
                    inputs
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
                )
                .collect(),
            outputs: BTreeMap::new(),
            variables: BTreeMap::new(),
            dir,
        };
        for part in ["temp", "work", "releases", "made"] {
            fs::create_dir(job.at(part)).expect("a directory");
        }
        for file in ["calls", "path"] {
            fs::write(job.at(file), "").expect("a file");
        }
        let (made, name) = (job.at("made"), format!("{}.tar.gz", bundle()));
        fs::create_dir(made.join(bundle())).expect("a directory");
        fs::write(made.join(bundle()).join("xtask"), TOOL).expect("a file");
        let releases = job.at("releases");
        let script = "set -e; chmod +x $1/xtask; tar -czf \"$2/$1.tar.gz\" $1; cd \"$2\"\n\
            echo a program >kind-linux-$4; echo another >kubectl\n\
            echo \"$(echo of another file | sha256sum | cut -c 1-64)  other.tar.gz\" >SHA256SUMS\n\
            sha256sum \"$3\" >>SHA256SUMS";
        let made = Command::new("sh")
            .args(["-c", script, "sh", &bundle()])
            .arg(&releases)
            .args([&name, ARCH])
            .current_dir(made)
            .status();
        assert!(made.expect("sh").success());
        job
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    fn sha256(&self, name: &str) -> String {
        let output = Command::new("sha256sum")
            .arg(self.at("releases").join(name))
            .output()
            .expect("sha256sum");
        String::from_utf8_lossy(&output.stdout)[..64].to_owned()
    }

    /// A text with the values of its expressions: those that the action uses, and no others.
    fn evaluated(&self, text: &str) -> String {
        let mut parts = text.split("${{");
        let mut done = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (expression, rest) = part.split_once("}}").expect("an end");
            done += &self.value(expression.trim());
            done += rest;
        }
        done
    }

    fn value(&self, expression: &str) -> String {
        if let Some(name) = expression.strip_prefix("inputs.") {
            let value = self.inputs.get(name).expect("an input of the action");
            // The default of one is an expression.
            return self.evaluated(value);
        }
        if let Some(output) = expression.strip_prefix("steps.") {
            let name = output.replace(".outputs.", " ");
            return self.outputs.get(&name).cloned().unwrap_or_default();
        }
        match expression {
            "runner.temp" => self.at("temp").display().to_string(),
            "github.action_ref" => format!("v{}", env!("CARGO_PKG_VERSION")),
            "github.action_repository || github.repository" => "owner/tool".to_owned(),
            "github.server_url" => "https://github.example".to_owned(),
            other => panic!("the action uses `{other}`: teach it to this test"),
        }
    }

    /// Runs a step as GitHub does, and returns how it ended.
    fn step(&mut self, name: &str) -> Output {
        let action = action();
        let steps = action["runs"]["steps"].as_array().expect("steps");
        let step = steps.iter().find(|step| step["name"] == name);
        let step = step.expect("the step");
        let output = self.at("output");
        fs::write(&output, "").expect("a file");
        let added = self.text("path").replace('\n', ":");
        let path = format!("{added}{}", self.tools.path().to_string_lossy());
        let mut command = Command::new("bash");
        command
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c"])
            .arg(step["run"].as_str().expect("a script"))
            .current_dir(self.at("work"))
            .env("PATH", path)
            .env("GITHUB_ACTION_PATH", ACTION)
            .env("GITHUB_WORKSPACE", self.at("work"))
            .env("RUNNER_TEMP", self.at("temp"))
            .env("GITHUB_OUTPUT", &output)
            .env("GITHUB_PATH", self.at("path"))
            .env("GITHUB_ENV", self.at("env"))
            .env("CALLS", self.at("calls"))
            .env("RELEASES", self.at("releases"))
            .env("REAL", env!("CARGO_BIN_EXE_xtask"));
        command.env_remove("CARGO_TARGET_DIR").envs(&self.variables);
        for (name, value) in step["env"].as_object().into_iter().flatten() {
            command.env(name, self.evaluated(value.as_str().expect("text")));
        }
        let ended = command.output().expect("bash starts");
        if let Some(id) = step["id"].as_str() {
            for line in self.text("output").lines() {
                let (name, value) = line.split_once('=').expect("NAME=VALUE");
                self.outputs
                    .insert(format!("{id} {name}"), value.to_owned());
            }
        }
        ended
    }

    fn passes(&mut self, name: &str) {
        let ended = self.step(name);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{name}: {said}");
    }

    fn fails(&mut self, name: &str, code: i32) -> String {
        let ended = self.step(name);
        assert_eq!(ended.status.code(), Some(code), "{name}");
        String::from_utf8_lossy(&ended.stderr).into_owned()
    }
}

#[test]
fn the_action_installs_a_release_runs_the_suites_and_keeps_the_node() {
    let mut job = Job::new(&[
        ("services", "\ngateway \t notification\n"),
        ("table", "test/services.toml"),
        ("node-image", "kindest/node:v1.34.0"),
        ("kubernetes", "1.33,1.34"),
        ("cache-node", "true"),
        ("kind-version", "v0.30.0"),
        ("kubectl-version", "v1.34.4"),
    ]);
    job.passes("The services");
    let kind = format!("kind-linux-{ARCH}");
    for (input, program) in [("kind-sha256", &*kind), ("kubectl-sha256", "kubectl")] {
        let sum = job.sha256(program);
        job.inputs.insert(input.to_owned(), sum);
    }
    job.passes("The tool");
    job.passes("kind and kubectl");
    job.passes("The name of the prepared node");
    let file = job.at("temp/kubernaut-node");
    fs::create_dir(&file).expect("a directory");
    fs::write(file.join("node.tar"), "a node").expect("a file");
    job.passes("Import it");
    assert_eq!(
        job.outputs["node image"],
        "localhost/kubernaut-node:0123456789ab"
    );
    job.passes("The suites");
    job.passes("Export the prepared node");
    job.passes("What a killed run left");
    let state = job.at("temp/kubernaut-e2e/state").display().to_string();
    let node = job.at("temp/kubernaut-node/node.tar").display().to_string();
    assert_eq!(
        job.text("calls").lines().collect::<Vec<_>>(),
        [
            "node cache-key gateway notification --services test/services.toml",
            &format!("node import {node} gateway notification --services test/services.toml"),
            "e2e gateway notification --target kind --services test/services.toml --kubernetes 1.33,1.34",
            &format!("runs in {state} with node kindest/node:v1.34.0"),
            &format!("node export {node}"),
            "reap",
        ]
    );
    assert_eq!(
        job.outputs["tool target"],
        format!("{state}/kubernaut-e2e"),
        "where the tool keeps its runs"
    );
    let path = job.text("path");
    assert!(
        path.contains(&bundle()) && path.contains("kubernaut-tools"),
        "{path}"
    );
    let urls: Vec<String> = job.tools.calls().into_iter().flatten().collect();
    for url in [
        &format!(
            "https://github.example/owner/tool/releases/download/v{}/{}.tar.gz",
            env!("CARGO_PKG_VERSION"),
            bundle()
        ),
        &format!("https://github.com/kubernetes-sigs/kind/releases/download/v0.30.0/{kind}"),
        &format!("https://dl.k8s.io/release/v1.34.4/bin/linux/{ARCH}/kubectl"),
    ] {
        assert!(urls.contains(url), "{url}: {urls:?}");
    }
}

#[test]
fn a_cache_that_cannot_be_imported_fails_no_suite() {
    let mut job = Job::new(&[("services", "gateway"), ("cache-node", "true")]);
    job.passes("The services");
    job.passes("The tool");
    job.passes("The name of the prepared node");
    let file = job.at("temp/kubernaut-node");
    fs::create_dir(&file).expect("a directory");
    fs::write(file.join("node.tar"), "").expect("a file");
    job.passes("Import it");
    assert_eq!(job.outputs["node image"], "");
    assert!(!file.join("node.tar").exists(), "it takes gigabytes");
}

#[test]
fn a_run_that_prepared_no_node_is_no_failure() {
    let mut job = Job::new(&[("services", "gateway"), ("cache-node", "true")]);
    job.passes("The tool");
    let directory = job.at("temp/kubernaut-node");
    fs::create_dir(&directory).expect("a directory");
    fs::write(directory.join("none"), "").expect("a file");
    job.passes("Export the prepared node");
    assert!(!job.outputs.contains_key("export exported"));
    fs::remove_file(directory.join("none")).expect("a file");
    job.passes("Export the prepared node");
    assert_eq!(job.outputs["export exported"], "true");
}

#[test]
fn services_on_several_lines_are_all_run_and_named() {
    let services = "gateway\nnotification\t  workflowexecution\n";
    let mut job = Job::new(&[("services", services), ("target", "local")]);
    job.passes("The services");
    job.passes("The tool");
    job.passes("The suites");
    let calls = job.text("calls");
    let all = "e2e gateway notification workflowexecution --target local\n";
    assert!(calls.starts_with(all), "{calls}");
    // Whatever uses them, such as the artifact's name, takes what the first step makes of them.
    let action = fs::read_to_string(Path::new(ACTION).join("action.yml")).expect("a file");
    assert_eq!(action.matches("inputs.services").count(), 1, "{action}");
}

#[test]
fn nothing_that_is_not_what_its_checksum_says_comes_on_the_path() {
    let mut job = Job::new(&[("services", "gateway")]);
    let said = job.fails("kind and kubectl", 3);
    assert!(said.contains("has another SHA-256"), "{said}");

    let archive = job.at("releases").join(format!("{}.tar.gz", bundle()));
    let mut bytes = fs::read(&archive).expect("the bundle");
    bytes.push(0);
    fs::write(&archive, bytes).expect("a file");
    let said = job.fails("The tool", 3);
    assert!(said.contains("is not what its SHA-256 says"), "{said}");

    // A list of checksums that does not name it is none.
    fs::write(job.at("releases/SHA256SUMS"), "").expect("a file");
    job.fails("The tool", 3);
    assert_eq!(job.text("path"), "");

    let mut job = Job::new(&[("services", "gateway"), ("kind-version", "v0.31.0")]);
    let said = job.fails("kind and kubectl", 2);
    assert!(said.contains("kind-sha256"), "{said}");
    let mut job = Job::new(&[("services", "gateway"), ("version", "main")]);
    let said = job.fails("The tool", 2);
    assert!(said.contains("no version of a release"), "{said}");
}

#[test]
fn a_bundle_that_is_there_is_taken_as_it_is() {
    let mut job = Job::new(&[("services", "--all"), ("target", "local")]);
    let made = job.at("releases").display().to_string();
    job.inputs.insert("bundle".to_owned(), made);
    job.passes("The services");
    job.passes("The tool");
    job.passes("The suites");
    let calls = job.text("calls");
    assert!(calls.starts_with("e2e --all --target local\n"), "{calls}");
    assert!(job.tools.calls().is_empty(), "nothing is downloaded");
}

#[test]
fn a_bundle_that_is_there_is_checked_against_the_checksum_that_is_given() {
    let mut job = Job::new(&[("services", "gateway")]);
    let name = format!("{}.tar.gz", bundle());
    let sum = job.sha256(&name);
    for path in [job.at("releases"), job.at("releases").join(&name)] {
        let path = path.display().to_string();
        job.inputs.insert("bundle".to_owned(), path);
        job.inputs.insert("sha256".to_owned(), "0".repeat(64));
        let said = job.fails("The tool", 3);
        assert!(said.contains("is not what its SHA-256 says"), "{said}");
        assert_eq!(job.text("path"), "");
    }
    job.inputs.insert("sha256".to_owned(), sum.to_uppercase());
    job.passes("The tool");
}

#[test]
fn a_second_bundle_of_a_job_comes_before_the_first() {
    let mut job = Job::new(&[("services", "gateway")]);
    job.passes("The tool");
    let (first, second) = (bundle(), bundle().replacen("-e2e-", "-e2e-1", 1));
    let script = "cd \"$1\"; cp -r \"$2\" \"$3\"; tar -czf \"$3.tar.gz\" \"$3\"";
    let made = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(job.at("made"))
        .args([&first, &second])
        .status();
    assert!(made.expect("sh").success());
    // As tar would take for a machine's name.
    let odd = job.at("a:b.tar.gz");
    fs::rename(job.at("made").join(format!("{second}.tar.gz")), &odd).expect("a file");
    job.inputs
        .insert("bundle".to_owned(), odd.display().to_string());
    job.passes("The tool");
    let path = job.text("path");
    let last = path.lines().last().expect("two directories");
    assert!(last.ends_with(&second), "{path}");
}

#[test]
fn a_bundle_that_is_none_is_told_in_a_line_with_what_to_do() {
    let mut job = Job::new(&[("services", "gateway")]);
    fs::create_dir(job.at("empty")).expect("a directory");
    let whole = job.at("releases").join(format!("{}.tar.gz", bundle()));
    let bytes = fs::read(&whole).expect("the bundle");
    fs::write(job.at("cut.tar.gz"), &bytes[..bytes.len() / 2]).expect("a file");
    let made = Command::new("tar")
        .arg("-czf")
        .args([job.at("other.tar.gz"), job.at("calls")])
        .output();
    assert!(made.expect("tar").status.success());
    for (bundle, code, why, next) in [
        ("missing.tar.gz", 2, "is not there", "set `bundle`"),
        ("empty", 2, "holds 0 bundles", "set `bundle`"),
        ("cut.tar.gz", 3, "is no whole bundle", "build it again"),
        ("other.tar.gz", 3, "holds no directory", "set `bundle`"),
    ] {
        let path = job.at(bundle).display().to_string();
        job.inputs.insert("bundle".to_owned(), path.clone());
        let said = job.fails("The tool", code);
        assert!(
            said.contains(&path) && said.contains(why) && said.contains(next),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let mut job = Job::new(&[("services", "gateway"), ("version", "9.9.9")]);
    let said = job.fails("The tool", 3);
    let url = "https://github.example/owner/tool/releases/download/v9.9.9/kubernaut-e2e-9.9.9";
    assert!(
        said.contains(url) && said.contains("set `version`"),
        "{said}"
    );
}

#[test]
fn the_tool_is_built_from_the_checkout_wherever_cargo_builds() {
    let source = [("services", "gateway"), ("version", "source")];
    let mut job = Job::new(&source);
    let said = job.fails("The tool", 2);
    assert!(said.contains("is no checkout"), "{said}");

    job.tools = FakeTools::new().tool("rustup", "exit 0").tool(
        "cargo",
        r#"mkdir -p "${CARGO_TARGET_DIR:-target}/debug"
        cp "$RELEASES/../made/"*/xtask "${CARGO_TARGET_DIR:-target}/debug/""#,
    );
    let manifest = "[workspace.package]\nrust-version = \"1.95\"\n";
    fs::write(job.at("work/Cargo.toml"), manifest).expect("a file");
    for (set, built) in [(None, "work/target"), (Some("built"), "work/built")] {
        job.variables = set
            .map(|set| ("CARGO_TARGET_DIR".to_owned(), set.to_owned()))
            .into_iter()
            .collect();
        job.passes("The tool");
        let built = fs::canonicalize(job.at(built)).expect("a directory");
        assert_eq!(job.outputs["tool target"], built.display().to_string());
        let linked = fs::canonicalize(job.at("temp/kubernaut-e2e/bin/xtask"));
        assert_eq!(linked.expect("a program"), built.join("debug/xtask"));
    }

    let mut job = Job::new(&source);
    fs::write(job.at("work/Cargo.toml"), manifest).expect("a file");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let without = std::env::split_paths(&path).filter(|bin| !bin.join("rustup").exists());
    let without = std::env::join_paths(without).expect("a PATH");
    let without = without.to_string_lossy().into_owned();
    job.variables = BTreeMap::from([("PATH".to_owned(), without)]);
    let said = job.fails("The tool", 3);
    assert!(said.contains("rustup, which is not on the PATH"), "{said}");
}

/// Every script of a step, wherever it is in a document.
fn scripts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match (&**key, value) {
                    ("run", Value::String(script)) => found.push(script.clone()),
                    ("script" | "before_script" | "after_script", Value::Array(lines)) => {
                        let lines = lines.iter().filter_map(Value::as_str);
                        found.push(lines.collect::<Vec<_>>().join("\n"));
                    }
                    _ => scripts(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| scripts(value, found)),
        _ => {}
    }
}

/// The commands of this tool in a script, with a service in the place of each variable but a number.
fn commands(script: &str) -> Vec<Vec<String>> {
    let ends = ['\n', ';', '|', '&', ')', '>'];
    let found = script.split("xtask ").skip(1).filter_map(|rest| {
        let words = rest.split(ends).next()?.split_whitespace();
        let words = words.map(|word| match word.trim_matches('"') {
            "$SHARDS" => "3".to_owned(),
            word if word.contains('$') => "workflowexecution".to_owned(),
            word => word.to_owned(),
        });
        Some(words.collect::<Vec<_>>()).filter(|words| !words.is_empty())
    });
    found.collect()
}

#[test]
fn every_command_of_the_workflows_and_of_the_example_for_gitlab_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (file, at_least) in [
        (".github/workflows/bench.yml", 1),
        (".github/workflows/ci.yml", 1),
        (".github/workflows/e2e.yml", 2),
        ("kind/examples/gitlab-ci.yml", 3),
    ] {
        let mut found = Vec::new();
        scripts(&yaml(&root.join(file)), &mut found);
        let shown: Vec<_> = found.iter().flat_map(|script| commands(script)).collect();
        assert!(shown.len() >= at_least, "{file}: {shown:?}");
        all_understood(shown);
    }
}

#[test]
fn the_example_for_gitlab_installs_what_its_local_parts_start() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kind/examples");
    let run = fs::read_to_string(root.join("greeter/valkey/run.sh")).expect("a file");
    let server = "redis-server";
    assert!(run.contains(server), "{run}");
    let mut found = Vec::new();
    scripts(&yaml(&root.join("gitlab-ci.yml"))["e2e-local"], &mut found);
    let installs = |script: &String| script.contains("apt-get install") && script.contains(server);
    assert!(found.iter().any(installs), "{found:?}");
}

#[test]
fn every_script_of_this_repository_is_linted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tiers = fs::read_to_string(root.join("xtask/src/commands/tiers.rs")).expect("a file");
    let mut left = [".ci", ".github", "kind", "crates", "migrations", "xtask"]
        .map(|directory| root.join(directory))
        .to_vec();
    let mut found = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            left.extend(entries.flatten().map(|entry| entry.path()));
            continue;
        }
        let text = fs::read(&path).unwrap_or_default();
        let first = text.split(|byte| *byte == b'\n').next();
        let first = String::from_utf8_lossy(first.unwrap_or_default());
        if first.starts_with("#!") && first.ends_with("sh") {
            let path = path.strip_prefix(&root).expect("within");
            let name = format!("\"{}\"", path.display());
            assert!(tiers.contains(&name), "shellcheck is not told of {name}");
            found += 1;
        }
    }
    assert!(found >= 7, "{found}");
}

#[test]
fn every_action_is_pinned_by_a_commit_with_its_version_beside_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github");
    let mut files = vec![root.join("actions/e2e/action.yml")];
    let workflows = fs::read_dir(root.join("workflows")).expect("a directory");
    files.extend(workflows.flatten().map(|entry| entry.path()));
    for file in files {
        let text = fs::read_to_string(&file).expect("a file");
        for line in text.lines().filter(|line| line.contains("uses: ")) {
            let (_, used) = line.split_once("uses: ").expect("found before");
            if used.starts_with("./") {
                continue;
            }
            let (_, pin) = used.split_once('@').expect("a version");
            let (commit, version) = pin.split_once(" # v").unwrap_or_default();
            assert!(
                commit.len() == 40 && !version.is_empty(),
                "{}: {used}",
                file.display()
            );
        }
    }
}
