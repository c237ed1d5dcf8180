//! Removes what a run made, from its state file alone: the run itself, `down` and `reap` all come here.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::exit::{Exit, Failure};
use crate::process::{Error, Runner};
use crate::run::cluster::gone;
use crate::run::given_postgres;
use crate::run::kind::{booted_node, node_image};
use crate::run::layer::Layer;
use crate::run::local::postgres;
use crate::run::plan::Target;
use crate::run::session::TOOL;
use crate::state::{Resource, Run, STATE, TOKEN, processes};
use crate::tools::postgres::AUTHORITY;
use crate::tools::{docker, kind};

/// Removes every resource of a run, and says how many there were. What cannot be removed is named and stays in the state; the rest
/// goes all the same. The caller holds the run.
pub fn release(run: &Run, runner: &Runner) -> Result<String, Failure> {
    let mut resources = run.state().resources;
    let count = resources.len();
    let described = resources.first().map(describe);
    // The newest first, and of what depends on each other: writers before what they write to.
    resources.reverse();
    resources.sort_by_key(rank);
    // First what needs no state, and may be what fills a disk.
    drop(std::fs::remove_file(run.dir().join(TOOL)));
    let mut left = Vec::new();
    for resource in &resources {
        match remove(run, resource, runner) {
            // Where that cannot be written it is looked for once more, and not found.
            Ok(()) => drop(run.update(|state| state.resources.retain(|other| other != resource))),
            Err(why) => left.push(format!("{}: {why}", describe(resource))),
        }
    }
    let still_there = |left: String| {
        let what = format!("run {} left something behind", run.id());
        Failure::new(Exit::LeftBehind, what)
            .detail(left)
            .hint("run `cargo xtask reap` once the cause is gone")
    };
    if !left.is_empty() {
        // Given up: whoever cleans up next may remove the rest.
        drop(run.update(|state| state.expires = Timestamp::now()));
        return Err(still_there(left.join("\n")));
    }
    if run.state().target == Target::Cluster.word() {
        // It opens what is somebody's.
        remove_kubeconfigs(&run.dir().join("kubeconfig"));
    }
    for file in [
        "password",
        given_postgres::URL_FILE,
        AUTHORITY,
        TOKEN,
        STATE,
    ] {
        let path = run.dir().join(file);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(still_there(format!("{}: {error}", path.display())));
            }
            _ => {}
        }
    }
    // `kill` may have started a part again meanwhile: it records it before it looks whether the run is still there.
    processes::end_all(run.dir()).map_err(still_there)?;
    Ok(match (count, described) {
        (1, Some(only)) => only,
        (0, _) => "nothing was made".to_owned(),
        (count, _) => format!("{count} resources removed"),
    })
}

/// In which order resources go: processes before the databases that they use, servers and clusters before directories.
fn rank(resource: &Resource) -> u8 {
    match resource {
        Resource::Processes | Resource::Container { .. } => 0,
        Resource::Cluster { .. }
        | Resource::Node { .. }
        | Resource::BootedNode { .. }
        | Resource::Namespace { .. }
        | Resource::Guest { .. }
        | Resource::Database { .. } => 1,
        // What is made of a definition goes before it.
        Resource::ClusterObject { .. } | Resource::Postgres { .. } => 2,
        Resource::Directory { .. } => 3,
    }
}

/// A resource in words.
pub fn describe(resource: &Resource) -> String {
    match resource {
        Resource::Cluster { name } => format!("cluster {name}"),
        Resource::Node { key } => format!("half-made node image {key}"),
        Resource::BootedNode { name } => format!("half-booted node {name}"),
        Resource::Postgres { dir } => format!("PostgreSQL in {}", dir.display()),
        Resource::Database { name, .. } => format!("database {name}"),
        Resource::Container { name } => format!("container {name}"),
        Resource::Namespace { name } => format!("namespace {name}"),
        Resource::Guest { namespace } => format!("its objects in the namespace {namespace}"),
        Resource::ClusterObject { kind, name } => format!("{kind} {name}"),
        Resource::Processes => "its processes".to_owned(),
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
        Resource::BootedNode { name } => {
            booted_node::discard(runner, name)?;
            remove_kubeconfigs(&run.dir().join(booted_node::KUBECONFIG));
            Ok(())
        }
        Resource::Postgres { dir } => postgres::stop_postgres(dir),
        Resource::Database { name, url_file } => {
            given_postgres::drop_database(runner, name, url_file)
        }
        Resource::Container { name } => docker::until_gone(runner, name, docker::SETTLED, || {
            docker::remove_container(runner, name)
        }),
        Resource::Processes => processes::end_all(run.dir()),
        Resource::Namespace { name } => gone::remove_namespace(run, runner, name),
        Resource::Guest { namespace } => gone::remove_from(run, runner, namespace),
        Resource::ClusterObject { kind, name } => gone::remove_wide(run, runner, kind, name),
        Resource::Directory { path } => match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        },
    }
}

/// Removes a kubeconfig and its copies for namespaces.
fn remove_kubeconfigs(kubeconfig: &Path) {
    let (Some(dir), Some(name)) = (kubeconfig.parent(), kubeconfig.file_name()) else {
        return;
    };
    let is_one = |path: &Path| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let rest = file.strip_prefix(&*name.to_string_lossy());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if is_one(&entry.path()) {
            drop(std::fs::remove_file(entry.path()));
        }
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
    remove_kubeconfigs(kubeconfig);
    Ok(())
}
