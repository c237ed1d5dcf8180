//! A team's own service in a cluster: its manifests as objects, its Service on the run's node port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::run::kind::access::kubectl;
use crate::run::kind::manifests::Manifest;
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;

/// The files that make a directory a kustomization.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The objects of a service's manifests. The Service that carries its name is published on the run's node port.
pub fn objects(
    session: &Session,
    service_run: &ServiceRun,
    node_port: u16,
) -> Result<Vec<Value>, Failure> {
    let mut objects = Vec::new();
    for path in &service_run.service.manifests {
        objects.extend(read(
            session,
            service_run,
            &service_run.service.root.join(path),
        )?);
    }
    for object in &mut objects {
        if object["kind"] == "Service"
            && object["metadata"]["name"] == service_run.service.name.as_str()
        {
            object["spec"]["type"] = json!("NodePort");
            object["spec"]["ports"][0]["nodePort"] = json!(node_port);
        }
    }
    Ok(objects)
}

fn read(session: &Session, service_run: &ServiceRun, path: &Path) -> Result<Vec<Value>, Failure> {
    if KUSTOMIZATIONS.iter().any(|name| path.join(name).is_file()) {
        let build = kubectl(session, &service_run.namespace)
            .command()
            .arg("kustomize")
            .arg(path)
            .deadline(Duration::from_mins(1));
        let text = build
            .read()
            .map_err(|error| error.into_failure(Exit::Setup, session.runner.cancel()))?;
        return parse(&text, path);
    }
    let unreadable = |error: std::io::Error| {
        Failure::new(
            Exit::Usage,
            format!("cannot read the manifest {}: {error}", path.display()),
        )
        .hint(format!(
            "look at `manifests` of {} in the table of services",
            service_run.service.name
        ))
    };
    if !path.is_dir() {
        return parse(&std::fs::read_to_string(path).map_err(unreadable)?, path);
    }
    let entries = std::fs::read_dir(path)
        .map_err(unreadable)?
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|file| is_manifest(file)).collect();
    files.sort();
    let texts = files
        .iter()
        .map(|file| parse(&std::fs::read_to_string(file).map_err(unreadable)?, file));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.concat())
}

fn is_manifest(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}

fn parse(text: &str, path: &Path) -> Result<Vec<Value>, Failure> {
    let manifest = Manifest::parse(text).map_err(|failure| Failure {
        summary: format!("{}: {}", path.display(), failure.summary),
        ..failure
    })?;
    // An empty document, as between two separators, is no object.
    Ok(manifest
        .objects()
        .into_iter()
        .filter(Value::is_object)
        .collect())
}
