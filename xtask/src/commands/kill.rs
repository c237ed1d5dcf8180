//! `cargo xtask kill`: SIGKILL to a part of an environment, which then comes back: the fault that a suite asks for.

use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::commands::environment;
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::local::launch::ProcessSpec;
use e2e_runner::run::local::postgres;
use e2e_runner::settings;
use e2e_runner::state::{Run, STATE, processes};
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
    // What is started again belongs to the run, whoever asked.
    let runner = runner
        .clone()
        .env(e2e_env::RUN, &state.run)
        .in_run(run.dir())?;
    if state.target == "kind" {
        in_cluster(&runner, &run, &args.service, args.what)?;
    } else {
        here(&runner, &run, &args.service, args.what)?;
        // What was started again is recorded: either this sees that the run is gone, or its removal sees the record.
        if !run.dir().join(STATE).exists() {
            processes::end_all(run.dir()).map_err(Failure::setup)?;
            let what = format!("{} was removed meanwhile", state.run);
            return Err(Failure::new(Exit::Preflight, what).into());
        }
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

/// Kills the main process of the part's container; the kubelet starts the container again, its volumes kept.
fn in_cluster(runner: &Runner, run: &Run, service: &str, part: Part) -> Result<(), Failure> {
    let state = run.state();
    let app = match part {
        Part::Postgres => "postgres",
        Part::Datastorage => "datastorage",
        Part::Service => service,
    };
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
    let kubeconfig: &Path = &run.dir().join("kubeconfig");
    let kubectl = kubectl::Kubectl::new(runner.clone(), kubeconfig, &namespace);
    let failed =
        |error: e2e_runner::process::Error| error.into_failure(Exit::Setup, runner.cancel());
    let path = "jsonpath={.items[0].status.containerStatuses[0]['containerID','restartCount']}";
    let ask = [
        "get",
        "pods",
        "--selector",
        &format!("app={app}"),
        "--output",
        path,
    ];
    let node = kind::node(&kind::cluster(&state.run));
    let mut forgotten = false;
    let wait = Wait {
        what: &format!("the container of {app} was not killed"),
        deadline: DEADLINE,
        interval: STEP,
    };
    wait.until(runner.cancel(), || {
        let status = kubectl
            .command()
            .args(ask)
            .deadline(DEADLINE)
            .read()
            .map_err(failed)?;
        // containerd://<id> <number>
        let (id, restarts) = status.split_once(' ').unwrap_or((&status, "0"));
        let id = id.rsplit('/').next().unwrap_or_default();
        if id.is_empty() {
            let what = format!("no container of {app} runs in {namespace}");
            return Err(Failure::new(Exit::Preflight, what));
        }
        if restarts.trim() != "0" && !forgotten {
            // Else it waits 10 s before the second start of a container, then 20, 40 and so on: a suite would run a few times only.
            docker::restart_kubelet(runner, &node).map_err(failed)?;
            forgotten = true;
        }
        // For a moment the API server still shows a container that an earlier fault killed.
        Ok(match docker::kill_in_node(runner, &node, id) {
            Ok(()) => Look::Ready(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
}
