//! Images on their way to pods of a cluster that others use too: pushed to a registry by this tool, named by digest (D38).

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::exit::{Exit, Failure};
use crate::run::check::ready_image;
use crate::run::kubernetes::image_archive;
use crate::run::kubernetes::images::{archive_file, own_directory, pinned, record_content};
use crate::run::session::Session;
use crate::table::image::Build;
use crate::table::part::Part;
use crate::table::service::Component;
use crate::tools::docker;
use crate::tools::registry::{self, Image, Pushed, Registry};
use crate::{run::plan::Target, settings};

/// Pushes Data Storage's image.
pub fn push_datastorage(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let artifacts = &session.artifacts;
    let slots = (&artifacts.datastorage, &artifacts.image);
    let ready = ready_image(Component::Datastorage, Target::Cluster);
    push_program(session, "datastorage", ready, slots, deadline)
}

/// Pushes the fake's image.
pub fn push_fake(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let artifacts = &session.artifacts;
    let slots = (&artifacts.fake, &artifacts.fake_image);
    let ready = ready_image(Component::Fake, Target::Cluster);
    push_program(session, "service-fake", ready, slots, deadline)
}

/// Pushes the relay's image.
pub fn push_relay(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let artifacts = &session.artifacts;
    let slots = (&artifacts.relay, &artifacts.relay_image);
    let ready = ready_image(Component::Relay, Target::Cluster);
    push_program(session, "audit-emit", ready, slots, deadline)
}

/// Pushes the image of the tunnel's end in the cluster.
pub fn push_tunnel(session: &Session, deadline: Duration) -> Result<String, Failure> {
    let artifacts = &session.artifacts;
    let slots = (&artifacts.tunnel, &artifacts.tunnel_image);
    let ready = settings::ready_image(e2e_env::TUNNEL_IMAGE);
    push_program(session, "tunnel-relay", ready, slots, deadline)
}

/// Wraps a static program as an image and pushes it, unless an image is named that takes its place.
fn push_program(
    session: &Session,
    package: &str,
    ready: Option<String>,
    (binary, slot): (&OnceLock<PathBuf>, &OnceLock<String>),
    deadline: Duration,
) -> Result<String, Failure> {
    if let Some(image) = ready {
        return Ok(format!("{} as it is named", slot.get_or_init(|| image)));
    }
    let binary = Session::artifact(binary, "the binary")?;
    let image = std::fs::read(binary)
        .and_then(|bytes| image_archive::of_binary(package, &bytes))
        .map_err(Failure::setup)?;
    let file = own_directory(session)?.join(format!("{package}.tar"));
    std::fs::write(&file, &image.archive).map_err(Failure::setup)?;
    let pushed = push(session, &file, &repository_of(package), deadline);
    drop(std::fs::remove_file(&file));
    let pushed = pushed?;
    let told = told_of(&pushed);
    slot.get_or_init(|| pushed.reference);
    Ok(told)
}

/// Pushes the images of a part that are made here; those that are only named are what the cluster pulls by itself.
pub fn push_images(session: &Session, part: &Part, deadline: Duration) -> Result<String, Failure> {
    let runner = &session.runner;
    let mut told = Vec::new();
    for image in &part.images {
        let content = pinned(session, &image.name);
        let (file, is_ours) = match (&image.build, &image.archive) {
            (Some(Build::Docker(_)), _) => {
                let file = archive_file(session, &image.name, &content);
                docker::save_to(runner, &image.name, &file, deadline)
                    .map_err(|error| error.into_failure(Exit::Setup, runner.cancel()))?;
                (file, true)
            }
            (Some(_), _) => (archive_file(session, &image.name, &content), true),
            (None, Some(archive)) => (part.root.join(archive), false),
            (None, None) => {
                told.push(format!("{} as it is named", image.name));
                continue;
            }
        };
        let pushed = push(session, &file, &repository(&image.name), deadline);
        if is_ours {
            drop(std::fs::remove_file(&file));
        }
        let pushed = pushed?;
        record_content(session, &image.name, &pushed.reference);
        told.push(told_of(&pushed));
    }
    Ok(told.join(", "))
}

/// The repository of an image of a team's own: its name without the registry that it names and without its tag.
fn repository(image: &str) -> String {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let (registry, path) = image.split_once('/').unwrap_or(("", image));
    let is_registry = registry == "localhost" || registry.contains(['.', ':']);
    let name = if is_registry || registry.is_empty() {
        path
    } else {
        image
    };
    let last = name.rfind('/').map_or(0, |at| at + 1);
    let tag = name[last..].find(':').map_or(name.len(), |at| last + at);
    name[..tag].to_owned()
}

fn push(
    session: &Session,
    archive: &Path,
    repository: &str,
    deadline: Duration,
) -> Result<Pushed, Failure> {
    let program = Session::artifact(&session.artifacts.pusher, "the program that pushes")?;
    let registry = registry_of(session)?;
    let image = Image {
        archive: archive.to_owned(),
        repository: repository.to_owned(),
    };
    let mut pushed = registry::push(&session.runner, program, &registry, &[image], deadline)?;
    pushed.pop().ok_or_else(|| {
        let what = format!("{repository} was pushed, and nothing said what it is called");
        Failure::new(Exit::Setup, what)
    })
}

/// An image that is in the registry, in a line.
fn told_of(pushed: &Pushed) -> String {
    let name = pushed.reference.split('@').next().unwrap_or_default();
    match pushed.layers_pushed {
        0 => format!("{name} is there already"),
        _ => format!("{name}, {} KB sent", pushed.pushed_bytes / 1000),
    }
}

/// The repository of a program of the checkout.
pub fn repository_of(package: &str) -> String {
    format!("kubernaut-{package}")
}

/// The registry of the run; a failure where it has none and needs one.
pub fn registry_of(session: &Session) -> Result<Registry, Failure> {
    let guest = session.guest.as_ref();
    let name = guest
        .and_then(|guest| guest.registry.clone())
        .ok_or_else(|| {
            Failure::new(
                Exit::Preflight,
                "images have to be pushed for the cluster to pull, and no registry is named",
            )
            .hint(format!(
                "name one by --registry, or ready images by {}, {}, {} and {}",
                e2e_env::DATASTORAGE_IMAGE,
                e2e_env::FAKE_IMAGE,
                e2e_env::RELAY_IMAGE,
                e2e_env::TUNNEL_IMAGE,
            ))
        })?;
    Ok(Registry {
        name,
        insecure: guest.is_some_and(|guest| guest.insecure_registry),
    })
}

/// The content of the Secret by which pods may pull from the run's registry.
pub fn pull_secret(session: &Session) -> Result<String, Failure> {
    let program = Session::artifact(&session.artifacts.pusher, "the program that pushes")?;
    let secret = registry::pull_secret(&session.runner, program, &registry_of(session)?)?;
    session.report.secrets().add(&secret);
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_a_team_keeps_its_path_below_the_registry_of_the_run() {
        for (image, expected) in [
            ("greeter:e2e", "greeter"),
            ("localhost/greeter:e2e", "greeter"),
            ("team/greeter", "team/greeter"),
            ("registry.example:5000/team/greeter:1", "team/greeter"),
            ("greeter@sha256:0", "greeter"),
        ] {
            assert_eq!(repository(image), expected);
        }
    }
}
