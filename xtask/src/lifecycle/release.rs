//! Removes what a run made, from its state file alone: the run itself, `down` and `reap` all come here.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exit::{Exit, Failure};
use crate::lifecycle::nodes;
use crate::lifecycle::reuse::Level;
use crate::process::{Door, Error};
use crate::state::{Resource, Run};
use crate::tools::{docker, kind};

/// How long a process may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(8);
/// How long a container must stay away after a creation that was cut short; one takes Docker one to three seconds to make.
pub const SETTLED: Duration = Duration::from_secs(4);
/// How long deleting a cluster may take on a busy machine.
const DELETED: Duration = Duration::from_secs(90);

/// Removes every resource of a run, the newest first, and says how many there were. What cannot be removed is named and stays in the state.
pub fn release(run: &Run, door: &Door) -> Result<String, Failure> {
    let resources = run.state().resources;
    let mut left = Vec::new();
    for resource in resources.iter().rev() {
        match remove(run, resource, door) {
            Ok(()) => {
                let gone = |state: &mut crate::state::State| {
                    state.resources.retain(|other| other != resource);
                };
                run.update(gone)
                    .map_err(|error| Failure::new(Exit::LeftBehind, format!("{error:#}")))?;
            }
            Err(why) => left.push(format!("{}: {why}", describe(resource))),
        }
    }
    if !left.is_empty() {
        return Err(Failure::new(
            Exit::LeftBehind,
            format!(
                "{} of {} resources are still there",
                left.len(),
                resources.len()
            ),
        )
        .seen(left.join("\n"))
        .next("cargo xtask reap"));
    }
    for secret in ["password", "postgres-url"] {
        drop(std::fs::remove_file(run.dir().join(secret)));
    }
    let state = run.dir().join("state.json");
    std::fs::remove_file(&state).map_err(|error| {
        Failure::new(
            Exit::LeftBehind,
            format!("cannot remove {}: {error}", state.display()),
        )
    })?;
    Ok(match resources.len() {
        0 => "nothing was made".to_owned(),
        1 => describe(&resources[0]),
        count => format!("{count} resources removed"),
    })
}

/// A resource in words.
pub fn describe(resource: &Resource) -> String {
    match resource {
        Resource::Cluster { name } => format!("cluster {name}"),
        Resource::Node { key } => format!("half-made node image {key}"),
        Resource::Postgres { dir } => format!("PostgreSQL in {}", dir.display()),
        Resource::Database { name, .. } => format!("database {name}"),
        Resource::Processes => "processes".to_owned(),
        Resource::Directory { path } => format!("directory {}", path.display()),
    }
}

fn remove(run: &Run, resource: &Resource, door: &Door) -> Result<(), String> {
    match resource {
        Resource::Cluster { name } => {
            let whole = run.state().fingerprints.contains_key(Level::Cluster.word());
            remove_cluster(door, name, &run.dir().join("kubeconfig"), !whole)
        }
        Resource::Node { key } => nodes::discard(door, key),
        Resource::Postgres { dir } => crate::lifecycle::local::stop_postgres(dir),
        Resource::Database { name, url_file } => {
            crate::lifecycle::local::drop_database(name, url_file)
        }
        Resource::Processes => end_processes(&mark(e2e_env::RUN, &run.id())),
        Resource::Directory { path } => match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        },
    }
}

/// Deletes a cluster, and looks whether it is gone; after a creation that was cut short, for a while longer.
fn remove_cluster(
    door: &Door,
    name: &str,
    kubeconfig: &Path,
    half_made: bool,
) -> Result<(), String> {
    let node = kind::node(name);
    let settled = if half_made { SETTLED } else { Duration::ZERO };
    until_gone(door, &node, settled, || {
        let volumes = docker::volumes_of(door, &node);
        kind::delete(door, name, kubeconfig).inspect_err(|error| {
            // Docker gives up after ten seconds on a container that does not die ("did not receive an exit event").
            if !matches!(error, Error::Cancelled { .. }) {
                docker::thaw(door, &node);
            }
        })?;
        // `kind delete` leaves the anonymous volume of a node whose creation was cut short.
        docker::remove_volumes(door, &volumes);
        Ok(())
    })?;
    drop(std::fs::remove_file(kubeconfig));
    Ok(())
}

/// Removes a container until it has been away for `settled`: Docker goes on making one whose client is dead, and shows it only when
/// it is done.
pub fn until_gone(
    door: &Door,
    container: &str,
    settled: Duration,
    mut remove: impl FnMut() -> Result<(), Error>,
) -> Result<(), String> {
    let (began, mut absent) = (Instant::now(), None);
    let mut refused = String::new();
    loop {
        if docker::container_exists(door, container).map_err(|error| error.to_string())? {
            absent = None;
            match remove() {
                Ok(()) => {}
                Err(error @ Error::Cancelled { .. }) => return Err(error.to_string()),
                Err(error) => refused = format!(": {error}"),
            }
        } else if absent.get_or_insert_with(Instant::now).elapsed() >= settled {
            return Ok(());
        }
        if began.elapsed() > DELETED {
            return Err(format!(
                "the container {container} is still there after {} s{refused}",
                DELETED.as_secs()
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A variable as a process carries it.
pub fn mark(name: &str, value: &str) -> String {
    format!("{name}={value}")
}

/// Ends every process that carries a variable: SIGTERM, then SIGKILL to what is left after a grace. Returns when they are gone.
pub fn end_processes(mark: &str) -> Result<(), String> {
    let by_time = |elapsed| {
        if elapsed > GRACE {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        }
    };
    signal_until_gone(mark, by_time, 2 * GRACE)
}

/// Kills every process that carries a variable with SIGKILL, and returns when they are gone.
pub fn kill_processes(mark: &str) -> Result<(), String> {
    signal_until_gone(mark, |_| Signal::SIGKILL, GRACE)
}

fn signal_until_gone(
    mark: &str,
    signal: impl Fn(Duration) -> Signal,
    deadline: Duration,
) -> Result<(), String> {
    let began = Instant::now();
    let mut signalled = BTreeSet::new();
    loop {
        let pids = processes_with(mark);
        signalled.extend(&pids);
        // A process that ends loses its variables before its files: ports and locks are free when its last thread is gone.
        signalled.retain(|pid| has_threads(*pid));
        if signalled.is_empty() {
            return Ok(());
        }
        if began.elapsed() > deadline {
            return Err(format!("processes {signalled:?} do not end"));
        }
        for pid in pids {
            // Gone already is what is wanted.
            kill(Pid::from_raw(pid), signal(began.elapsed())).ok();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a thread of the process is left that is not a zombie (proc(5), task and stat).
fn has_threads(pid: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // pid (name) state …; the name may hold spaces and parentheses.
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        state.starts_with(|state| !matches!(state, 'Z' | 'X'))
    })
}

/// The processes that carry a variable, grandchildren included (proc(5), environ).
pub fn processes_with(mark: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ
                .split(|byte| *byte == 0)
                .any(|pair| pair == mark.as_bytes())
        })
        .collect()
}
