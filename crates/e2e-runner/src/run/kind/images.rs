//! Images on their way into a node: PostgreSQL's from the host, programs of the checkout wrapped in memory, a team's own.
//!
//! Each is known by its content, so that one which is there already is not sent again, and the node's container runtime itself must list it.

use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError};
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::fingerprint::fingerprint;
use crate::inputs::{Inputs, Kept};
use crate::process::Error;
use crate::run::kind::cluster::is_cluster_reused;
use crate::run::kind::named;
use crate::run::kubernetes::access::{home, kubectl};
use crate::run::kubernetes::image_archive;
use crate::run::kubernetes::images::{TABLE, archive_file, pinned, record_content};
use crate::run::session::Session;
use crate::settings::{datastorage_image, postgres_image};
use crate::state::State;
use crate::table::image::Build;
use crate::table::part::Part;
use crate::tools::{cargo, docker};
use crate::wait::{Look, Wait};

/// Brings PostgreSQL's image into the node as soon as its container runtime answers.
pub fn load_postgres(session: &Session, deadline: Duration) -> Result<String, Failure> {
    load_from_host(session, &postgres_image(), "POSTGRES_IMAGE", deadline)
}

/// Brings an image that the host has or can pull into the node, unless the node has this very content. Pods get it by a name that
/// only this content has: a tag may be another image by now, on the host as in the node.
fn load_from_host(
    session: &Session,
    image: &str,
    named_in: &str,
    deadline: Duration,
) -> Result<String, Failure> {
    let (runner, node) = (&session.runner, named::node(session));
    let id = docker::ensure_image(runner, image, named_in, deadline)?;
    // The name may stand for another image by now: only the content tells whether the node has this one.
    let content = docker::content_name(&id);
    record_content(session, image, &content);
    let known = Ok(format!("{image} is in the node already"));
    let is_known = named_in != TABLE || is_named(session, image, &content);
    if is_there(session, &node, &content, image, (is_known, deadline))? {
        return known;
    }
    // One after the other: two would share the same cores, and may be of the same image.
    let mut streamed = session
        .artifacts
        .streamed
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if !streamed.insert(format!("{image} {content}")) {
        return known;
    }
    let loaded = docker::load_into(runner, &node, &docker::tagged(image), &content);
    let names = loaded.map_err(|error| {
        let failure = error.into_failure(Exit::Setup, runner.cancel());
        match docker::architectures(runner, image) {
            Some((daemon, of_image)) if daemon != of_image => {
                let what = format!("{image} is for {of_image}, and this machine runs {daemon}");
                Failure::new(Exit::Setup, what)
                    .detail(failure.summary)
                    .hint(format!("build or pull it with --platform linux/{daemon}"))
            }
            _ => failure,
        }
    })?;
    listed(&names, &node, image)?;
    Ok(image.to_owned())
}

/// Whether the node has an image under the name of its content and its own. What a container of a kept cluster runs is there: where its
/// own name is known to stand for it, or nobody needs that, the node itself, which takes ten times as long to ask, is not asked.
fn is_there(
    session: &Session,
    node: &str,
    content: &str,
    image: &str,
    (is_known, deadline): (bool, Duration),
) -> Result<bool, Failure> {
    if is_known && is_cluster_reused(session)? {
        let running = &session.artifacts.running;
        let running = running.get_or_init(|| kubectl(session, home(session)).images_that_run());
        if running.contains(content) {
            return Ok(true);
        }
    }
    let there = await_runtime(session, node, deadline)?;
    Ok(there.iter().any(|name| name == content) && find(&there, image).is_some())
}

/// Waits until a node's container runtime answers, long before Kubernetes does, and returns the names of its images. One stage
/// asks, and others get the same answer: each look from outside costs the node's cores what kubeadm needs them for.
fn await_runtime(
    session: &Session,
    node: &str,
    deadline: Duration,
) -> Result<Vec<String>, Failure> {
    let mut present = session
        .artifacts
        .present
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(images) = &*present {
        return Ok(images.clone());
    }
    let runner = &session.runner;
    await_certain(session, deadline)?;
    let wait = Wait {
        what: &format!("{node} had no container runtime"),
        deadline,
        interval: Duration::from_millis(250),
    };
    let images = wait.until(runner.cancel(), || {
        Ok(match docker::node_images_when_ready(runner, node) {
            Ok(images) => Look::Ready(images),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })?;
    Ok(present.insert(images).clone())
}

/// Waits until the node is certain to stay: what is brought into one that is given up is lost.
fn await_certain(session: &Session, deadline: Duration) -> Result<(), Failure> {
    let wait = Wait {
        what: "the cluster's node was not certain",
        deadline,
        interval: Duration::from_millis(10),
    };
    wait.until(session.runner.cancel(), || {
        let artifacts = &session.artifacts;
        let is_certain = artifacts.booted.get().is_none() || artifacts.certain.get().is_some();
        Ok(if is_certain {
            Look::Ready(())
        } else {
            Look::NotYet("one that was booted before is being tried".to_owned())
        })
    })
}

/// Brings Data Storage's image into the node unless it is there.
pub fn load_datastorage(session: &Session, deadline: Duration) -> Result<String, Failure> {
    if let Some(image) = datastorage_image() {
        let note = load_from_host(session, &image, e2e_env::DATASTORAGE_IMAGE, deadline)?;
        session
            .artifacts
            .image
            .get_or_init(|| pinned(session, &image));
        return Ok(note);
    }
    load_program(
        session,
        "datastorage",
        (&session.artifacts.datastorage, &session.artifacts.image),
        deadline,
    )
}

/// Brings the fake's image into the node unless it is there.
pub fn load_fake(session: &Session, deadline: Duration) -> Result<String, Failure> {
    load_program(
        session,
        "service-fake",
        (&session.artifacts.fake, &session.artifacts.fake_image),
        deadline,
    )
}

/// Brings the relay's image into the node unless it is there.
pub fn load_relay(session: &Session, deadline: Duration) -> Result<String, Failure> {
    load_program(
        session,
        "audit-emit",
        (&session.artifacts.relay, &session.artifacts.relay_image),
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
    let (runner, node) = (&session.runner, named::node(session));
    let failed = |error: Error| error.into_failure(Exit::Setup, runner.cancel());
    if !cargo::BUILDS_STATIC {
        let reference = docker::build(
            &runner.within(deadline),
            &session.paths.source,
            "kind/datastorage.Dockerfile",
            package,
        )
        .map_err(failed)?;
        let told = load_from_host(session, &reference, "the checkout", deadline)?;
        slot.get_or_init(|| pinned(session, &reference));
        return Ok(told);
    }
    let binary = Session::artifact(binary, "the binary")?;
    let kept = kept_in(&session.paths.target, package, binary);
    if let Some(reference) = Kept::<String>::read(&kept, |_| None)
        && is_there(session, &node, &reference, &reference, (true, deadline))?
    {
        let reference = slot.get_or_init(|| reference);
        return Ok(format!("{reference} is in the node already"));
    }
    let mut inputs = Inputs::default();
    inputs.file(binary);
    // The tool decides what else is in an image.
    let tool = std::env::current_exe().map_err(Failure::setup)?;
    let is_there_still = tool.is_file();
    inputs.file(tool);
    let image = std::fs::read(binary)
        .and_then(|bytes| image_archive::of_binary(package, &bytes))
        .map_err(Failure::setup)?;
    // Not where it was replaced since it started: another one wraps otherwise.
    if is_there_still {
        Kept::write(&kept, inputs, image.reference.clone());
    }
    let (name, archive) = (image.reference, image.archive);
    let known = if is_there(session, &node, &name, &name, (true, deadline))? {
        " is in the node already"
    } else {
        let names = docker::import_bytes(runner, &node, archive).map_err(failed)?;
        listed(&names, &node, &name)?;
        ""
    };
    Ok(format!("{}{known}", slot.get_or_init(|| name)))
}

/// The file, in the target directory, that keeps which image a program was wrapped as: of each place that it may lie in another.
fn kept_in(target: &Path, package: &str, binary: &Path) -> PathBuf {
    let place = fingerprint(&[&binary.display().to_string()]);
    let name = format!("{package}-{}.json", &place[..16]);
    target.join("e2e-images").join(name)
}

/// Brings the images of a part into the node, once they are made.
pub fn load_images(session: &Session, part: &Part, deadline: Duration) -> Result<String, Failure> {
    let mut told = Vec::new();
    for image in &part.images {
        let wrapped = matches!(
            image.build,
            Some(Build::Go(_) | Build::Cargo(_) | Build::Files(_))
        );
        told.push(if wrapped {
            load_wrapped(session, &image.name, deadline)?
        } else {
            load_from_host(session, &image.name, TABLE, deadline)?
        });
        name_content(session, &image.name, deadline)?;
    }
    Ok(told.join(", "))
}

/// Brings an image that this run has wrapped into the node, unless the node has this very content.
fn load_wrapped(session: &Session, image: &str, deadline: Duration) -> Result<String, Failure> {
    let (runner, node) = (&session.runner, named::node(session));
    let content = pinned(session, image);
    let file = archive_file(session, image, &content);
    let is_known = is_named(session, image, &content);
    let known = is_there(session, &node, &content, image, (is_known, deadline))?;
    let mut streamed = session
        .artifacts
        .streamed
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    // Another part may have the same image; who comes first sends it.
    let told = if known || !streamed.insert(format!("{image} {content}")) {
        format!("{image} is in the node already")
    } else {
        let archive = std::fs::read(&file).map_err(Failure::setup)?;
        let names = docker::import_bytes(runner, &node, archive)
            .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
        listed(&names, &node, image)?;
        image.to_owned()
    };
    drop(std::fs::remove_file(file));
    Ok(told)
}

/// The key of the content that an image's own name stands for in the node.
fn name_key(image: &str) -> String {
    format!("image/{image}")
}

/// Whether an image's own name in the node stands for this content, as an earlier run has made it.
fn is_named(session: &Session, image: &str, content: &str) -> bool {
    let known = session.run.state().fingerprints.remove(&name_key(image));
    known.as_deref() == Some(content)
}

/// Makes an image's own name in the node stand for the content that was loaded last: whoever is told of it otherwise than by a pod of
/// the manifests, such as an operator by an argument, has only this name.
fn name_content(session: &Session, image: &str, deadline: Duration) -> Result<(), Failure> {
    let (runner, content) = (&session.runner, pinned(session, image));
    if is_named(session, image, &content) {
        return Ok(());
    }
    let (node, key) = (named::node(session), name_key(image));
    let names = await_runtime(session, &node, deadline)?;
    if let Some(name) = find(&names, image) {
        docker::tag_in_node(runner, &node, &content, name)
            .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
    }
    let record = |state: &mut State| drop(state.fingerprints.insert(key, content));
    session.run.update(record).map_err(Failure::setup)
}

/// An import's exit status is not proof: the node's container runtime itself must list the image.
fn listed(names: &[String], node: &str, image: &str) -> Result<(), Failure> {
    if find(names, image).is_some() {
        return Ok(());
    }
    let what = format!("{image} was imported, yet the node's container runtime does not list it");
    Err(Failure::new(Exit::Setup, what).hint(format!(
        "`docker exec {node} crictl images` shows what it has"
    )))
}

/// An image among the node's, whose names are whole where people leave the registry or the tag out.
fn find<'a>(names: &'a [String], image: &str) -> Option<&'a String> {
    let image = docker::tagged(image);
    let whole = [
        image.clone(),
        format!("docker.io/{image}"),
        format!("docker.io/library/{image}"),
    ];
    names.iter().find(|name| whole.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_lies_elsewhere_is_not_taken_for_one_that_was_wrapped_before() {
        let of = |binary: &str| kept_in(Path::new("/target"), "datastorage", Path::new(binary));
        assert_eq!(of("/a/datastorage"), of("/a/datastorage"));
        assert_ne!(of("/a/datastorage"), of("/b/datastorage"));
    }

    #[test]
    fn an_image_is_found_without_its_registry_and_its_tag() {
        let names = ["docker.io/library/redis:7", "localhost:5000/team/gw:latest"];
        let names = names.map(str::to_owned);
        for image in [
            "redis:7",
            "library/redis:7",
            "docker.io/library/redis:7",
            "localhost:5000/team/gw",
        ] {
            assert!(find(&names, image).is_some(), "{image}");
        }
        assert_eq!(find(&names, "redis"), None);
        assert_eq!(docker::tagged("x@sha256:0"), "x@sha256:0");
    }
}
