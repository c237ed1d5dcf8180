//! Objects: applied, compared with what is there, removed; each keeps the namespace that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::exit::Failure;
use crate::process::{Command, Error};
use crate::state::{Applied, write_private};
use crate::tools::api_server::Reference;
use crate::tools::kubectl::Kubectl;

/// How long the API server may take for what a finalizer holds.
const DELETED: Duration = Duration::from_mins(1);

/// How long a controller may take to give up the pods of before.
const GIVEN_UP: Duration = Duration::from_secs(2);

/// Of objects that were applied, those that are not as they were then.
#[derive(Debug, Default)]
pub struct Touched {
    /// Those that are there, changed.
    pub changed: Vec<Applied>,
    /// Whether one is not there.
    pub missing: bool,
}

impl Kubectl {
    /// Applies objects, server side, and says what they are now. They travel by standard input, so that secrets are in no process
    /// list and no file. An object without a namespace gets this one's.
    pub fn apply(&self, objects: &[Value]) -> Result<Vec<Applied>, Failure> {
        let mut applied = match self.applied(objects) {
            Some(applied) => applied,
            None => self.apply_by_process(objects)?,
        };
        for (object, applied) in objects.iter().zip(&mut applied) {
            applied.pods = pod_labels(object);
            applied.count = pod_count(object);
        }
        Ok(applied)
    }

    /// What the API server itself has applied; none where it did not apply them all.
    fn applied(&self, objects: &[Value]) -> Option<Vec<Applied>> {
        let one = |object: &Value| {
            let wanted = identity(object);
            let what = format!("apply {}/{}", wanted.kind, wanted.name);
            let of = self.reference(&wanted);
            let now = self.directly(&what, |server| server.apply(&of, object));
            now.map(|now| identity(&now))
        };
        // Another name to apply by is for clusters that others use too, and those are kubectl's.
        self.manager.is_none().then_some(())?;
        objects.iter().map(one).collect()
    }

    fn reference<'a>(&'a self, of: &'a Applied) -> Reference<'a> {
        Reference {
            api_version: &of.api_version,
            kind: &of.kind,
            namespace: of.namespace.as_deref().unwrap_or(&self.namespace),
            name: &of.name,
        }
    }

    fn apply_by_process(&self, objects: &[Value]) -> Result<Vec<Applied>, Failure> {
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--output",
            "json",
            "--filename",
            "-",
        ];
        let manager = self.manager.as_ref();
        let manager = manager.map(|manager| format!("--field-manager={manager}"));
        let apply = self.on(objects)?.args(args).args(manager);
        let apply = apply.stdin(list(objects));
        let text = self.read(&apply).map_err(|error| self.refused(error))?;
        Ok(identities(&text))
    }

    /// The failure of objects that were not applied: in a cluster that others use too the API server's own words come first, for most of
    /// what is refused there is refused by somebody's policy.
    fn refused(&self, error: Error) -> Failure {
        let said = match &error {
            Error::Failed { tail, .. } if !self.patience.is_zero() => {
                let mut lines = tail.lines().map(str::trim);
                lines.find(|line| {
                    line.starts_with("Error from server") || line.starts_with("error:")
                })
            }
            _ => None,
        };
        let said = said.map(|line| format!("the API server refuses what is applied: {line}"));
        let failure = self.failed(error);
        match said {
            Some(said) => Failure {
                summary: said,
                ..failure.clone()
            }
            .detail(failure.summary),
            None => failure,
        }
    }

    /// Those of these objects that are there, as the API server has them.
    pub fn there(&self, objects: &[Value]) -> Result<Vec<Value>, Failure> {
        let get = [
            "get",
            "--ignore-not-found",
            "--output",
            "json",
            "--filename",
            "-",
        ];
        let get = self.on(objects)?.args(get).stdin(list(objects));
        self.printed(&get)
    }

    /// Those of a kind with these names that are there.
    pub fn named<N: AsRef<str>>(&self, kind: &str, names: &[N]) -> Result<Vec<Value>, Failure> {
        let get = self.command().args(["get", kind]);
        let get = get.args(names.iter().map(AsRef::as_ref));
        self.printed(&get.args(["--ignore-not-found", "--output", "json"]))
    }

    /// Those of some kinds, separated by commas, that a selector finds in the namespace.
    pub fn labelled(&self, kinds: &str, selector: &str) -> Result<Vec<Value>, Failure> {
        let get = ["get", kinds, "--selector", selector, "--output", "json"];
        self.printed(&self.command().args(get))
    }

    /// The objects that a command prints: a list of them, one, or nothing at all where none is there.
    fn printed(&self, get: &Command) -> Result<Vec<Value>, Failure> {
        let text = self.read(get).map_err(|error| self.failed(error))?;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let printed: Value = serde_json::from_str(&text).map_err(Failure::setup)?;
        Ok(match printed["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![printed],
        })
    }

    /// Makes objects that are not there; one that is there is a failure, and stays as it is.
    pub fn create(&self, objects: &[Value]) -> Result<(), Failure> {
        let create = self.command().args(["create", "--filename", "-"]);
        let created = create.stdin(list(objects)).read();
        created.map(drop).map_err(|error| self.failed(error))
    }

    /// What is not as it was applied: what anybody has changed, deleted, or made again.
    pub fn touched(&self, applied: Vec<Applied>) -> Touched {
        let mut touched = Touched::default();
        if applied.is_empty() {
            return touched;
        }
        let by_process = || {
            let objects: Vec<Value> = applied.iter().map(reference).collect();
            // What cannot be asked for, such as an object of a definition that is gone, is applied again.
            let there = self.there(&objects).unwrap_or_default();
            there.iter().map(identity).collect()
        };
        let there = self.still_there(&applied).unwrap_or_else(by_process);
        for object in applied {
            match there.iter().find(|there| there.is(&object)) {
                Some(there) if there.version == object.version => {}
                Some(_) => touched.changed.push(object),
                None => touched.missing = true,
            }
        }
        touched
    }

    /// Those of these objects that are there, as the API server itself says; none where it does not say it of all.
    fn still_there(&self, applied: &[Applied]) -> Option<Vec<Applied>> {
        let one = |object: &Applied| {
            let what = format!("get {}/{}", object.kind, object.name);
            let of = self.reference(object);
            let metadata = self.directly(&what, |server| server.metadata(&of))?;
            Some(metadata.map(|metadata| {
                let (version, kind) = (&object.api_version, &object.kind);
                identity(&json!({"apiVersion": version, "kind": kind, "metadata": metadata}))
            }))
        };
        let there: Option<Vec<_>> = applied.iter().map(one).collect();
        Some(there?.into_iter().flatten().collect())
    }

    /// Removes objects, and waits until they and what they made, such as pods, are gone.
    pub fn delete(&self, applied: &[Applied]) -> Result<(), Failure> {
        if applied.is_empty() {
            return Ok(());
        }
        let objects: Vec<Value> = applied.iter().map(reference).collect();
        let timeout = format!("{}s", DELETED.as_secs());
        let args = [
            "delete",
            "--ignore-not-found",
            "--cascade=foreground",
            "--timeout",
            &timeout,
            "--filename",
            "-",
        ];
        let delete = self.on(&objects)?.args(args).stdin(list(&objects));
        self.read(&delete)
            .map(drop)
            .map_err(|error| self.failed(error))
    }

    /// The names of the pods that a selector finds, `everywhere` in the cluster or in the namespace alone.
    pub fn pods(&self, selector: &str, everywhere: bool) -> Result<Vec<String>, Failure> {
        let namespace = (!everywhere).then_some(self.namespace.as_str());
        let what = format!("get pods {selector}");
        if let Some(pods) = self.directly(&what, |server| server.pods(namespace, selector)) {
            let text = |pod: &Value, name: &str| pod[name].as_str().unwrap_or_default().to_owned();
            let name = |pod: &Value| format!("{}/{}", text(pod, "namespace"), text(pod, "name"));
            return Ok(pods.iter().map(name).collect());
        }
        let names = "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}";
        let get = self.command().args(["get", "pods"]);
        let get = get.args(everywhere.then_some("--all-namespaces"));
        let get = get.args(["--selector", selector, "--output", names]);
        let text = self.read(&get).map_err(|error| self.failed(error))?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// Shortens the end of the pods that a selector finds, once what made them has given them up: before, it would make them again. Where
    /// that takes too long, or there is nobody to ask, they end in their own time.
    pub fn shorten_end(&self, selector: &str) {
        let what = format!("end pods {selector}");
        let began = Instant::now();
        self.directly(&what, |server| {
            while began.elapsed() < GIVEN_UP {
                let pods = server.pods(Some(&self.namespace), selector)?;
                if pods.is_empty() {
                    return Ok(());
                }
                if pods.iter().all(|pod| pod["deletionTimestamp"].is_string()) {
                    return server.end_pods(&self.namespace, selector);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        });
    }

    /// The images that containers of the cluster run, by the names that their pods give them; none where the API server does not say.
    pub fn images_that_run(&self) -> BTreeSet<String> {
        let pods = self.directly("get pods", |server| server.text("/api/v1/pods"));
        let pods = pods.and_then(|text| serde_json::from_str(&text).ok());
        images_that_run(&pods.unwrap_or_default())
    }

    /// Waits until a workload, as in `deployment/name`, has as many pods of its newest kind as it wants, all of them available.
    pub fn await_rollout(&self, workload: &str, deadline: Duration) -> Result<(), Failure> {
        let status = self.command().args(["rollout", "status", workload]);
        let status = self.read(&status.deadline(deadline));
        status.map(drop).map_err(|error| self.failed(error))
    }

    /// A command on objects. `--namespace` makes kubectl refuse every object that names another one, so where one does, the default
    /// namespace is that of a kubeconfig's context.
    fn on(&self, objects: &[Value]) -> Result<Command, Failure> {
        let foreign = |object: &Value| {
            let named = object["metadata"]["namespace"].as_str();
            named.is_some_and(|named| named != self.namespace)
        };
        if !objects.iter().any(foreign) {
            return Ok(self.command());
        }
        let kubeconfig = with_namespace(&self.kubeconfig, &self.namespace)?;
        let kubectl = self.runner.command("kubectl");
        Ok(kubectl.arg("--kubeconfig").arg(kubeconfig))
    }
}

/// A copy of a kubeconfig, beside it, whose contexts have this namespace.
fn with_namespace(kubeconfig: &Path, namespace: &str) -> Result<PathBuf, Failure> {
    let unusable = |why: String| Failure::setup(format!("{}: {why}", kubeconfig.display()));
    let text = std::fs::read_to_string(kubeconfig).map_err(|error| unusable(error.to_string()))?;
    let mut config: Value =
        serde_saphyr::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    for context in config["contexts"].as_array_mut().into_iter().flatten() {
        context["context"]["namespace"] = json!(namespace);
    }
    let mut name = kubeconfig.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{namespace}"));
    let path = kubeconfig.with_file_name(name);
    write_private(&path, config.to_string().as_bytes()).map_err(Failure::setup)?;
    Ok(path)
}

fn images_that_run(pods: &Value) -> BTreeSet<String> {
    let mut images = BTreeSet::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let of = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let statuses = of(&pod["status"]["containerStatuses"]);
        let runs = |container: &Value| {
            let mut statuses = statuses.iter();
            statuses.any(|it| it["name"] == container["name"] && it["state"]["running"].is_object())
        };
        let containers = of(&pod["spec"]["containers"]);
        let running = containers.iter().filter(|container| runs(container));
        images.extend(running.filter_map(|it| it["image"].as_str().map(str::to_owned)));
    }
    images
}

fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// An object by its name alone.
fn reference(applied: &Applied) -> Value {
    let mut object = json!({
        "apiVersion": applied.api_version,
        "kind": applied.kind,
        "metadata": {"name": applied.name},
    });
    if let Some(namespace) = &applied.namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// The objects that kubectl printed: one, or a list of them.
fn identities(text: &str) -> Vec<Applied> {
    let Ok(printed) = serde_json::from_str::<Value>(text) else {
        return Vec::new();
    };
    match printed["items"].as_array() {
        Some(items) => items.iter().map(identity).collect(),
        None => vec![identity(&printed)],
    }
}

/// Kinds without a generation that the cluster itself writes into: only another one of the same name counts.
const WRITTEN_BY_THE_CLUSTER: [&str; 5] = [
    "Namespace",
    "ServiceAccount",
    "Pod",
    "PersistentVolume",
    "PersistentVolumeClaim",
];

/// Which object this is, in which state. Its generation grows with every change of what is wanted of it; of kinds that have none, the
/// resource version grows with every change.
fn identity(object: &Value) -> Applied {
    let (text, meta) = (
        |value: &Value| value.as_str().unwrap_or_default().to_owned(),
        &object["metadata"],
    );
    let state = match meta["generation"].as_u64() {
        Some(generation) => generation.to_string(),
        None if WRITTEN_BY_THE_CLUSTER.contains(&object["kind"].as_str().unwrap_or_default()) => {
            String::new()
        }
        None => format!("r{}", text(&meta["resourceVersion"])),
    };
    Applied {
        api_version: text(&object["apiVersion"]),
        kind: text(&object["kind"]),
        namespace: meta["namespace"].as_str().map(str::to_owned),
        name: text(&meta["name"]),
        version: format!("{} {state}", text(&meta["uid"])),
        pods: BTreeMap::new(),
        count: 1,
    }
}

/// How many pods a workload makes: replicas, or what runs of a job at once.
fn pod_count(object: &Value) -> u16 {
    let spec = &object["spec"];
    let count = spec["replicas"].as_u64().or(spec["parallelism"].as_u64());
    u16::try_from(count.unwrap_or(1)).unwrap_or(u16::MAX).max(1)
}

/// The labels of the pods that a workload keeps; none where it is to have none.
fn pod_labels(object: &Value) -> BTreeMap<String, String> {
    if object["spec"]["replicas"] == 0 {
        return BTreeMap::new();
    }
    let labels = &object["spec"]["template"]["metadata"]["labels"];
    let labels = labels.as_object().into_iter().flatten();
    labels
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_known_by_what_changes_with_it() {
        let deployment = |generation: u64, version: &str| {
            identity(
                &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata":
                {"name": "w", "namespace": "n", "uid": "u", "generation": generation, "resourceVersion": version}}),
            )
        };
        assert_eq!(
            deployment(1, "10"),
            deployment(1, "11"),
            "its status changed"
        );
        assert_ne!(deployment(1, "10").version, deployment(2, "10").version);
        let secret = |version: &str| {
            identity(&json!({"apiVersion": "v1", "kind": "Secret", "metadata":
                {"name": "s", "namespace": "n", "uid": "u", "resourceVersion": version}}))
        };
        assert_ne!(secret("10").version, secret("11").version);
        assert!(secret("10").is(&secret("11")));
    }

    #[test]
    fn only_an_image_whose_container_runs_is_certain_to_be_in_the_node() {
        let pods = json!({"items": [{
            "spec": {"containers": [{"name": "a", "image": "one"}, {"name": "b", "image": "two"}, {"name": "c", "image": "three"}]},
            "status": {"containerStatuses": [
                {"name": "a", "state": {"running": {}}},
                {"name": "b", "state": {"waiting": {"reason": "ErrImagePull"}}}]},
        }]});
        assert_eq!(images_that_run(&pods), BTreeSet::from(["one".to_owned()]));
        assert!(images_that_run(&Value::Null).is_empty());
    }

    #[test]
    fn kubectl_prints_one_object_or_a_list() {
        let one = json!({"kind": "Secret", "metadata": {"name": "a"}});
        assert_eq!(identities(&one.to_string()).len(), 1);
        let two = json!({"kind": "List", "items": [one, one]});
        assert_eq!(identities(&two.to_string()).len(), 2);
        assert!(identities("").is_empty());
    }

    #[test]
    fn the_pods_of_a_workload_without_replicas_are_not_waited_for() {
        let workload = |replicas: u8| {
            json!({"spec": {"replicas": replicas,
            "template": {"metadata": {"labels": {"app": "w"}}}}})
        };
        assert_eq!(pod_labels(&workload(1)).len(), 1);
        assert_eq!(pod_count(&workload(3)), 3);
        assert_eq!(pod_count(&json!({"spec": {"parallelism": 2}})), 2);
        assert_eq!(pod_count(&json!({"spec": {}})), 1);
        assert!(pod_labels(&workload(0)).is_empty());
    }
}
