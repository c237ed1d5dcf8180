//! Objects as a guest applies them: into the run's namespaces, within Pod Security's level `restricted`, with requests and limits, and
//! with nothing that is everybody's.

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::run::kubernetes::manifests;
use crate::run::places::Namespaces;

/// The Secret with the registry's credentials, in every namespace of a run that makes one.
pub const PULL_SECRET: &str = "e2e-registry";

/// What a container may take where its manifest does not say.
const LIMITS: [(&str, &str); 2] = [("cpu", "1"), ("memory", "512Mi")];
/// What a container is reckoned with where its manifest does not say.
const REQUESTS: [(&str, &str); 2] = [("cpu", "20m"), ("memory", "64Mi")];

/// Kinds of Kubernetes' own that belong to a whole cluster.
const OF_THE_CLUSTER: [&str; 19] = [
    "APIService",
    "CSIDriver",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "CustomResourceDefinition",
    "DeviceClass",
    "FlowSchema",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// What a run decides of the objects that it applies.
#[derive(Clone, Copy, Debug)]
pub struct Manners<'a> {
    /// Its namespaces.
    pub namespaces: &'a Namespaces,
    /// Whether it may apply what belongs to the whole cluster.
    pub cluster_wide: bool,
    /// Whether pods need the registry's credentials.
    pub pull_secret: bool,
    /// Whose objects they are, for messages.
    pub of: &'a str,
    /// What the names of the run's own end with.
    pub suffix: &'a str,
}

/// Kinds of the whole cluster whose objects name namespaces: of a run they name the run's own, so each run has its own. Nothing refers to
/// them by name.
const OF_A_RUN: [&str; 3] = [
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// Whether an object belongs to the whole cluster, as far as its kind tells.
pub fn is_of_the_cluster(object: &Value) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    OF_THE_CLUSTER.contains(&kind)
}

/// The failure of a part with an object of the whole cluster that does not say so.
pub fn not_cluster_wide(of: &str, object: &Value) -> Failure {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    let what = format!("{of}: its manifests have the {kind} {name}, which is of the whole cluster");
    Failure::new(Exit::Usage, what).hint(
        "say `cluster_wide = true` of it in the table of services if this cluster's owner agrees, or take it out",
    )
}

/// Makes objects such as a guest may apply them; what cannot be made so is a failure.
pub fn fit(objects: &mut Vec<Value>, manners: &Manners<'_>) -> Result<(), Failure> {
    let namespaces = manners.namespaces;
    // Namespaces are there already: those of the run were made first, and a guest makes no others.
    let is_ours = |name: &str| {
        namespaces
            .all()
            .any(|(table, called)| [table, called].contains(&name))
    };
    for object in objects.iter() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default();
        if kind == "Namespace" && !is_ours(name) && name != namespaces.home {
            let what = format!(
                "{}: its manifests make the namespace {name}, which is none of this run's",
                manners.of
            );
            return Err(Failure::new(Exit::Usage, what).hint(
                "take it out, or give the part this `namespace` in the table of services: each run then has its own",
            ));
        }
        if kind != "Namespace" && is_of_the_cluster(object) && !manners.cluster_wide {
            return Err(not_cluster_wide(manners.of, object));
        }
    }
    objects.retain(|object| object["kind"] != "Namespace");
    for object in objects {
        own(object, manners);
        place(object, namespaces);
        serve_inside(object);
        if let Some(pod) = manifests::pod_spec(object) {
            restrict(pod, manners)?;
        }
    }
    Ok(())
}

/// Makes an object of the whole cluster that is about the run's namespaces the run's own: its name, and of a webhook what it is asked
/// about, which are objects of these namespaces alone.
fn own(object: &mut Value, manners: &Manners<'_>) {
    if !OF_A_RUN.contains(&object["kind"].as_str().unwrap_or_default()) {
        return;
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    object["metadata"]["name"] = json!(format!("{name}-{}", manners.suffix));
    let namespaces = manners.namespaces.names(true);
    for webhook in list(object, "webhooks") {
        let only = json!({
            "key": "kubernetes.io/metadata.name",
            "operator": "In",
            "values": namespaces,
        });
        let selector = &mut webhook["namespaceSelector"]["matchExpressions"];
        match selector.as_array_mut() {
            Some(selector) => selector.push(only),
            None => *selector = json!([only]),
        }
    }
}

/// Gives every mention of a namespace of the table the name that it has in this run.
fn place(object: &mut Value, namespaces: &Namespaces) {
    let rename = |value: &mut Value| {
        if let Some(name) = value.as_str() {
            *value = json!(namespaces.called(name));
        }
    };
    if let Some(namespace) = object.pointer_mut("/metadata/namespace") {
        rename(namespace);
    }
    for subject in list(object, "subjects") {
        if let Some(namespace) = subject.get_mut("namespace") {
            rename(namespace);
        }
    }
    for webhook in list(object, "webhooks") {
        if let Some(namespace) = webhook.pointer_mut("/clientConfig/service/namespace") {
            rename(namespace);
        }
    }
    let conversion = "/spec/conversion/webhook/clientConfig/service/namespace";
    if let Some(namespace) = object.pointer_mut(conversion) {
        rename(namespace);
    }
}

/// A Service is reached through the tunnel: it takes no port of a node and no balancer of a provider.
fn serve_inside(object: &mut Value) {
    if object["kind"] != "Service" {
        return;
    }
    let spec = &mut object["spec"];
    if ["NodePort", "LoadBalancer"]
        .iter()
        .any(|kind| spec["type"] == *kind)
    {
        spec["type"] = json!("ClusterIP");
    }
    for port in list(spec, "ports") {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
    if let Some(spec) = spec.as_object_mut() {
        for only_balancers in [
            "externalTrafficPolicy",
            "loadBalancerClass",
            "allocateLoadBalancerNodePorts",
        ] {
            spec.remove(only_balancers);
        }
    }
}

/// Fills in what a pod does not say, so that it passes Pod Security's level `restricted` (Kubernetes, "Pod Security Standards"); what
/// it says otherwise stays, and the API server refuses it by name.
fn restrict(pod: &mut Value, manners: &Manners<'_>) -> Result<(), Failure> {
    for volume in list(pod, "volumes") {
        if volume.get("hostPath").is_some_and(|path| !path.is_null()) {
            let what = format!(
                "{}: the volume {} is a directory of a node, which a guest does not get",
                manners.of, volume["name"]
            );
            return Err(Failure::new(Exit::Usage, what)
                .hint("use an emptyDir or a claim, or run this on --target kind"));
        }
    }
    let security = &mut pod["securityContext"];
    default(security, "runAsNonRoot", json!(true));
    default(
        security,
        "seccompProfile",
        json!({"type": "RuntimeDefault"}),
    );
    for kind in ["containers", "initContainers"] {
        for container in list(pod, kind) {
            let security = &mut container["securityContext"];
            default(security, "allowPrivilegeEscalation", json!(false));
            default(&mut security["capabilities"], "drop", json!(["ALL"]));
            for (kind, values) in [("limits", LIMITS), ("requests", REQUESTS)] {
                for (resource, value) in values {
                    default(&mut container["resources"][kind], resource, json!(value));
                }
            }
            bound(&mut container["resources"]);
            if container["imagePullPolicy"] == "Never" {
                container["imagePullPolicy"] = json!("IfNotPresent");
            }
        }
    }
    if manners.pull_secret {
        let secret = json!({"name": PULL_SECRET});
        match pod["imagePullSecrets"].as_array_mut() {
            Some(secrets) if secrets.contains(&secret) => {}
            Some(secrets) => secrets.push(secret),
            None => pod["imagePullSecrets"] = json!([secret]),
        }
    }
    Ok(())
}

/// A limit that was filled in is not below a request that was not: Kubernetes would refuse it.
fn bound(resources: &mut Value) {
    for (resource, limit) in LIMITS {
        let request = resources["requests"][resource].clone();
        let is_ours = resources["limits"][resource] == limit;
        if is_ours && quantity(&request) > quantity(&json!(limit)) {
            resources["limits"][resource] = request;
        }
    }
    for (resource, request) in REQUESTS {
        let limit = resources["limits"][resource].clone();
        let is_ours = resources["requests"][resource] == request;
        if is_ours && quantity(&limit) < quantity(&json!(request)) {
            resources["requests"][resource] = limit;
        }
    }
}

/// A quantity in its base unit, near enough to compare two (Kubernetes, "Quantity").
fn quantity(value: &Value) -> f64 {
    if let Some(number) = value.as_f64() {
        return number;
    }
    let text = value.as_str().unwrap_or_default();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        _ => 1.0,
    };
    digits.parse::<f64>().unwrap_or_default() * factor
}

fn default(holder: &mut Value, field: &str, value: Value) {
    if holder.get(field).is_none_or(Value::is_null) {
        holder[field] = value;
    }
}

fn list<'a>(holder: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = holder.get_mut(field).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::places::Places;
    use crate::table::Table;

    fn namespaces() -> Namespaces {
        let table = Table::load(None).unwrap();
        let chosen = table.choose(&["gateway".to_owned()], false).unwrap();
        Places::Made("a1b2c3".to_owned()).of(&chosen).unwrap()
    }

    fn fitted(objects: Value, cluster_wide: bool) -> Result<Vec<Value>, Failure> {
        let namespaces = namespaces();
        let manners = Manners {
            namespaces: &namespaces,
            cluster_wide,
            pull_secret: true,
            of: "`widget`",
            suffix: "a1b2c3",
        };
        let mut objects: Vec<Value> = serde_json::from_value(objects).unwrap();
        fit(&mut objects, &manners).map(|()| objects)
    }

    #[test]
    fn a_pod_gets_what_pod_security_wants_and_keeps_what_it_says() {
        let said = json!({"securityContext": {"runAsUser": 70}, "containers": [
            {"name": "one", "imagePullPolicy": "Never", "resources": {"limits": {"memory": "1Gi"}}},
            {"name": "two", "securityContext": {"readOnlyRootFilesystem": true},
             "resources": {"requests": {"memory": "2Gi"}}}]});
        let deployment = json!([{"kind": "Deployment", "spec": {"template": {"spec": said}}}]);
        let objects = fitted(deployment, false).unwrap();
        let pod = &objects[0]["spec"]["template"]["spec"];
        let profile = json!({"type": "RuntimeDefault"});
        assert_eq!(
            pod["securityContext"],
            json!({"runAsUser": 70, "runAsNonRoot": true, "seccompProfile": profile})
        );
        let [one, two] = pod["containers"].as_array().unwrap().as_slice() else {
            panic!("two containers")
        };
        assert_eq!(one["imagePullPolicy"], "IfNotPresent");
        assert_eq!(
            one["securityContext"],
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}})
        );
        assert_eq!(
            one["resources"]["limits"],
            json!({"cpu": "1", "memory": "1Gi"})
        );
        assert_eq!(two["resources"]["limits"]["memory"], "2Gi");
        assert_eq!(two["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(pod["imagePullSecrets"], json!([{"name": PULL_SECRET}]));
    }

    #[test]
    fn namespaces_of_the_table_are_those_of_the_run_wherever_they_are_named() {
        let table = Table::load(None).unwrap();
        let own = &table.find("gateway").unwrap().namespace;
        let called = namespaces().called(own);
        let objects = json!([
            {"kind": "Namespace", "metadata": {"name": own}},
            {"kind": "ConfigMap", "metadata": {"name": "c", "namespace": own}},
            {"kind": "RoleBinding", "metadata": {"name": "r"}, "subjects": [{"namespace": own}, {"namespace": "other"}]},
        ]);
        let objects = fitted(objects, false).unwrap();
        assert_eq!(objects.len(), 2, "the namespace is there already");
        assert_eq!(objects[0]["metadata"]["namespace"], *called);
        assert_eq!(
            objects[1]["subjects"],
            json!([{"namespace": called}, {"namespace": "other"}])
        );
    }

    #[test]
    fn a_webhook_and_a_binding_are_the_runs_own_and_ask_about_its_namespaces_alone() {
        let selector = json!({"matchLabels": {"e2e": "yes"}});
        let objects = json!([
            {"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "greeter"},
             "webhooks": [{"namespaceSelector": selector}, {"name": "other"}]},
            {"kind": "ClusterRoleBinding", "metadata": {"name": "greeter"}, "roleRef": {"name": "greeter"}},
            {"kind": "CustomResourceDefinition", "metadata": {"name": "greetings.example.io"}},
        ]);
        let objects = fitted(objects, true).unwrap();
        assert_eq!(objects[0]["metadata"]["name"], "greeter-a1b2c3");
        for webhook in objects[0]["webhooks"].as_array().unwrap() {
            let asked = &webhook["namespaceSelector"]["matchExpressions"][0];
            assert_eq!(asked["key"], "kubernetes.io/metadata.name");
            assert_eq!(asked["values"], json!(namespaces().names(true)));
        }
        let first = &objects[0]["webhooks"][0]["namespaceSelector"];
        assert_eq!(first["matchLabels"], json!({"e2e": "yes"}));
        assert_eq!(objects[1]["metadata"]["name"], "greeter-a1b2c3");
        assert_eq!(objects[1]["roleRef"]["name"], "greeter");
        assert_eq!(objects[2]["metadata"]["name"], "greetings.example.io");
    }

    #[test]
    fn what_is_everybodys_is_refused_by_name() {
        let told =
            |objects: Value, cluster_wide| fitted(objects, cluster_wide).unwrap_err().summary;
        let role = json!([{"kind": "ClusterRole", "metadata": {"name": "reader"}}]);
        assert!(told(role.clone(), false).contains("the ClusterRole reader"));
        assert!(fitted(role, true).is_ok());
        let namespace = json!([{"kind": "Namespace", "metadata": {"name": "kube-system"}}]);
        assert!(told(namespace, true).contains("the namespace kube-system"));
        let volumes = json!([{"name": "all", "hostPath": {"path": "/"}}]);
        let pod = json!([{"kind": "Pod", "spec": {"volumes": volumes, "containers": []}}]);
        assert!(told(pod, true).contains("a directory of a node"));
    }

    #[test]
    fn a_service_takes_no_port_of_a_node_and_no_balancer() {
        for kind in ["NodePort", "LoadBalancer"] {
            let spec = json!({"type": kind, "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30080}]});
            let objects = fitted(json!([{"kind": "Service", "spec": spec}]), false).unwrap();
            let spec = json!({"type": "ClusterIP", "ports": [{"port": 80}]});
            assert_eq!(objects[0]["spec"], spec);
        }
    }

    #[test]
    fn quantities_are_compared_in_one_unit() {
        for (less, more) in [
            ("500m", "1"),
            ("900Ki", "1Mi"),
            ("512Mi", "1Gi"),
            ("1G", "1Gi"),
        ] {
            assert!(
                quantity(&json!(less)) < quantity(&json!(more)),
                "{less} {more}"
            );
        }
        assert!(quantity(&json!(2)) > quantity(&json!("1900m")));
    }
}
