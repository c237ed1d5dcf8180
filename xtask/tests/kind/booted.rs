//! Clusters that start from a prepared node that was booted once: none opens another, and a broken one is replaced by kind's own way.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Machine, containers};

/// A cache of the tool's own, so that what other runs have kept is neither used nor broken.
struct Cache(tempfile::TempDir);

impl Cache {
    /// With a prepared node, made unless Docker has it.
    fn new() -> Self {
        let cache = Self(tempfile::tempdir().expect("a temporary directory"));
        let machine = Machine::new();
        let mut command = cache.command(&machine);
        command.env("E2E_PREPARED_NODE", "unbooted");
        let child = machine.until("create cluster", command);
        end(&machine, child);
        cache
    }

    fn command(&self, machine: &Machine) -> Command {
        let mut command = machine.command(&["up", "datastorage", "--target", "kind"]);
        command
            .env_remove("E2E_PREPARED_NODE")
            .env_remove("CI")
            .env("E2E_CACHE_DIR", self.0.path());
        command
    }

    /// A run whose cluster stands; it is stopped there, since no Data Storage of it would start.
    fn up(&self) -> (Machine, Child) {
        let machine = Machine::new();
        let child = machine.until("deploy PostgreSQL", self.command(&machine));
        let tool = Pid::from_raw(child.id().cast_signed());
        kill(tool, Signal::SIGSTOP).expect("it runs");
        (machine, child)
    }

    /// What is kept, by its file's ending.
    fn kept(&self, ending: &str) -> Option<PathBuf> {
        let files = fs::read_dir(self.0.path().join("nodes"));
        let mut paths = files.ok()?.flatten().map(|entry| entry.path());
        paths.find(|path| {
            path.to_string_lossy()
                .ends_with(&format!("-booted.{ending}"))
        })
    }
}

/// Kills a run, and has what it left removed.
fn end(machine: &Machine, mut child: Child) {
    child.kill().expect("the tool runs");
    child.wait().expect("the tool ends");
    let reaped = machine.command(&["reap"]).output();
    assert!(reaped.expect("the tool starts").status.success());
    assert_eq!(containers(&machine.run()), Vec::<String>::new());
}

/// The name of the cluster that a run boots once, as soon as its container is there: other runs beside it boot their own.
fn in_the_making(machine: &Machine) -> Option<String> {
    let states = machine.states();
    let resources = states
        .iter()
        .filter_map(|state| state["resources"].as_array());
    let booted = |resource: &Value| resource["resource"] == "booted-node";
    let name = resources.flatten().find(|resource| booted(resource))?["name"].as_str()?;
    (!containers(name).is_empty()).then(|| name.to_owned())
}

fn kubeconfig(machine: &Machine) -> PathBuf {
    let run = machine.0.path().join("e2e").join(machine.run());
    run.join("kubeconfig")
}

/// What kubectl prints, and whether it was answered.
fn kubectl(config: &PathBuf, args: &[&str]) -> (bool, String) {
    let mut kubectl = Command::new("kubectl");
    let output = kubectl.arg("--kubeconfig").arg(config).args(args).output();
    let output = output.expect("kubectl starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// The line of a kubeconfig that begins so.
fn line<'a>(config: &'a str, name: &str) -> &'a str {
    let line = config.lines().find(|line| line.trim().starts_with(name));
    line.expect("a kubeconfig has it").trim()
}

#[test]
fn two_clusters_from_one_booted_node_do_not_open_each_other() {
    let cache = Cache::new();

    // The maker is killed: nothing of it stays.
    let machine = Machine::new();
    let child = machine.until("prepare node image", cache.command(&machine));
    let began = Instant::now();
    let booted = loop {
        if let Some(name) = in_the_making(&machine) {
            break name;
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "{}",
            machine.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    end(&machine, child);
    assert_eq!(containers(&booted), Vec::<String>::new());
    assert_eq!(cache.kept("json"), None);

    let (one, first) = cache.up();
    let (two, second) = cache.up();
    for machine in [&one, &two] {
        let said = machine.log();
        assert!(
            said.contains(", from a node that was booted once"),
            "{said}"
        );
    }
    let (mine, other) = (kubeconfig(&one), kubeconfig(&two));
    let read = |path: &PathBuf| fs::read_to_string(path).expect("a kubeconfig");
    let (config, others) = (read(&mine), read(&other));
    let authority = "certificate-authority-data:";
    assert_ne!(line(&config, authority), line(&others, authority));
    assert!(kubectl(&mine, &["get", "nodes"]).0);

    // The key of one at the door of the other: by the other's authority, so that only the key is wrong.
    let crossed = cache.0.path().join("crossed");
    let server = config.replace(line(&config, "server:"), line(&others, "server:"));
    let server = server.replace(line(&config, authority), line(&others, authority));
    fs::write(&crossed, server).expect("a file");
    let (opened, said) = kubectl(&crossed, &["get", "nodes"]);
    let refused = said.contains("Unauthorized") || said.contains("logged in");
    assert!(!opened && refused, "{said}");

    // Nor does a token of a pod's account.
    let (made, token) = kubectl(&mine, &["create", "token", "default"]);
    assert!(made, "{token}");
    let bare = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{{name: x, cluster: {{{}, {}}}}}]\n\
         contexts: [{{name: x, context: {{cluster: x, user: x}}}}]\nusers: [{{name: x, user: {{token: {}}}}}]\n",
        line(&others, "server:"),
        line(&others, authority),
        token.trim()
    );
    fs::write(&crossed, &bare).expect("a file");
    let (opened, said) = kubectl(&crossed, &["auth", "whoami"]);
    assert!(!opened, "{said}");
    let own = bare
        .replace(line(&others, "server:"), line(&config, "server:"))
        .replace(line(&others, authority), line(&config, authority));
    fs::write(&crossed, own).expect("a file");
    let (opened, said) = kubectl(&crossed, &["auth", "whoami"]);
    assert!(opened, "{said}");
    end(&one, first);
    end(&two, second);
}

#[test]
fn a_broken_booted_node_is_told_and_the_run_has_a_cluster_all_the_same() {
    let cache = Cache::new();
    let (machine, child) = cache.up();
    end(&machine, child);
    let archive = cache.kept("tar").expect("it is kept");
    fs::write(archive, "no archive").expect("a file");
    let (machine, child) = cache.up();
    let said = machine.log();
    assert!(
        said.contains("the node that was booted once did not start")
            && said.contains("create cluster ok")
            && !said.contains(", from a node that was booted once"),
        "{said}"
    );
    assert!(kubectl(&kubeconfig(&machine), &["get", "nodes"]).0);
    end(&machine, child);
    let (machine, child) = cache.up();
    let said = machine.log();
    assert!(
        said.contains("booted once for this and later runs"),
        "{said}"
    );
    end(&machine, child);
}
