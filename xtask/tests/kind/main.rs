//! What only a real Kind cluster can show: a killed run is removed whole, `migrate` reaches a cluster's PostgreSQL, and a dead pod is
//! told at once.
//!
//! Behind the feature `kind`, for machines that have Docker and kind: `cargo xtask test` turns it on there.

mod booted;
mod coverage;
mod node;
mod own_images;
mod own_service;
mod parts;
mod suites;
mod team;
mod troubles;
mod versions;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::process::cancel::Cancel;
use e2e_runner::tools::cargo::{Form, Wanted, build};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A target directory of its own with one run in it, whose node is kind's own unless it says otherwise.
struct Machine(tempfile::TempDir);

/// The fake as runs on Kind have it, built once for all: each machine here has a target directory of its own.
static FAKE: LazyLock<PathBuf> = LazyLock::new(|| {
    let runner = Runner::new(Cancel::default());
    let paths = Paths::find(&runner).expect("the checkout");
    let (form, deadline) = (Form::Release, Duration::from_mins(30));
    let wanted = Wanted {
        programs: &["service-fake"],
        suites: None,
    };
    let built = build(&runner, &paths, wanted, form, deadline, |_| {});
    let built = built.unwrap_or_else(|failure| panic!("{failure}"));
    built.executables["service-fake"].clone()
});

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().expect("a temporary directory"));
        // No container is started from it: the runs here end before, or because of, Data Storage.
        fs::write(machine.binary(), "this is no program").expect("a file");
        machine
    }

    fn binary(&self) -> PathBuf {
        self.0.path().join("datastorage")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(args)
            .env("CARGO_TARGET_DIR", self.0.path())
            .env("E2E_DATASTORAGE_BIN", self.binary())
            .env("E2E_FAKE_BIN", &*FAKE)
            .env("E2E_PREPARED_NODE", "never");
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.path().join("log")).unwrap_or_default()
    }

    /// Starts a run and returns it once the stage has begun.
    fn run_until(&self, stage: &str) -> Child {
        self.until(
            stage,
            self.command(&["up", "workflowexecution", "--target", "kind"]),
        )
    }

    fn until(&self, stage: &str, mut command: Command) -> Child {
        let log = fs::File::create(self.0.path().join("log")).expect("a log");
        let mut child = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the tool starts");
        let began = Instant::now();
        while !self.log().contains(&format!("… {stage}")) {
            assert!(
                child.try_wait().expect("a child").is_none(),
                "the run ended before {stage}: {}",
                self.log()
            );
            assert!(
                began.elapsed() < Duration::from_mins(5),
                "the run never came to {stage}: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    /// The identity of the run that the log tells of.
    fn run(&self) -> String {
        let log = self.log();
        let line = log
            .lines()
            .find(|line| line.starts_with("run "))
            .expect("a first line");
        line.split_whitespace()
            .nth(1)
            .expect("an identity")
            .to_owned()
    }

    fn states(&self) -> Vec<Value> {
        let runs = fs::read_dir(self.0.path().join("e2e"))
            .into_iter()
            .flatten()
            .flatten();
        runs.filter_map(|run| {
            serde_json::from_str(&fs::read_to_string(run.path().join("state.json")).ok()?).ok()
        })
        .collect()
    }
}

/// What Docker lists, sorted.
fn docker(args: &[&str]) -> Vec<String> {
    let output = Command::new("docker")
        .args(args)
        .output()
        .expect("docker is installed");
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

fn containers(run: &str) -> Vec<String> {
    docker(&[
        "ps",
        "--all",
        "--format",
        "{{.Names}}",
        "--filter",
        &format!("name={run}"),
    ])
}

/// The volumes of a run's containers; one that is still in the making may not be told of yet.
fn volumes(run: &str) -> Vec<String> {
    let format = "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}} {{end}}{{end}}";
    let inspected = |name: &String| {
        Command::new("docker")
            .args(["inspect", "--format", format, name])
            .output()
    };
    let outputs = containers(run)
        .iter()
        .filter_map(|name| inspected(name).ok())
        .collect::<Vec<_>>();
    outputs
        .iter()
        .flat_map(|output| {
            String::from_utf8_lossy(&output.stdout)
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn processes(run: &str) -> Vec<String> {
    let mark = format!("E2E_RUN={run}");
    let carries = |dir: &Path| {
        fs::read(dir.join("environ"))
            .unwrap_or_default()
            .split(|byte| *byte == 0)
            .any(|pair| pair == mark.as_bytes())
    };
    let dirs = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .map(|entry| entry.path());
    dirs.filter(|dir| carries(dir))
        .map(|dir| {
            fs::read_to_string(dir.join("cmdline"))
                .unwrap_or_default()
                .replace('\0', " ")
        })
        .collect()
}

/// Exit code and words of `migrate`, which finds PostgreSQL and its password by kubeconfig and namespace alone.
fn migrate_from_outside(machine: &Machine) -> Vec<(Option<i32>, String)> {
    let kubeconfig = machine.0.path().join("e2e").join(machine.run());
    let kubeconfig = kubeconfig.join("kubeconfig").display().to_string();
    let place = [
        "--kubeconfig",
        &kubeconfig,
        "--namespace",
        "kubernaut-system",
    ];
    let verbs: [&[&str]; 4] = [
        &["verify", "--profile", "gateway"],
        &["verify", "--profile", "all"],
        &["--profile", "all"],
        &["verify", "--profile", "all"],
    ];
    let answer = |verb: &&[&str]| {
        let mut command = machine.command(&[&["migrate"], *verb, &place].concat());
        let output = command.env_remove("PGPASSWORD").output();
        let output = output.expect("the tool starts");
        let said = [output.stderr, output.stdout].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    verbs.iter().map(answer).collect()
}

#[test]
fn a_run_killed_at_any_stage_is_removed_by_reap() {
    // Kind's own network is shared by all clusters and stays.
    let networks = |when: &str| {
        let names = docker(&["network", "ls", "--format", "{{.Name}}"]);
        assert!(!names.is_empty(), "{when}");
        names
            .into_iter()
            .filter(|name| name != "kind")
            .collect::<Vec<_>>()
    };
    let before = networks("before");
    for stage in [
        "create cluster",
        "load PostgreSQL image",
        "deploy PostgreSQL",
        "migrate",
        "wait for Data Storage",
    ] {
        let machine = Machine::new();
        let mut child = machine.run_until(stage);
        if stage == "create cluster" {
            let began = Instant::now();
            while containers(&machine.run()).is_empty() {
                assert!(
                    began.elapsed() < Duration::from_mins(2),
                    "kind makes no container: {}",
                    machine.log()
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        // Those of this run only: somebody else may be creating a cluster on the same host.
        let volumes = volumes(&machine.run());
        kill(
            Pid::from_raw(child.id().try_into().expect("a process id")),
            Signal::SIGKILL,
        )
        .expect("the tool runs");
        child.wait().expect("the tool ends");
        let run = machine.run();
        // Only the tool is dead: what it deployed is a cluster like anybody's.
        let migrated = (stage == "wait for Data Storage").then(|| migrate_from_outside(&machine));
        let reaped = machine
            .command(&["reap"])
            .output()
            .expect("the tool starts");
        assert!(
            reaped.status.success(),
            "{stage}: {}",
            String::from_utf8_lossy(&reaped.stderr)
        );
        assert_eq!(containers(&run), Vec::<String>::new(), "{stage}");
        assert_eq!(processes(&run), Vec::<String>::new(), "{stage}");
        assert_eq!(machine.states(), Vec::<Value>::new(), "{stage}");
        let left: Vec<_> = docker(&["volume", "ls", "--quiet"])
            .into_iter()
            .filter(|volume| volumes.contains(volume))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "{stage} left a volume");
        if let Some(answers) = migrated {
            let expected = [
                (0, "verified: 3 tables"),
                (10, "remediation_workflow_catalog was never applied"),
                (0, "applied remediation_workflow_catalog in "),
                (0, "verified: 20 tables"),
            ];
            for ((code, said), (wanted, words)) in answers.iter().zip(expected) {
                assert_eq!(*code, Some(wanted), "{said}");
                assert!(said.contains(words), "{said}");
            }
        }
    }
    assert_eq!(networks("after"), before);
}

/// An image of PostgreSQL's content under a name of its own, so that no node was prepared for it; dropped, all that was is removed.
struct Unprepared(String);

impl Unprepared {
    fn new() -> Self {
        Self::of("this")
    }

    /// One of several names in a test.
    fn of(name: &str) -> Self {
        let known = std::env::var("POSTGRES_IMAGE");
        let known = known.unwrap_or_else(|_| "postgres:16-alpine".to_owned());
        let name = format!("localhost/postgres-of-a-test:{name}-{}", std::process::id());
        docker(&["tag", &known, &name]);
        Self(name)
    }

    /// Volumes and images of prepared nodes, and containers that make one.
    fn nodes() -> [Vec<String>; 3] {
        [
            docker(&[
                "volume",
                "ls",
                "--quiet",
                "--filter",
                "name=kubernaut-node-",
            ]),
            docker(&["image", "ls", "--quiet", "localhost/kubernaut-node"]),
            docker(&["ps", "--all", "--quiet", "--filter", "name=kubernaut-node-"]),
        ]
    }

    /// A run of this image that prepares a node.
    fn run_until(&self, machine: &Machine, stage: &str) -> Child {
        let mut command = machine.command(&["up", "workflowexecution", "--target", "kind"]);
        command
            .env("POSTGRES_IMAGE", &self.0)
            .env_remove("E2E_PREPARED_NODE");
        machine.until(stage, command)
    }

    /// Kills a run, and has what it left removed.
    fn kill_and_reap(machine: &Machine, mut child: Child) {
        child.kill().expect("the tool runs");
        child.wait().expect("the tool ends");
        let reaped = machine.command(&["reap"]).output();
        assert!(reaped.expect("the tool starts").status.success());
        assert_eq!(processes(&machine.run()), Vec::<String>::new());
        assert_eq!(machine.states(), Vec::<Value>::new());
    }
}

impl Drop for Unprepared {
    fn drop(&mut self) {
        drop(
            Command::new("docker")
                .args(["image", "rm", &self.0])
                .output(),
        );
    }
}

#[test]
fn a_node_is_prepared_once_and_one_whose_run_was_killed_is_removed() {
    let image = Unprepared::new();
    let before = Unprepared::nodes();

    let machine = Machine::new();
    let child = image.run_until(&machine, "prepare node image");
    let began = Instant::now();
    while Unprepared::nodes()[2] == before[2] {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "no container makes it: {}",
            machine.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Unprepared::kill_and_reap(&machine, child);
    assert_eq!(Unprepared::nodes(), before, "a half-made node is removed");

    let machine = Machine::new();
    let child = image.run_until(&machine, "migrate");
    let said = machine.log();
    assert!(
        said.contains("for this and later runs") && said.contains("is in the node already"),
        "{said}"
    );
    Unprepared::kill_and_reap(&machine, child);
    let [volumes, images, fillers] = Unprepared::nodes();
    assert_eq!(fillers, before[2]);
    let new = |now: &[String], before: &[String]| -> Vec<String> {
        now.iter()
            .filter(|one| !before.contains(one))
            .cloned()
            .collect()
    };
    let (volume, made) = (new(&volumes, &before[0]), new(&images, &before[1]));
    assert_eq!((volume.len(), made.len()), (1, 1), "it outlives its run");

    let machine = Machine::new();
    let child = image.run_until(&machine, "create cluster");
    assert!(machine.log().contains("is there"), "{}", machine.log());
    Unprepared::kill_and_reap(&machine, child);

    // Its volume is named as its image is tagged; other tests may be using others.
    docker(&[
        "image",
        "rm",
        &volume[0].replace("kubernaut-node-", "localhost/kubernaut-node:"),
    ]);
    docker(&["volume", "rm", &volume[0]]);
}

#[test]
fn a_data_storage_that_cannot_start_is_told_by_its_pod_and_nothing_stays() {
    let machine = Machine::new();
    let mut child = machine.run_until("wait for Data Storage");
    let status = child.wait().expect("the tool ends");
    let said = machine.log();
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(
        said.contains("error: wait for Data Storage: datastorage-")
            && said.contains("cannot become ready"),
        "{said}"
    );
    assert_eq!(containers(&machine.run()), Vec::<String>::new());
    assert_eq!(machine.states(), Vec::<Value>::new());
}

/// A team's own service: its image, a custom resource, a kustomization, and a suite that is a shell script.
const TEAM: [(&str, &str); 4] = [
    (
        "services.toml",
        "[[service]]\nname = \"widget\"\nprofile = \"gateway\"\nnamespace = \"widget-e2e\"\ncomponents = [\"postgres\", \"datastorage\", \"own\"]\n\
         ports = {}\nimages = [{ name = \"IMAGE\" }]\nmanifests = [\"crd.yaml\", \"deploy\"]\nready = [\"app=widget\"]\n\
         suite = { command = [\"sh\", \"suite.sh\"] }\n",
    ),
    (
        "crd.yaml",
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.org}\nspec:\n  group: example.org\n  \
         scope: Namespaced\n  names: {plural: widgets, singular: widget, kind: Widget}\n  versions:\n    - name: v1\n      served: true\n      \
         storage: true\n      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}\n",
    ),
    (
        "deploy/widget.yaml",
        "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: first}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: widget}\n\
         spec:\n  selector: {matchLabels: {app: widget}}\n  template:\n    metadata: {labels: {app: widget}}\n    spec:\n      containers:\n        \
         - name: widget\n          image: IMAGE\n          imagePullPolicy: Never\n          command: [sh, /listen/sh]\n          volumeMounts: [{name: listen, mountPath: /listen}]\n      volumes: [{name: listen, configMap: {name: listen}}]\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: listen}\ndata:\n  sh: |\n    \
         perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(Listen => 9, LocalPort => 80); while (my $c = $s->accept) { sleep 1 }' || while :; do nc -l -p 80; done\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: widget}\nspec:\n  selector: {app: widget}\n  ports: [{port: 80, targetPort: 80}]\n",
    ),
    (
        "suite.sh",
        "set -e\nkubectl --namespace \"$E2E_NAMESPACE\" get widget first\nkubectl --namespace \"$E2E_NAMESPACE\" get deployment widget --show-labels | grep team=ours\n\
         test -n \"$SERVICE_URL\"\necho seen $E2E_NAMESPACE\n",
    ),
];

#[test]
fn a_teams_own_service_gets_its_image_its_custom_resources_and_its_kustomization() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = std::env::var("POSTGRES_IMAGE").unwrap_or_else(|_| "postgres:16-alpine".to_owned());
    fs::create_dir(dir.path().join("deploy")).expect("a directory");
    for (name, text) in TEAM {
        fs::write(dir.path().join(name), text.replace("IMAGE", &image)).expect("a file");
    }
    let kustomization = "resources: [widget.yaml]\nlabels: [{pairs: {team: ours}}]\n";
    fs::write(dir.path().join("deploy/kustomization.yaml"), kustomization).expect("a file");
    // The real Data Storage: it is what the run waits for before it starts the team's service.
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["e2e", "widget", "--target", "kind", "--services"])
        .arg(dir.path().join("services.toml"))
        .env("E2E_DATASTORAGE_BIN", datastorage())
        .env("CARGO_TARGET_DIR", place.path())
        .output()
        .expect("the tool starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("seen widget-e2e"), "{said}");
}

/// The static binary that a run of this workspace builds; built by the tool's own tiers before these tests.
fn datastorage() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_xtask"))
        .ancestors()
        .nth(2)
        .expect("the target directory");
    let built = target.join("x86_64-unknown-linux-gnu/release/datastorage");
    assert!(
        built.is_file(),
        "no {}: `cargo xtask e2e workflowexecution --target kind` builds it",
        built.display()
    );
    built
}

#[test]
fn a_cluster_is_diagnosed_by_its_kubeconfig_and_the_repair_that_is_printed_runs_there() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let table = place.path().join("services.toml");
    let entry = "[[service]]\nname = \"looked\"\nprofile = \"gateway\"\nnamespace = \"looked-e2e\"\n\
                 components = [\"postgres\", \"datastorage\"]\nports = {}\n";
    fs::write(&table, entry).expect("a table");
    let _clean = Clean(place.path());
    let tool = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(args)
            .env("E2E_SERVICES", &table)
            .env("E2E_DATASTORAGE_BIN", datastorage())
            .env("CARGO_TARGET_DIR", place.path())
            .output()
            .expect("the tool starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stderr);
        (output.status.code(), text(&output.stdout), said)
    };
    let up = ["up", "looked", "--target", "kind", "--format", "env"];
    let (code, stdout, said) = tool(&up);
    assert_eq!(code, Some(0), "{said}");
    let run = stdout
        .lines()
        .find_map(|line| line.strip_prefix("E2E_RUN="));
    let followed = || {
        let mut all = processes(run.expect("the run's identity"));
        all.retain(|line| line.starts_with("kubectl") && line.contains("logs --follow"));
        all.sort();
        all
    };
    let first = followed();
    assert_eq!(first.len(), 2, "PostgreSQL's and Data Storage's: {first:?}");
    let (code, _, said) = tool(&up);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        followed(),
        first,
        "what is used again is not followed twice"
    );
    let kubeconfig = stdout
        .lines()
        .find_map(|line| line.strip_prefix("KUBECONFIG="))
        .expect("the run's own kubeconfig");
    let diagnose = || {
        let place = ["--kubeconfig", kubeconfig, "--namespace", "looked-e2e"];
        tool(&[&["diagnose", "--profile", "gateway"], &place[..]].concat())
    };
    let (code, page, said) = diagnose();
    assert_eq!(code, Some(0), "{page}{said}");
    let drop = "ALTER TABLE audit_events DROP COLUMN severity, DROP COLUMN namespace";
    let exec = [
        "exec",
        "-i",
        "service/postgres",
        "--",
        "psql",
        "-U",
        "slm_user",
        "-d",
    ];
    let dropped = Command::new("kubectl")
        .args(["--kubeconfig", kubeconfig, "--namespace", "looked-e2e"])
        .args(exec)
        .args(["action_history", "-c", drop])
        .output()
        .expect("kubectl starts");
    assert!(dropped.status.success(), "{dropped:?}");
    let (code, page, _) = diagnose();
    assert_eq!(code, Some(10), "{page}");
    let repairs: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("   repair: "))
        .collect();
    assert_eq!(repairs.len(), 2, "{page}");
    for repair in repairs {
        let done = Command::new("sh").args(["-c", repair]).output();
        let done = done.expect("a shell starts");
        assert!(done.status.success(), "{repair}: {done:?}");
    }
    let (code, page, _) = diagnose();
    assert_eq!(code, Some(0), "{page}");
}

/// Removes what the runs below a target directory left up, however the test ends.
struct Clean<'a>(&'a Path);

impl Drop for Clean<'_> {
    fn drop(&mut self) {
        let down = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("down")
            .env("CARGO_TARGET_DIR", self.0)
            .status();
        drop(down);
    }
}
