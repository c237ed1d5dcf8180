//! Whether a run can be a guest in its cluster, found before anything is made there: the context, the rights, the registry.

use crate::exit::{Exit, Failure};
use crate::guest::kubeconfig::secrets_of;
use crate::guest::rights::Uses;
use crate::process::Runner;
use crate::run::check::ready_image;
use serde_json::Value;

use crate::run::cluster::fit::{is_of_the_cluster, not_cluster_wide};
use crate::run::cluster::push;
use crate::run::kubernetes::access::{kubeconfig, kubectl};
use crate::run::kubernetes::manifests;
use crate::run::plan::{PROGRAMS, Step, Target};
use crate::run::session::Session;
use crate::settings;
use crate::table::image::Image;
use crate::table::source::{Source, is_kustomization, is_url, manifests_of};
use crate::tools::registry;

/// Copies the context into the run's directory, asks the API server what the run may do, and the registry whether it takes images.
pub fn preflight(session: &Session) -> Result<String, Failure> {
    let runner = &session.runner;
    Runner::find("kubectl", None).map_err(|error| {
        Failure::new(Exit::Preflight, error.to_string()).hint("install kubectl")
    })?;
    let Some(guest) = &session.guest else {
        return Err(Failure::new(Exit::Usage, "no cluster is named")
            .hint("name it by --target cluster --context NAME"));
    };
    of_the_cluster(session)?;
    let path = kubeconfig(session);
    guest.kubeconfig_into(runner, &path)?;
    for secret in secrets_of(&path) {
        session.report.secrets().add(&secret);
    }
    let uses = Uses {
        suites: true,
        exec: true,
        ..Uses::default()
    };
    let asked = kubectl(session, "default").command();
    for note in guest.preflight(&asked, &session.chosen(), uses)? {
        session.report.note(&note);
    }
    let mut told = vec![format!("{} answers", guest.server)];
    if pushes(session) || session.pulls_with_secret() {
        let wanted = push::registry_of(session)?;
        let lines = session.lines(&Step::Preflight.into());
        let program = registry::program(runner, &session.paths, lines)?;
        registry::check(
            runner,
            &program,
            &wanted,
            &push::repository_of("tunnel-relay"),
        )?;
        told.push(format!("{} takes images", wanted.name));
        session.artifacts.pusher.get_or_init(|| program);
    }
    Ok(told.join(", "))
}

/// Whether the run pushes an image: of a program of the checkout that no variable names, or of a part.
fn pushes(session: &Session) -> bool {
    let of_checkout = PROGRAMS.into_iter().any(|component| {
        session.having(component).next().is_some()
            && ready_image(component, Target::Cluster).is_none()
    });
    let made_here = |image: &Image| image.build.is_some() || image.archive.is_some();
    of_checkout
        || settings::ready_image(e2e_env::TUNNEL_IMAGE).is_none()
        || session.parts().flat_map(|part| &part.images).any(made_here)
}

/// Fails where manifests that can be read beforehand have objects of the whole cluster, and their part does not say so.
fn of_the_cluster(session: &Session) -> Result<(), Failure> {
    for part in session.parts().filter(|part| !part.cluster_wide) {
        let files = part.manifests.iter().filter_map(|source| match source {
            Source::Named(path) if !is_url(path) => Some(part.root.join(path)),
            Source::File(file) => Some(part.root.join(&file.file)),
            _ => None,
        });
        for path in files.filter(|path| !is_kustomization(path)) {
            for file in manifests_of(&path).into_iter().flatten() {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                // What cannot be read so is told when it is applied.
                let objects = manifests::parse(&text).unwrap_or_default();
                let wide =
                    |object: &&Value| object["kind"] != "Namespace" && is_of_the_cluster(object);
                if let Some(object) = objects.iter().find(wide) {
                    return Err(not_cluster_wide(&part.name, object));
                }
            }
        }
    }
    Ok(())
}
