//! The Kubernetes objects of `kind/manifests`, parsed, with the fields that a run decides set by path.

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};

/// `kind/manifests/namespace.yaml`.
pub const NAMESPACE: &str = include_str!("../../../../../kind/manifests/namespace.yaml");
/// `kind/manifests/postgres.yaml`.
pub const POSTGRES: &str = include_str!("../../../../../kind/manifests/postgres.yaml");
/// `kind/manifests/datastorage.yaml`.
pub const DATASTORAGE: &str = include_str!("../../../../../kind/manifests/datastorage.yaml");

/// `kind/manifests/fake.yaml`.
pub const FAKE: &str = include_str!("../../../../../kind/manifests/fake.yaml");

/// `kind/manifests/relay.yaml`.
pub const RELAY: &str = include_str!("../../../../../kind/manifests/relay.yaml");

/// Objects of one manifest.
#[derive(Clone, Debug)]
pub struct Manifest(Vec<Value>);

impl Manifest {
    /// Parses the documents of a manifest.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
            Failure::new(Exit::Usage, format!("a manifest cannot be read: {error}"))
        })?;
        Ok(Self(documents))
    }

    /// Sets a field of the object of that kind; the path is a JSON pointer (RFC 6901) to a field that the manifest has.
    #[must_use]
    pub fn set(mut self, kind: &str, pointer: &str, value: impl Into<Value>) -> Self {
        let field = self
            .0
            .iter_mut()
            .find(|object| object["kind"] == kind)
            .and_then(|object| object.pointer_mut(pointer));
        debug_assert!(field.is_some(), "{kind}{pointer} is not in the manifest");
        if let Some(field) = field {
            *field = value.into();
        }
        self
    }

    /// Replaces one word wherever it stands alone as a value: a second deployment of the same thing needs other names throughout.
    #[must_use]
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        for object in &mut self.0 {
            rename(object, from, to);
        }
        self
    }

    /// The objects.
    pub fn objects(self) -> Vec<Value> {
        self.0
    }
}

/// Labels objects, so that whoever finds them knows whose they are (D14).
pub fn label(objects: &mut [Value], labels: &[(&str, String)]) {
    for object in objects {
        for (name, value) in labels {
            object["metadata"]["labels"][*name] = json!(value);
        }
    }
}

/// Labels the pods that workloads make. With another value a workload replaces its pods, whatever else of it has changed.
pub fn label_pods(objects: &mut [Value], name: &str, value: &str) {
    for object in objects {
        if let Some(pod) = object.pointer_mut("/spec/template/metadata") {
            pod["labels"][name] = json!(value);
        }
    }
}

/// Gives the containers of pods and of workloads' pods other images. What is in the node by a name of its own is not asked for elsewhere.
pub fn pin_images(objects: &mut [Value], pinned: impl Fn(&str) -> Option<String>) {
    let pods = [
        "/spec",
        "/spec/template/spec",
        "/spec/jobTemplate/spec/template/spec",
    ];
    for object in objects {
        for (pod, kind) in pods
            .iter()
            .flat_map(|pod| [(pod, "containers"), (pod, "initContainers")])
        {
            let containers = object.pointer_mut(&format!("{pod}/{kind}"));
            for container in containers
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                let Some(image) = container["image"].as_str().and_then(&pinned) else {
                    continue;
                };
                container["image"] = json!(image);
                if container["imagePullPolicy"] == "Always" {
                    container["imagePullPolicy"] = json!("IfNotPresent");
                }
            }
        }
    }
}

fn rename(value: &mut Value, from: &str, to: &str) {
    match value {
        // The container and its image keep their names: only references between objects differ.
        Value::String(text) if text == from => to.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, from, to)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| rename(field, from, to)),
        _ => {}
    }
}

/// A Secret with text values.
pub fn secret(name: &str, entries: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": entries})
}

/// A `ConfigMap`.
pub fn config_map(name: &str, entries: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": entries})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_parses_and_a_field_can_be_set() {
        for text in [NAMESPACE, POSTGRES, DATASTORAGE, FAKE, RELAY] {
            assert!(!Manifest::parse(text).unwrap().0.is_empty());
        }
        let mut objects = Manifest::parse(NAMESPACE)
            .unwrap()
            .set("Namespace", "/metadata/name", "other")
            .objects();
        label(&mut objects, &[("kubernaut.io/e2e-run", "r".to_owned())]);
        label_pods(&mut objects, "no", "pods");
        assert_eq!(
            objects[0],
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other", "labels": {"kubernaut.io/e2e-run": "r"}}})
        );
        let mut objects = Manifest::parse(DATASTORAGE).unwrap().objects();
        label_pods(&mut objects, "of", "this");
        assert_eq!(
            objects[1]["spec"]["template"]["metadata"]["labels"],
            json!({"app": "datastorage", "of": "this"})
        );
    }

    #[test]
    fn the_images_of_every_kind_of_workload_are_pinned_and_others_stay() {
        let pod = json!({"initContainers": [{"image": "other"}],
            "containers": [{"image": "w:e2e", "imagePullPolicy": "Always"}, {"name": "none"}]});
        let mut objects = [
            json!({"kind": "Pod", "spec": pod}),
            json!({"kind": "Deployment", "spec": {"template": {"spec": pod}}}),
            json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}}),
        ];
        pin_images(&mut objects, |name| {
            (name == "w:e2e").then(|| "content".to_owned())
        });
        let pinned = json!({"initContainers": [{"image": "other"}],
            "containers": [{"image": "content", "imagePullPolicy": "IfNotPresent"}, {"name": "none"}]});
        assert_eq!(objects[0]["spec"], pinned);
        assert_eq!(objects[1]["spec"]["template"]["spec"], pinned);
        assert_eq!(
            objects[2]["spec"]["jobTemplate"]["spec"]["template"]["spec"],
            pinned
        );
    }

    #[test]
    fn a_second_deployment_shares_no_name_with_the_first() {
        let objects = Manifest::parse(DATASTORAGE)
            .unwrap()
            .rename("datastorage", "second")
            .objects();
        assert!(!Value::from(objects).to_string().contains("\"datastorage\""));
    }
}
