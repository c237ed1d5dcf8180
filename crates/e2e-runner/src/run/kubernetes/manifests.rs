//! The Kubernetes objects of manifests, with the names in them replaced; and those of `kind/manifests`, which are in the tool.

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::names::expand_object;

/// `kind/manifests/namespace.yaml`.
pub const NAMESPACE: &str = include_str!("../../../../../kind/manifests/namespace.yaml");

/// `kind/manifests/tunnel.yaml`.
pub const TUNNEL: &str = include_str!("../../../../../kind/manifests/tunnel.yaml");

/// A manifest of the tool's own, by its path in the checkout.
pub fn embedded(path: &str) -> Option<&'static str> {
    Some(match path {
        "kind/manifests/postgres.yaml" => {
            include_str!("../../../../../kind/manifests/postgres.yaml")
        }
        "kind/manifests/datastorage.yaml" => {
            include_str!("../../../../../kind/manifests/datastorage.yaml")
        }
        "kind/manifests/fake.yaml" => include_str!("../../../../../kind/manifests/fake.yaml"),
        "kind/manifests/relay.yaml" => include_str!("../../../../../kind/manifests/relay.yaml"),
        _ => return None,
    })
}

/// The objects of the documents of a manifest, as they are written.
pub fn parse(text: &str) -> Result<Vec<Value>, Failure> {
    serde_saphyr::from_multiple(text)
        .map_err(|error| Failure::new(Exit::Usage, format!("a manifest cannot be read: {error}")))
}

/// The objects of a manifest of the tool's own, with the names in them replaced.
pub fn read(
    text: &str,
    from: &str,
    value: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Value>, Failure> {
    let mut objects = parse(text)?;
    for object in &mut objects {
        expand_object(object, value).map_err(|unknown| unknown.in_file(text, from))?;
    }
    Ok(objects)
}

/// Labels objects, so that whoever finds them knows whose they are (D14).
pub fn label(objects: &mut [Value], labels: &[(&str, String)]) {
    for object in objects {
        for (name, value) in labels {
            object["metadata"]["labels"][*name] = json!(value);
        }
    }
}

/// Labels pods, and those that workloads make. With another value a workload replaces its pods, whatever else of it has changed.
pub fn label_pods(objects: &mut [Value], name: &str, value: &str) {
    for object in objects {
        let pod = if object["kind"] == "Pod" {
            "/metadata"
        } else {
            "/spec/template/metadata"
        };
        if let Some(pod) = object.pointer_mut(pod) {
            pod["labels"][name] = json!(value);
        }
    }
}

/// What a pod is to be, in an object that is or makes one.
pub fn pod_spec(object: &mut Value) -> Option<&mut Value> {
    let pointer = match object["kind"].as_str()? {
        "Pod" => "/spec",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => "/spec/template/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    };
    object.pointer_mut(pointer)
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

/// A Secret with text values.
pub fn secret(name: &str, entries: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": entries})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_the_pods_that_they_make_are_labelled() {
        let name = |_: &str| Some("other".to_owned());
        let mut objects = read(NAMESPACE, "namespace.yaml", &name).unwrap();
        label(&mut objects, &[("kubernaut.io/e2e-run", "r".to_owned())]);
        label_pods(&mut objects, "no", "pods");
        assert_eq!(
            objects[0],
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other", "labels": {"kubernaut.io/e2e-run": "r"}}})
        );
        let pod = json!({"metadata": {"labels": {"app": "w"}}});
        let mut objects = [json!({"kind": "Deployment", "spec": {"template": pod}})];
        label_pods(&mut objects, "of", "this");
        assert_eq!(
            objects[0]["spec"]["template"]["metadata"]["labels"],
            json!({"app": "w", "of": "this"})
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
}
