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
  "node export") echo exported >"$3" ;;
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
        ("services", "gateway notification"),
        ("table", "test/services.toml"),
        ("node-image", "kindest/node:v1.34.0"),
        ("cache-node", "true"),
        ("kind-version", "v0.30.0"),
        ("kubectl-version", "v1.34.4"),
    ]);
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
            "e2e gateway notification --target kind --services test/services.toml",
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
    job.passes("The tool");
    job.passes("The suites");
    let calls = job.text("calls");
    assert!(calls.starts_with("e2e --all --target local\n"), "{calls}");
    assert!(job.tools.calls().is_empty(), "nothing is downloaded");
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

/// The commands of this tool in a script, with a service in the place of each variable.
fn commands(script: &str) -> Vec<Vec<String>> {
    let ends = ['\n', ';', '|', '&', ')', '>'];
    let found = script.split("xtask ").skip(1).filter_map(|rest| {
        let words = rest.split(ends).next()?.split_whitespace();
        let words = words.map(|word| match word.trim_matches('"') {
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
