//! Images on their way into a node: PostgreSQL's from the host, programs of the checkout wrapped in memory, a team's own.
//!
//! Each is known by its content, so that one which is there already is not sent again, and the node's container runtime itself must list it.

use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::exit::{Exit, Failure};
use crate::image;
use crate::lifecycle::kind::{cluster, datastorage_image, postgres_image};
use crate::lifecycle::plan::Step;
use crate::lifecycle::session::Session;
use crate::lifecycle::tenant::Tenant;
use crate::process::Door;
use crate::tools::{cargo, docker, kind};

/// Streams PostgreSQL's image into the node as soon as its container runtime answers.
pub fn load_postgres(session: &Session, deadline: Duration) -> Result<String, Failure> {
    load_from_host(session, &postgres_image(), "POSTGRES_IMAGE", deadline)
}

/// Streams an image that the host has or can pull into the node, unless the node has this very content.
fn load_from_host(
    session: &Session,
    image: &str,
    named_in: &str,
    deadline: Duration,
) -> Result<String, Failure> {
    let (door, node) = (&session.door, kind::node(&cluster(session)));
    let id = docker::ensure_image(door, image, named_in)?;
    let failed = |error: crate::process::Error| error.into_failure(Exit::Setup, door.cancel());
    // The name may stand for another image by now: only the content tells whether the node has this one.
    let content = docker::content_name(&id);
    let is_there =
        |present: &[String]| present.contains(&content) && find(present, image).is_some();
    let known = format!("{image} is in the node already");
    let ahead = match docker::node_images(door, &node) {
        Ok(present) if is_there(&present) => return Ok(known),
        Ok(_) => None,
        // A node in the making has no image yet: Docker may begin to read it while kind does the rest.
        Err(_) => Some(docker::save(door, image).map_err(failed)?),
    };
    await_runtime(door, &node, deadline)?;
    // One import after the other: two would share the same cores, and may be of the same image.
    let _alone = session
        .made
        .importing
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if is_there(&docker::node_images(door, &node).map_err(failed)?) {
        return Ok(known);
    }
    let saved = match ahead {
        Some(saved) => saved,
        None => docker::save(door, image).map_err(failed)?,
    };
    docker::stream_into_node(door, saved, &node).map_err(failed)?;
    let name = listed(door, &node, image)?;
    docker::tag_in_node(door, &node, &name, &content).map_err(failed)?;
    Ok(image.to_owned())
}

/// Waits until a node's container runtime answers, long before Kubernetes does, and returns the names of its images.
fn await_runtime(door: &Door, node: &str, deadline: Duration) -> Result<Vec<String>, Failure> {
    let began = Instant::now();
    loop {
        match docker::node_images(door, node) {
            Ok(images) => return Ok(images),
            Err(seen) => {
                door.cancel().check()?;
                if began.elapsed() > deadline {
                    let waited = format!(
                        "{node} had no container runtime after {} s",
                        deadline.as_secs()
                    );
                    return Err(Failure::new(Exit::Deadline, waited).seen(seen.to_string()));
                }
            }
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Brings Data Storage's image into the node unless it is there.
pub fn load_datastorage(session: &Session, deadline: Duration) -> Result<String, Failure> {
    if let Some(image) = datastorage_image() {
        let note = load_from_host(session, &image, e2e_env::DATASTORAGE_IMAGE, deadline)?;
        session.made.image.get_or_init(|| image);
        return Ok(note);
    }
    load_program(
        session,
        "datastorage",
        (&session.made.datastorage, &session.made.image),
        deadline,
    )
}

/// Brings the double's image into the node unless it is there.
pub fn load_double(session: &Session, deadline: Duration) -> Result<String, Failure> {
    load_program(
        session,
        "service-double",
        (&session.made.double, &session.made.double_image),
        deadline,
    )
}

/// Brings a program of the checkout into the node: its static binary wrapped as an image, or, on hosts that cannot build that, an
/// image that Docker builds.
fn load_program(
    session: &Session,
    package: &str,
    (binary, slot): (&OnceLock<PathBuf>, &OnceLock<String>),
    deadline: Duration,
) -> Result<String, Failure> {
    let (door, node) = (&session.door, kind::node(&cluster(session)));
    let failed = |error: crate::process::Error| error.into_failure(Exit::Setup, door.cancel());
    let present = await_runtime(door, &node, deadline)?;
    let reference = if cargo::BUILDS_STATIC {
        let binary = Session::made(binary, "the binary")?;
        let image = std::fs::read(binary)
            .and_then(|bytes| image::of_binary(package, &bytes))
            .map_err(Failure::setup)?;
        if !present.contains(&image.reference) {
            docker::archive_into_node(door, image.archive, &node).map_err(failed)?;
        }
        image.reference
    } else {
        let reference = docker::build(
            door,
            &session.paths.source,
            "kind/datastorage.Dockerfile",
            package,
        )
        .map_err(failed)?;
        if !present.contains(&reference) {
            let saved = docker::save(door, &reference).map_err(failed)?;
            docker::stream_into_node(door, saved, &node).map_err(failed)?;
        }
        reference
    };
    let known = if present.contains(&reference) {
        " is in the node already"
    } else {
        listed(door, &node, &reference)?;
        ""
    };
    Ok(format!("{}{known}", slot.get_or_init(|| reference)))
}

/// Brings the images that a service's manifests name into the node: built, read from an archive, or pulled by Docker.
pub fn load_images(
    session: &Session,
    tenant: &Tenant,
    deadline: Duration,
) -> Result<String, Failure> {
    let door = &session.door;
    let mut told = Vec::new();
    for image in &tenant.service.images {
        let at = |path: &Path| tenant.service.root.join(path);
        match (&image.build, &image.archive) {
            (Some(dir), _) => {
                let lines = session.lines(&session.stage(Step::LoadService, tenant));
                docker::build_as(door, &at(dir), &image.name, deadline, lines)?;
            }
            (None, Some(archive)) => docker::load(door, &at(archive), &image.name)?,
            (None, None) => {}
        }
        told.push(load_from_host(
            session,
            &image.name,
            "the table of services",
            deadline,
        )?);
    }
    Ok(told.join(", "))
}

/// An import's exit status is not proof: the node's container runtime itself must list the image. Returns its name there.
fn listed(door: &Door, node: &str, image: &str) -> Result<String, Failure> {
    let names = docker::node_images(door, node)
        .map_err(|error| error.into_failure(Exit::Setup, door.cancel()))?;
    find(&names, image).ok_or_else(|| {
        Failure::new(
            Exit::Setup,
            format!("{image} was imported, yet the node's container runtime does not list it"),
        )
        .next(format!(
            "`docker exec {node} crictl images` shows what it has"
        ))
    })
}

/// An image among the node's, whose names are whole where people leave the registry out.
fn find(names: &[String], image: &str) -> Option<String> {
    let whole = [
        image.to_owned(),
        format!("docker.io/{image}"),
        format!("docker.io/library/{image}"),
    ];
    names.iter().find(|name| whole.contains(name)).cloned()
}
