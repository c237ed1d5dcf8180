//! Removes what a run made, from its state file alone: the run itself, `down` and `reap` all come here.

use std::path::Path;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::process::{Error, Runner};
use crate::run::kind::node_image;
use crate::run::local::postgres;
use crate::run::reuse::Layer;
use crate::state::{Resource, Run, processes};
use crate::tools::{docker, kind};

/// Removes every resource of a run, the newest first, and says how many there were. What cannot be removed is named and stays in the state.
pub fn release(run: &Run, runner: &Runner) -> Result<String, Failure> {
    let resources = run.state().resources;
    let mut left = Vec::new();
    for resource in resources.iter().rev() {
        match remove(run, resource, runner) {
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
        .detail(left.join("\n"))
        .hint("cargo xtask reap"));
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

fn remove(run: &Run, resource: &Resource, runner: &Runner) -> Result<(), String> {
    match resource {
        Resource::Cluster { name } => {
            let whole = run.state().fingerprints.contains_key(Layer::Cluster.word());
            remove_cluster(runner, name, &run.dir().join("kubeconfig"), !whole)
        }
        Resource::Node { key } => node_image::discard(runner, key),
        Resource::Postgres { dir } => postgres::stop_postgres(dir),
        Resource::Database { name, url_file } => postgres::drop_database(name, url_file),
        Resource::Processes => processes::end_processes(&processes::mark(e2e_env::RUN, &run.id())),
        Resource::Directory { path } => match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        },
    }
}

/// Deletes a cluster, and looks whether it is gone; after a creation that was cut short, for a while longer.
fn remove_cluster(
    runner: &Runner,
    name: &str,
    kubeconfig: &Path,
    half_made: bool,
) -> Result<(), String> {
    let node = kind::node(name);
    let settled = if half_made {
        docker::SETTLED
    } else {
        Duration::ZERO
    };
    docker::until_gone(runner, &node, settled, || {
        let volumes = docker::volumes_of(runner, &node);
        kind::delete(runner, name, kubeconfig).inspect_err(|error| {
            // Docker gives up after ten seconds on a container that does not die ("did not receive an exit event").
            if !matches!(error, Error::Cancelled { .. }) {
                docker::unfreeze(runner, &node);
            }
        })?;
        // `kind delete` leaves the anonymous volume of a node whose creation was cut short.
        docker::remove_volumes(runner, &volumes);
        Ok(())
    })?;
    drop(std::fs::remove_file(kubeconfig));
    Ok(())
}
