//! `cargo xtask kill`: SIGKILL to a part of an environment, which then comes back: the fault that a suite asks for.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::commands::environment;
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::cluster::shared::{KEEPER, PROGRAM, SUPERVISING, SUPERVISOR};
use e2e_runner::run::layer::{Layer, Level};
use e2e_runner::run::local::launch::ProcessSpec;
use e2e_runner::run::local::postgres;
use e2e_runner::settings;
use e2e_runner::state::{Applied, Resource, Run, STATE, State, processes};
use e2e_runner::tools::{docker, kind, kubectl};
use e2e_runner::wait::{Look, Wait};

/// Flags of `kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// What is killed
    #[arg(value_enum)]
    pub what: Part,
    /// The service whose environment it is
    #[arg(long, env = "E2E_SERVICE")]
    pub service: String,
    /// Of several replicas of Data Storage only this one, counted from 0; on Kind
    #[arg(long, value_name = "NUMBER")]
    pub replica: Option<u16>,
}

/// A part of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Data Storage
    Datastorage,
    /// The service itself, or its fake
    Service,
    /// PostgreSQL, its data kept; only where one service has it to itself
    Postgres,
}

impl Part {
    /// Its name for people.
    const fn name(self) -> &'static str {
        match self {
            Self::Datastorage => "Data Storage",
            Self::Service => "the service",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// How long finding and killing may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at a container that is on its way back.
const STEP: Duration = Duration::from_secs(2);

/// Runs the verb; it ends when the part is dead, not when it is back.
pub fn run(runner: &Runner, args: &Kill) -> anyhow::Result<Exit> {
    let run = environment::around_or_up(&Paths::find(runner)?, &args.service)?;
    let state = run.state();
    if args.what == Part::Postgres && state.services.len() > 1 {
        let what = format!(
            "PostgreSQL of {} serves {} services",
            state.run,
            state.services.len()
        );
        return Err(Failure::new(Exit::Usage, what)
            .hint("start one of them alone, whose server is its own")
            .into());
    }
    if args.replica.is_some() && (args.what != Part::Datastorage || state.target == "local") {
        let what = format!("{} has no replicas on {}", args.what.name(), state.target);
        return Err(Failure::new(Exit::Usage, what)
            .hint("leave out --replica, which is for Data Storage in a cluster")
            .into());
    }
    let is_given = |resource: &Resource| matches!(resource, Resource::Database { .. });
    if args.what == Part::Postgres && state.resources.iter().any(is_given) {
        let what = "this run has no PostgreSQL of its own: --postgres-url named one";
        return Err(Failure::new(Exit::Preflight, what)
            .hint("stop and start that server by its own means")
            .into());
    }
    // What is started again belongs to the run, whoever asked.
    let runner = runner
        .clone()
        .env(e2e_env::RUN, &state.run)
        .in_run(run.dir())?;
    if state.target == "local" {
        here(&runner, &run, &args.service, args.what)?;
        // What was started again is recorded: either this sees that the run is gone, or its removal sees the record.
        if !run.dir().join(STATE).exists() {
            processes::end_all(run.dir()).map_err(Failure::setup)?;
            let what = format!("{} was removed meanwhile", state.run);
            return Err(Failure::new(Exit::Preflight, what).into());
        }
    } else {
        in_cluster(&runner, &run, args)?;
    }
    terminal::message(&format!("killed {} of {}", args.what.name(), state.run));
    Ok(Exit::Passed)
}

fn here(runner: &Runner, run: &Run, service: &str, part: Part) -> Result<(), Failure> {
    let own = run.dir().join(service);
    let shared = run.state().services.len() > 1;
    let dir = if shared { own } else { run.dir().to_owned() };
    match part {
        Part::Postgres => postgres::kill_postgres(run),
        Part::Datastorage => ProcessSpec::kill_and_restart(&dir.join("datastorage"), run, runner),
        Part::Service => ProcessSpec::kill_and_restart(&dir.join("service"), run, runner),
    }
}

/// Kills the main process of the part's containers; the kubelet starts them again, their volumes kept.
fn in_cluster(runner: &Runner, run: &Run, args: &Kill) -> Result<(), Failure> {
    let (service, part, replica) = (args.service.as_str(), args.what, args.replica);
    let state = run.state();
    // A run under way has told its suite; one that is kept has written it down.
    let told = settings::namespace();
    let namespace = state
        .environment(service)
        .remove(e2e_env::NAMESPACE)
        .or(told)
        .ok_or_else(|| {
            Failure::new(
                Exit::Preflight,
                format!("no namespace is known for {service} in {}", state.run),
            )
        })?;
    let label = |app: &str| (format!("app={app}"), namespace.clone());
    let (app, (selector, namespace)) = match part {
        Part::Postgres => ("postgres", label("postgres")),
        Part::Datastorage => ("datastorage", label("datastorage")),
        Part::Service => (service, pods_of(&state, service, &namespace)?),
    };
    let kubeconfig: &Path = &run.dir().join("kubeconfig");
    let kubectl = kubectl::Kubectl::new(runner.clone(), kubeconfig, &namespace);
    if state.target == "cluster" {
        return as_guest(&kubectl.patient(), &selector, part, (app, replica));
    }
    let failed =
        |error: e2e_runner::process::Error| error.into_failure(Exit::Setup, runner.cancel());
    // Its container is the first one of a pod, whatever stands beside it.
    let path = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
    let ask = ["get", "pods", "--selector", &selector, "--output", path];
    let only = replica.map(|replica| format!("{app}-{replica}"));
    let node = kind::node(&kind::cluster(&state.run));
    let mut forgotten = false;
    let wait = Wait {
        what: &format!("the container of {app} was not killed"),
        deadline: DEADLINE,
        interval: STEP,
    };
    let mut killed = BTreeSet::new();
    wait.until(runner.cancel(), || {
        let text = kubectl
            .command()
            .args(ask)
            .deadline(DEADLINE)
            .read()
            .map_err(failed)?;
        let pods: Vec<Killable> = text.lines().filter_map(Killable::read).collect();
        let pods: Vec<_> = pods
            .into_iter()
            .filter(|pod| only.as_ref().is_none_or(|name| *name == pod.name))
            .filter(|pod| !killed.contains(&pod.name))
            .collect();
        if pods.is_empty() && killed.is_empty() {
            let whose = only.as_deref().unwrap_or(app);
            let what = format!("no container of {whose} runs in {namespace}");
            return Err(Failure::new(Exit::Preflight, what));
        }
        if pods.iter().any(|pod| pod.restarted) && !forgotten {
            // Else it waits 10 s before the second start of a container, then 20, 40 and so on: a suite would run a few times only.
            if !has_replicas(&kubectl)? {
                docker::restart_kubelet(runner, &node).map_err(failed)?;
            }
            forgotten = true;
        }
        for pod in pods {
            // For a moment the API server still shows a container that an earlier fault killed.
            match docker::kill_in_node(runner, &node, &pod.container) {
                Ok(()) => killed.insert(pod.name),
                Err(error) => return Ok(Look::NotYet(error.to_string())),
            };
        }
        Ok(Look::Ready(()))
    })
}

/// Whether the cluster has a workload of several pods. A kubelet that starts takes every pod of its node out of its Service until it has
/// probed it once: what several replicas are for would not hold for a moment, for no fault of theirs.
fn has_replicas(kubectl: &kubectl::Kubectl) -> Result<bool, Failure> {
    let counts = "jsonpath={range .items[*]}{.spec.replicas}{\"\\n\"}{end}";
    let get = [
        "get",
        "statefulsets",
        "--all-namespaces",
        "--output",
        counts,
    ];
    let text = kubectl.command().args(get).deadline(DEADLINE).read();
    let cancel = kubectl.runner().cancel();
    let text = text.map_err(|error| error.into_failure(Exit::Setup, cancel))?;
    Ok(text
        .lines()
        .filter_map(|count| count.parse::<u32>().ok())
        .any(|count| count > 1))
}

/// Kills as a guest can: the tool's own programs by what stands beside them in their pods, a team's by removing their pods without a
/// grace period.
fn as_guest(
    kubectl: &kubectl::Kubectl,
    selector: &str,
    part: Part,
    (app, replica): (&str, Option<u16>),
) -> Result<(), Failure> {
    let cancel = kubectl.runner().cancel();
    let failed = |error: e2e_runner::process::Error| error.into_failure(Exit::Setup, cancel);
    let names = "jsonpath={range .items[*]}{.metadata.name} {.spec.initContainers[*].name} {.spec.containers[*].name}{\"\\n\"}{end}";
    let get = ["get", "pods", "--selector", selector, "--output", names];
    let text = kubectl.read(&kubectl.command().args(get)).map_err(failed)?;
    let only = replica.map(|replica| format!("{app}-{replica}"));
    let pods = text.lines().filter_map(|line| line.split_once(' '));
    let mut pods = pods
        .filter(|(name, _)| only.as_ref().is_none_or(|only| only == name))
        .peekable();
    if pods.peek().is_none() {
        let what = format!("no pod of {} is there", only.as_deref().unwrap_or(app));
        return Err(Failure::new(Exit::Preflight, what));
    }
    let program = match part {
        Part::Postgres => "postgres",
        Part::Datastorage => "datastorage",
        Part::Service => "service-fake",
    };
    for (pod, containers) in pods {
        let has = |name| containers.split(' ').any(|known| known == name);
        let exec = |container: &str, by: &str| {
            let exec = ["exec", pod, "--container", container, "--", by];
            kubectl.command().args(exec).args(["kill", program])
        };
        let command = if has(SUPERVISOR) {
            let container = if part == Part::Service {
                "service"
            } else {
                app
            };
            exec(container, SUPERVISING)
        } else if has(KEEPER) {
            exec(KEEPER, PROGRAM)
        } else {
            let delete = ["delete", "pod", pod, "--grace-period=0", "--force"];
            kubectl.command().args(delete).arg("--wait=false")
        };
        kubectl.read(&command.deadline(DEADLINE)).map_err(failed)?;
    }
    Ok(())
}

/// The pods of the first workload that a service's own manifests have: their labels as a selector, and their namespace.
fn pods_of(state: &State, service: &str, namespace: &str) -> Result<(String, String), Failure> {
    let layer = Level {
        layer: Layer::Service,
        whose: Some(service),
    };
    let applied = state.applied.get(&layer.key()).into_iter().flatten();
    let workloads: Vec<&Applied> = applied.filter(|object| !object.pods.is_empty()).collect();
    // What ends by itself is seldom meant.
    let lasts = |object: &&&Applied| !["Job", "CronJob"].contains(&&*object.kind);
    let first = workloads.iter().find(lasts).or(workloads.first());
    let first = first.ok_or_else(|| {
        let what = format!("nothing that {service} has applied in {} makes pods", state.run);
        Failure::new(Exit::Preflight, what).hint(
            "`kill service` is for a Deployment, StatefulSet or DaemonSet of its own `manifests`; those of parts are killed by kubectl",
        )
    })?;
    let labels = first
        .pods
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let selector = labels.collect::<Vec<_>>().join(",");
    let there = first.namespace.as_deref().unwrap_or(namespace);
    Ok((selector, there.to_owned()))
}

/// A pod whose container can be killed.
struct Killable {
    name: String,
    container: String,
    restarted: bool,
}

impl Killable {
    /// Reads `NAME containerd://ID RESTARTS`; a pod without a container has the first word only.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (name, id) = (words.next()?, words.next()?.rsplit('/').next()?);
        (!id.is_empty()).then(|| Self {
            name: name.to_owned(),
            container: id.to_owned(),
            restarted: words.next().is_some_and(|count| count != "0"),
        })
    }
}
