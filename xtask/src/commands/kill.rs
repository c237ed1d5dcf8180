//! `cargo xtask kill`: SIGKILL to a part of an environment, which then comes back: the fault that a suite asks for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::commands::environment;
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Door;
use e2e_runner::run::local::launch::Launch;
use e2e_runner::run::local::postgres;
use e2e_runner::state::Run;
use e2e_runner::table::Table;
use e2e_runner::tools::{docker, kind, kubectl};

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
    /// The service itself, or its double
    Service,
    /// PostgreSQL, its data kept; only where one service has it to itself
    Postgres,
}

/// How long finding and killing may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at a container that is on its way back.
const STEP: Duration = Duration::from_secs(2);

/// Runs the verb; it ends when the part is dead, not when it is back.
pub fn run(door: &Door, table: &Table, args: &Kill) -> anyhow::Result<Exit> {
    table.find(&args.service)?;
    let run = find(door, &args.service)?;
    let state = run.state();
    if args.what == Part::Postgres && state.services.len() > 1 {
        let what = format!(
            "PostgreSQL of {} serves {} services",
            state.run,
            state.services.len()
        );
        return Err(Failure::new(Exit::Usage, what)
            .next("start one of them alone, whose server is its own")
            .into());
    }
    // What is started again belongs to the run, whoever asked.
    let door = door.clone().env(e2e_env::RUN, &state.run);
    if state.target == "kind" {
        in_cluster(&door, &run, &args.service, args.what)?;
    } else {
        here(&door, &run, &args.service, args.what)?;
    }
    terminal::say(&format!("killed {:?} of {}", args.what, state.run).to_lowercase());
    Ok(Exit::Passed)
}

/// The run that a suite says it is part of, else the one that is kept for the service.
fn find(door: &Door, service: &str) -> anyhow::Result<Run> {
    let told = std::env::var_os(e2e_env::EVIDENCE_DIR).map(PathBuf::from);
    let around = told.iter().flat_map(|dir| dir.ancestors().take(2));
    if let Some(dir) = around
        .into_iter()
        .find(|dir| dir.join("state.json").is_file())
    {
        return Run::open(dir);
    }
    Ok(environment::kept(&Paths::find(door)?, service)?)
}

fn here(door: &Door, run: &Run, service: &str, part: Part) -> Result<(), Failure> {
    let own = run.dir().join(service);
    let shared = run.state().services.len() > 1;
    let dir = if shared { own } else { run.dir().to_owned() };
    match part {
        Part::Postgres => postgres::kill_postgres(run),
        Part::Datastorage => Launch::kill_and_start_again(&dir.join("datastorage"), door),
        Part::Service => Launch::kill_and_start_again(&dir.join("service"), door),
    }
}

/// Kills the main process of the part's container; the kubelet starts the container again, its volumes kept.
fn in_cluster(door: &Door, run: &Run, service: &str, part: Part) -> Result<(), Failure> {
    let state = run.state();
    let app = match part {
        Part::Postgres => "postgres",
        Part::Datastorage => "datastorage",
        Part::Service => service,
    };
    // A run under way has told its suite; one that is kept has written it down.
    let told = std::env::var(e2e_env::NAMESPACE).ok();
    let namespace = state
        .environment(service)
        .remove(e2e_env::NAMESPACE)
        .or(told)
        .unwrap_or_default();
    let kubeconfig: &Path = &run.dir().join("kubeconfig");
    let kubectl = kubectl::Kubectl::new(door.clone(), kubeconfig, &namespace);
    let failed = |error: e2e_runner::process::Error| error.into_failure(Exit::Setup, door.cancel());
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
    let (began, mut forgotten) = (Instant::now(), false);
    loop {
        let status = kubectl
            .cmd()
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
            docker::restart_kubelet(door, &node).map_err(failed)?;
            forgotten = true;
        }
        match docker::kill_in_node(door, &node, id) {
            // For a moment the API server still tells of a container that an earlier fault killed.
            Err(_) if began.elapsed() < DEADLINE => std::thread::sleep(STEP),
            killed => return killed.map_err(failed),
        }
    }
}
