//! The cluster: what it needs of the machine, created or used again, watched from its first second on.

use std::io::Write as _;
use std::panic::resume_unwind;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::fingerprint::fingerprint;
use crate::process::{Error, Runner};
use crate::run::kind::named::cluster;
use crate::run::kind::ports::{are_kept, leased, publish, wanted};
use crate::run::kind::{booted_node, booted_start, running_version};
use crate::run::kubernetes::access::{home, kubeconfig, kubectl};
use crate::run::layer::Layer;
use crate::run::session::Session;
use crate::state::Resource;
use crate::table::part::Part;
use crate::tools::kind::Mounted;
use crate::tools::{daemon, docker, kind};

/// Docker and kind answer, kubectl is there, and the service's ports are free where it insists on them.
pub fn preflight(session: &Session) -> Result<String, Failure> {
    let runner = &session.runner;
    let missing = |error: Error, next: &str| {
        let failure = error.into_failure(Exit::Preflight, runner.cancel());
        Failure {
            exit: if failure.exit == Exit::Setup {
                Exit::Preflight
            } else {
                failure.exit
            },
            ..failure
        }
        .hint(next)
    };
    let (docker, kind) = std::thread::scope(|scope| {
        let docker = scope.spawn(|| daemon::ask(runner));
        let kind = kind::version(runner);
        (
            docker.join().unwrap_or_else(|panic| resume_unwind(panic)),
            kind,
        )
    });
    let docker = docker.map_err(|error| {
        let hint = daemon::without(&error);
        missing(error, hint)
    })?;
    let docker = docker.usable()?;
    let kind = kind.map_err(|error| missing(error, "install kind, or run with --target local"))?;
    // Only looked for: it takes as long to start as the other two together, and has no daemon that may be away.
    Runner::find("kubectl", None)
        .map_err(|error| missing(error, "install kubectl, or run with --target local"))?;
    // The ports of a cluster that is used again are its own already.
    if !is_cluster_reused(session)? {
        wanted(session)?;
    }
    Ok(format!("docker {docker}, kind {kind}"))
}

/// What a cluster is made from: its configuration without the host ports, which a running one keeps, and the node image. Whether
/// that was prepared makes no difference to what it is.
pub fn cluster_fingerprint(
    runner: &Runner,
    services: usize,
    image: Option<String>,
    mounts: &[Mounted],
) -> Result<String, Failure> {
    let image = image.map(|image| docker::image_id(runner, &image).unwrap_or(image));
    Ok(fingerprint(&[
        &kind::config(services, &[], None, mounts)?,
        &image.unwrap_or_default(),
    ]))
}

/// The directories of this machine that the services and their parts want in the node.
pub fn mounts_of<'a>(parts: impl Iterator<Item = &'a Part>) -> Vec<Mounted> {
    let mounts = parts.flat_map(|part| {
        part.mounts.iter().map(|mount| Mounted {
            host: part.root.join(&mount.host),
            node: mount.node.clone(),
        })
    });
    mounts.collect()
}

fn mounts(session: &Session) -> Vec<Mounted> {
    mounts_of(session.parts())
}

/// Whether an earlier run has kept a cluster that this one uses again.
pub fn is_cluster_reused(session: &Session) -> Result<bool, Failure> {
    if let Some(stands) = session.artifacts.stands.get() {
        return Ok(*stands);
    }
    let (services, image) = (session.service_runs.len(), session.node_image());
    let made_from = cluster_fingerprint(&session.runner, services, image, &mounts(session))?;
    let stands = session.fingerprint_matches(Layer::Cluster.into(), &made_from)
        && docker::is_running(&session.runner, &kind::node(&cluster(session)));
    Ok(*session.artifacts.stands.get_or_init(|| stands))
}

/// Creates the cluster with the block of node ports mapped; host ports are the services' own where they are free.
pub fn create_cluster(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let (runner, name) = (&session.runner, cluster(session));
    if is_cluster_reused(session)? {
        publish(session, &name)?;
        are_kept(session)?;
        let version = running_version::check(session)?;
        return Ok(format!(
            "{name} is used again: same configuration and node image{version}"
        ));
    }
    let why = session.rebuild_reason(Layer::Cluster.into());
    clear(session, &name)?;
    session
        .run
        .will_make(Resource::Cluster { name: name.clone() })
        .map_err(Failure::setup)?;
    let prepared = session.artifacts.node.get();
    let shared = prepared.map(|node| node.directory.as_path());
    let mounts = mounts(session);
    for mount in &mounts {
        std::fs::create_dir_all(&mount.host).map_err(|error| {
            let what = format!("cannot make {}: {error}", mount.host.display());
            Failure::new(Exit::Usage, what).hint("correct `mounts` in the table of services")
        })?;
    }
    let wanted = wanted(session)?;
    let booted = start_booted(session, &name, &wanted, &mounts)?;
    session.artifacts.certain.get_or_init(|| ());
    if !booted {
        let config = kind::config(session.service_runs.len(), &wanted, shared, &mounts)?;
        let image = prepared.map(|node| node.image.clone());
        let image = image.or_else(|| session.node_image());
        let image = image.as_deref();
        let log = session.run.dir().join("kind-create.log");
        let mut log = std::fs::File::create(log).map_err(Failure::setup)?;
        // The log is evidence: a full disk must not fail a creation that succeeds.
        let keep = |line: &str| drop(writeln!(log, "{line}"));
        kind::create(
            runner,
            &name,
            &config,
            image,
            &kubeconfig(session),
            deadline,
            keep,
        )
        .map_err(|error| not_created(session, &name, error))?;
    }
    session.record_fingerprint(
        Layer::Cluster.into(),
        &cluster_fingerprint(
            runner,
            session.service_runs.len(),
            session.node_image(),
            &mounts,
        )?,
    )?;
    publish(session, &name)?;
    watch_cluster(session)?;
    let version = running_version::check(session)?;
    let how = if booted {
        ", from a node that was booted once"
    } else {
        ""
    };
    Ok(format!("{name}{how}{version}{}{why}", leased(session)?))
}

/// Starts the cluster from the prepared node that was booted once, if there is one; whether it can be trusted. Where it cannot, nothing of it is
/// left, and the run says why.
fn start_booted(
    session: &Session,
    name: &str,
    wanted: &[(u16, u16)],
    mounts: &[Mounted],
) -> Result<bool, Failure> {
    let artifacts = &session.artifacts;
    let Some((node, booted)) = artifacts.node.get().zip(artifacts.booted.get()) else {
        return Ok(false);
    };
    let started = booted_start::start(session, (&node.image, booted), name, wanted, mounts);
    let (failure, is_of_node) = match started {
        Ok(started) => match booted_start::await_trust(session, &started) {
            Ok(()) => return Ok(true),
            Err(failure) => (failure, true),
        },
        Err(failure) => (failure, false),
    };
    let runner = &session.runner;
    runner.cancel().check()?;
    let container = kind::node(name);
    // A node that never ran has no logs.
    drop(kind::export_logs(
        runner,
        name,
        &session.run.dir().join("booted-node-logs"),
    ));
    // What Docker did not start may start the next time; what started and is no cluster will not.
    let until = if is_of_node {
        booted_node::give_up(&node.key)
    } else {
        " this time".to_owned()
    };
    session.report.note(&format!(
        "the node that was booted once did not start: {failure}; the cluster is created as kind does{until}"
    ));
    docker::until_gone(runner, &container, Duration::ZERO, || {
        docker::remove_container(runner, &container)
    })
    .map_err(Failure::setup)?;
    Ok(false)
}

/// Why a cluster was not created, with what its node knows kept beside the output of kind.
fn not_created(session: &Session, name: &str, error: Error) -> Failure {
    let runner = &session.runner;
    let logs = session.run.dir().join("kind-logs");
    if !matches!(error, Error::Cancelled { .. }) {
        // A node that never came up has none.
        drop(kind::export_logs(runner, name, &logs));
    }
    let text = error.to_string();
    let failure = error.into_failure(Exit::Setup, runner.cancel());
    if !(text.contains("image") && (text.contains("pull") || text.contains("No such"))) {
        return failure;
    }
    failure.hint(match session.node_image() {
        Some(image) => format!(
            "the node image is {image}: `docker image inspect {image}` says whether it is there"
        ),
        None => "set KIND_NODE_IMAGE to a node image that this host has or can pull".to_owned(),
    })
}

/// Writes down what happens in the cluster from its first second on: events, and the states of all pods.
fn watch_cluster(session: &Session) -> Result<(), Failure> {
    for (what, file) in [
        ("events", "cluster-events.log"),
        ("pods", "cluster-pods.log"),
    ] {
        let watch = [
            "get",
            what,
            "--all-namespaces",
            "--watch",
            "--output",
            "wide",
        ];
        let watcher = kubectl(session, home(session))
            .command()
            .args(watch)
            .spawn(&session.run.dir().join(file));
        watcher
            .map(drop)
            .map_err(|error| error.into_failure(Exit::Setup, session.runner.cancel()))?;
    }
    Ok(())
}

/// Removes what an earlier run kept and this one cannot use: with the cluster goes everything in it.
fn clear(session: &Session, name: &str) -> Result<(), Failure> {
    let made = Resource::Cluster {
        name: name.to_owned(),
    };
    if !session.run.state().resources.contains(&made) {
        return Ok(());
    }
    let forget = |state: &mut crate::state::State| {
        state.fingerprints.clear();
        state.applied.clear();
    };
    session.run.update(forget).map_err(Failure::setup)?;
    kind::delete(&session.runner, name, &kubeconfig(session))
        .map_err(|error| error.into_failure(Exit::Setup, session.runner.cancel()))
}
