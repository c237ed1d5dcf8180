//! Runs as guests: green, in the order and within the limits of a guest, beside each other, and gone afterwards.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::place::PLACE;

/// A service of a team whose suite is a command: it asks the Data Storage and the database that it is given.
const TABLE: &str = r#"
[[service]]
name = "widget"
profile = "gateway"
namespace = "widget"
components = ["postgres", "datastorage", "own"]
ports = {}
suite = { command = ["sh", "-ec", '''
  for _ in $(seq ${TIMES}); do curl --silent --fail --show-error "$DATASTORAGE_URL/health/ready"; sleep 0.1; done
  kubectl --namespace "$E2E_NAMESPACE" get pods'''] }
"#;

/// A machine with its own runs: a directory, and the programs that are built once for all.
pub(crate) fn machine(times: u32) -> tempfile::TempDir {
    let machine = tempfile::tempdir().expect("a directory");
    let text = TABLE.replace("${TIMES}", &times.to_string());
    fs::write(machine.path().join("services.toml"), text).expect("a table");
    machine
}

/// A verb about the widget of a machine, as a user.
pub(crate) fn widget(user: &str, machine: &Path, args: &[&str]) -> Command {
    let mut command = PLACE.on_cluster(user, machine, args);
    command
        .arg("--services")
        .arg(machine.join("services.toml"))
        .env("CARGO_TARGET_DIR", machine);
    PLACE.with_programs(&mut command);
    command
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every container of every pod of a namespace, with its pod.
fn containers(namespace: &str) -> Vec<(Value, Value)> {
    let pods = PLACE.kubectl(&["get", "pods", "--namespace", namespace, "--output", "json"]);
    let pods: Value = serde_json::from_str(&pods).expect("a list");
    let mut all = Vec::new();
    for pod in pods["items"].as_array().expect("pods") {
        for kind in ["containers", "initContainers"] {
            for container in pod["spec"][kind].as_array().into_iter().flatten() {
                all.push((pod.clone(), container.clone()));
            }
        }
    }
    all
}

#[test]
fn a_built_in_suite_runs_as_a_guest_is_used_again_and_leaves_nothing() {
    let machine = tempfile::tempdir().expect("a directory");
    let e2e = |more: &[&str]| {
        let words = [&["e2e", "workflowexecution"], more].concat();
        let began = Instant::now();
        let mut command = PLACE.on_cluster("maker", machine.path(), &words);
        PLACE.with_programs(&mut command);
        let output = command.output().expect("the tool starts");
        let took = began.elapsed();
        assert!(output.status.success(), "{}", said(&output));
        eprintln!("{more:?}: {took:.1?}");
        said(&output)
    };
    e2e(&["--fresh", "--keep", "always"]);
    let namespaces = PLACE.of_runs();
    assert_eq!(namespaces.len(), 1, "{namespaces:?}");
    let name = namespaces[0].trim_start_matches("namespace/");
    let namespace = PLACE.kubectl(&["get", "namespace", name, "--output", "json"]);
    let namespace: Value = serde_json::from_str(&namespace).expect("an object");
    let labels = &namespace["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    for label in ["run", "owner", "expires"] {
        let label = format!("kubernaut.io/e2e-{label}");
        assert!(labels[&label].is_string(), "{label}: {labels}");
    }
    let containers = containers(name);
    assert!(containers.len() >= 4, "{containers:?}");
    for (pod, container) in containers {
        let what = format!("{}/{}", pod["metadata"]["name"], container["name"]);
        for kind in ["requests", "limits"] {
            for resource in ["cpu", "memory"] {
                let value = &container["resources"][kind][resource];
                assert!(value.is_string(), "{what} has no {kind} of {resource}");
            }
        }
        let image = container["image"].as_str().expect("an image");
        let pushed = image.starts_with(&PLACE.registry) && image.contains("@sha256:");
        assert!(pushed || container["name"] == "postgres", "{what}: {image}");
    }
    let hot = e2e(&[]);
    assert!(hot.contains("is used again"), "{hot}");
    assert_eq!(PLACE.of_runs(), Vec::<String>::new());
}

#[test]
fn runs_of_two_users_at_once_do_not_meet_and_killed_ones_are_reaped() {
    let machines: Vec<_> = (0..4).map(|_| machine(20)).collect();
    let mut runs = Vec::new();
    for (number, machine) in machines.iter().enumerate() {
        let words: &[&str] = match number {
            3 => &["e2e", "widget", "--namespace", "team-b"],
            _ => &["e2e", "widget"],
        };
        let user = if number == 3 { "tenant" } else { "maker" };
        let log = fs::File::create(machine.path().join("log")).expect("a log");
        let mut run = widget(user, machine.path(), words);
        runs.push(
            run.stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("the tool starts"),
        );
    }
    let log =
        |number: usize| fs::read_to_string(machines[number].path().join("log")).expect("a log");
    // One is killed while it sets up.
    let began = Instant::now();
    while !log(0).contains("… wait for PostgreSQL") {
        assert!(began.elapsed() < Duration::from_mins(5), "{}", log(0));
        std::thread::sleep(Duration::from_millis(50));
    }
    runs[0].kill().expect("it runs");
    for (number, run) in runs.iter_mut().enumerate() {
        let status = run.wait().expect("a child");
        assert!(number == 0 || status.success(), "{number}: {}", log(number));
    }
    let left = PLACE.of_runs();
    assert_eq!(left.len(), 1, "the killed one's: {left:?}");
    let in_given = [
        "get",
        "all,secrets,configmaps",
        "--namespace",
        "team-b",
        "--output",
        "name",
    ];
    let in_given = PLACE.kubectl(&in_given);
    let known = |line: &str| line.is_empty() || line == "configmap/kube-root-ca.crt";
    assert!(in_given.lines().all(known), "{in_given}");
    // Before its time is over nobody removes it.
    let reap = || {
        let words = ["reap", "--context", "others"];
        let output = PLACE.tool("maker", machines[1].path(), &words).output();
        output.expect("the tool starts")
    };
    assert!(reap().status.success());
    assert_eq!(PLACE.of_runs(), left);
    let others = ["create", "namespace", "of-somebody"];
    PLACE.kubectl(&others);
    let name = left[0].trim_start_matches("namespace/");
    PLACE.kubectl(&[
        "label",
        "--overwrite",
        "namespace",
        name,
        "kubernaut.io/e2e-expires=1",
    ]);
    let reaped = reap();
    assert!(reaped.status.success(), "{}", said(&reaped));
    assert!(
        said(&reaped).contains(&format!("removed namespace {name}")),
        "{}",
        said(&reaped)
    );
    assert_eq!(PLACE.of_runs(), Vec::<String>::new());
    PLACE.kubectl(&["get", "namespace", "of-somebody"]);
    PLACE.kubectl(&["delete", "namespace", "of-somebody"]);
}

/// A suite that runs in the cluster: in an image of this machine's shell, which is pushed.
const INSIDE: &str = r#"
[[service]]
name = "widget"
profile = "gateway"
namespace = "widget"
components = ["postgres", "own"]
ports = {}
images = [{ name = "localhost/team/suite:e2e", build = { entrypoint = ["/bin/sh"], files = { "/bin/sh" = "/bin/dash", "/lib64/ld-linux-x86-64.so.2" = "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6" = "/lib/x86_64-linux-gnu/libc.so.6" } } }]
suite = { in = "job", image = "localhost/team/suite:e2e", junit = "*.xml", command = ["/bin/sh", "-ec", '''
  echo "asks $DATABASE_URL with $PGPASSWORD"
  echo "<testsuite><testcase name='asks'/></testsuite>" > "$E2E_EVIDENCE_DIR/inside.xml"'''] }
"#;

#[test]
fn a_suite_runs_in_the_cluster_from_an_image_that_was_pushed_and_its_files_are_fetched() {
    let machine = machine(1);
    fs::write(machine.path().join("services.toml"), INSIDE).expect("a table");
    let output = widget("maker", machine.path(), &["e2e", "widget"]).output();
    let output = output.expect("the tool starts");
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("1 passed"), "{}", said(&output));
    let runs = fs::read_dir(machine.path().join("e2e")).expect("runs");
    let mut runs = runs.flatten().map(|run| run.path());
    let run = runs
        .find(|run| run.join("suite.log").exists())
        .expect("the run");
    let log = fs::read_to_string(run.join("suite.log")).expect("a log");
    let id = run
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let digits = id.rsplit('-').next().expect("digits");
    let asked = format!(
        "asks postgres://slm_user@postgres.widget-{digits}.svc:5432/action_history with ***"
    );
    assert!(log.contains(&asked), "{log}");
    assert!(run.join("suite-results/inside.xml").exists());
    assert!(
        !run.join("kubeconfig").exists(),
        "it opens somebody's cluster"
    );
    assert_eq!(PLACE.of_runs(), Vec::<String>::new());
}

/// A service with a definition of custom resources and a binding of a role, which are of the whole cluster.
const WIDE: &str = r#"
[[service]]
name = "widget"
profile = "gateway"
namespace = "widget"
components = ["postgres", "own"]
ports = {}
cluster_wide = true
manifests = ["wide.yaml"]
"#;

const MANIFESTS: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.io}
spec:
  group: example.io
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: widget}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: default, namespace: widget}]
";

#[test]
fn what_is_of_the_whole_cluster_goes_with_the_last_run_that_uses_it_and_what_was_there_stays() {
    let machines = [machine(1), machine(1)];
    let verb = |number: usize, words: &[&str]| {
        let output = widget("boss", machines[number].path(), words).output();
        let output = output.expect("the tool starts");
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        said(&output)
    };
    let down = |number: usize| {
        let mut down = PLACE.tool("boss", machines[number].path(), &["down", "widget"]);
        let down = down
            .env("CARGO_TARGET_DIR", machines[number].path())
            .output();
        let down = down.expect("the tool starts");
        assert!(down.status.success(), "{}", said(&down));
    };
    let bindings = || {
        let get = [
            "get",
            "clusterrolebindings",
            "--selector",
            "kubernaut.io/e2e-run",
            "--output",
            "name",
        ];
        PLACE.kubectl(&get).lines().count()
    };
    let definition = [
        "get",
        "crd",
        "widgets.example.io",
        "--ignore-not-found",
        "--output",
        "name",
    ];
    for machine in &machines {
        fs::write(machine.path().join("services.toml"), WIDE).expect("a table");
        fs::write(machine.path().join("wide.yaml"), MANIFESTS).expect("manifests");
    }
    verb(0, &["up", "widget"]);
    verb(1, &["up", "widget"]);
    assert_eq!(bindings(), 2, "each names its own namespace");
    down(1);
    assert_eq!(bindings(), 1);
    assert_ne!(PLACE.kubectl(&definition), "", "the other run uses it");
    down(0);
    assert_eq!((bindings(), PLACE.kubectl(&definition)), (0, String::new()));
    // Of somebody else.
    PLACE.apply(MANIFESTS.split("---").next().expect("a definition"));
    let told = verb(0, &["up", "widget"]);
    assert!(
        told.contains("widgets.example.io was in the cluster before"),
        "{told}"
    );
    down(0);
    assert_ne!(PLACE.kubectl(&definition), "");
    PLACE.kubectl(&["delete", "crd", "widgets.example.io"]);
}
