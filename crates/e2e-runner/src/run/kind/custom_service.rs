//! A team's own service in a cluster: its manifests as objects, its Service on the run's node port, and when all of it is ready.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::run::kind::access::kubectl;
use crate::run::kind::images;
use crate::run::kind::manifests::{self, Manifest};
use crate::run::kind::pods::await_earlier_gone;
use crate::run::reuse::{self, Layer};
use crate::run::service_run::ServiceRun;
use crate::run::session::Session;
use crate::run::wait;
use crate::state::Applied;
use crate::table::part::{Ready, Source};
use crate::tools::kubectl::pods::{Expected, Strictness};

/// The files that make a directory a kustomization.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The objects of a service's manifests. The Service that carries its name is published on the run's node port.
pub fn objects(
    session: &Session,
    service_run: &ServiceRun,
    node_port: u16,
) -> Result<Vec<Value>, Failure> {
    let mut objects = Vec::new();
    for source in &service_run.service.own.manifests {
        let Source::Named(path) = source else {
            continue;
        };
        objects.extend(read(
            session,
            service_run,
            &service_run.service.root().join(path),
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
    let images = &service_run.service.own.images;
    manifests::pin_images(&mut objects, |name| {
        let known = images
            .iter()
            .find(|image| short(&image.name) == short(name))?;
        Some(images::pinned(session, &known.name))
    });
    Ok(objects)
}

/// An image's name without the registry that people leave out.
fn short(image: &str) -> &str {
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    image.strip_prefix("library/").unwrap_or(image)
}

/// Waits until what the service applied last is ready, nothing that it was before runs any more, and its address answers.
pub fn await_ready(
    session: &Session,
    service_run: &ServiceRun,
    deadline: Duration,
) -> Result<String, Failure> {
    let (layer, whose) = (Layer::Service, Some(service_run));
    let began = Instant::now();
    // One deadline for all of it.
    let left = || deadline.saturating_sub(began.elapsed());
    let applied = session
        .run
        .state()
        .applied
        .remove(&reuse::key(layer, whose));
    let workloads: Vec<Applied> = applied
        .into_iter()
        .flatten()
        .filter(|object| !object.pods.is_empty())
        .collect();
    let awaited = awaited(service_run, &workloads);
    for Awaited {
        namespace,
        selector,
        count,
        ..
    } in &awaited
    {
        let expected = Expected {
            label: selector,
            count: *count,
            strictness: Strictness::OneRestart,
        };
        kubectl(session, namespace).await_ready(
            &expected,
            left(),
            |_| {},
            |text| session.report.note(text),
            || Ok(false),
        )?;
    }
    for Awaited {
        namespace,
        deployment,
        ..
    } in &awaited
    {
        if let Some(name) = deployment {
            kubectl(session, namespace).await_rollout(name, left())?;
        }
    }
    await_earlier_gone(session, (layer, whose), left())?;
    match service_run.service_url.get() {
        Some(_) if service_run.service.own.ready_path.is_some() => {
            wait::for_service(session, service_run, left())
        }
        Some(url) => wait::for_address(session, &service_run.service.name, url, left()),
        None => Ok("it publishes no port".to_owned()),
    }
}

/// Pods to wait for.
#[derive(Debug, PartialEq, Eq)]
struct Awaited {
    namespace: String,
    selector: String,
    /// How many there must be at least.
    count: u16,
    /// The deployment that makes them, which knows how many there should be.
    deployment: Option<String>,
}

/// The pods that the table names, else those of every workload that was applied. Of pods that such a workload makes only the newest count.
fn awaited(service_run: &ServiceRun, workloads: &[Applied]) -> Vec<Awaited> {
    let of_workload = |workload: &Applied| Awaited {
        namespace: workload.namespace.clone().unwrap_or_default(),
        selector: selector(&workload.pods),
        count: workload.count,
        deployment: (workload.kind == "Deployment").then(|| workload.name.clone()),
    };
    let ready: Vec<&String> = service_run
        .service
        .own
        .ready
        .iter()
        .filter_map(|ready| match ready {
            Ready::Pods(label) => Some(label),
            _ => None,
        })
        .collect();
    if ready.is_empty() {
        return workloads.iter().map(of_workload).collect();
    }
    let mut awaited = Vec::new();
    for named in ready {
        let (namespace, label) = in_namespace(named, &service_run.namespace);
        let makes_them = |workload: &&Applied| {
            workload.namespace.as_deref() == Some(namespace)
                && label.split(',').all(|term| {
                    let term = term.split_once('=');
                    term.is_some_and(|(name, value)| {
                        workload.pods.get(name.trim()).map(String::as_str) == Some(value.trim())
                    })
                })
        };
        let made: Vec<_> = workloads
            .iter()
            .filter(makes_them)
            .map(of_workload)
            .collect();
        if made.is_empty() {
            // Of an operator, say, which makes its pods itself.
            awaited.push(Awaited {
                namespace: namespace.to_owned(),
                selector: label.to_owned(),
                count: 1,
                deployment: None,
            });
        }
        awaited.extend(made);
    }
    awaited
}

/// `NAMESPACE/LABEL`, or a label alone. The prefix of a label's own name has a dot (it is a DNS subdomain), a namespace has none.
fn in_namespace<'a>(named: &'a str, own: &'a str) -> (&'a str, &'a str) {
    match named.split_once('/') {
        Some((namespace, label)) if !namespace.contains(['.', '=']) => (namespace, label),
        _ => (own, named),
    }
}

fn selector(labels: &BTreeMap<String, String>) -> String {
    let terms = labels.iter().map(|(name, value)| format!("{name}={value}"));
    terms.collect::<Vec<_>>().join(",")
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
    let objects = manifest.objects().into_iter().filter(Value::is_object);
    // A list of objects, as kubectl prints them, is its objects.
    Ok(objects.flat_map(items).collect())
}

/// The objects of a list, or the only object.
fn items(mut object: Value) -> Vec<Value> {
    let is_list = object["kind"] == "List";
    match object.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => items,
        Some(other) => {
            object["items"] = other;
            vec![object]
        }
        None => vec![object],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_name_its_namespace() {
        assert_eq!(in_namespace("app=w", "own"), ("own", "app=w"));
        assert_eq!(
            in_namespace("tekton-pipelines/app=webhook", "own"),
            ("tekton-pipelines", "app=webhook")
        );
        let named = "app.kubernetes.io/name=w";
        assert_eq!(in_namespace(named, "own"), ("own", named));
        assert_eq!(
            in_namespace("other/app.kubernetes.io/name=w", "own"),
            ("other", named)
        );
    }

    #[test]
    fn a_list_of_objects_is_its_objects() {
        let text = "kind: List\nitems: [{kind: A}, {kind: B}]\n---\nkind: C\nitems: [1]\n---\nkind: D\n---\n";
        let objects = parse(text, Path::new("m.yaml")).unwrap();
        let kinds: Vec<_> = objects
            .iter()
            .map(|object| object["kind"].as_str())
            .collect();
        assert_eq!(kinds, [Some("A"), Some("B"), Some("C"), Some("D")]);
        assert_eq!(objects[3], serde_json::json!({"kind": "D"}));
        assert_eq!(objects[2]["items"], serde_json::json!([1]));
    }

    #[test]
    fn an_image_is_the_same_with_and_without_the_registry_that_people_leave_out() {
        for name in ["w:e2e", "library/w:e2e", "docker.io/library/w:e2e"] {
            assert_eq!(short(name), "w:e2e");
        }
        assert_eq!(short("docker.io/team/w"), "team/w");
        assert_eq!(short("localhost/w"), "localhost/w");
    }
}
