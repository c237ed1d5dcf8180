//! The rights that a run needs on an existing cluster: a value of what its services and parts are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::table::Chosen;
use crate::table::part::{Part, Ready};
use crate::table::source::{Source, is_kustomization, is_url, manifests_of};
use crate::table::suite::Place;

/// What is done to an object that a run makes: it is applied, waited for, looked at and removed.
const MADE: [&str; 6] = ["create", "get", "list", "watch", "patch", "delete"];
/// What is done to an object that a run may find there and then leaves.
const CLUSTER_WIDE: [&str; 4] = ["create", "get", "patch", "delete"];

/// Kinds whose API group, resource and scope are Kubernetes' own: group, kind, resource, whether it is in a namespace.
const KINDS: [(&str, &str, &str, bool); 31] = [
    ("", "ConfigMap", "configmaps", true),
    ("", "Endpoints", "endpoints", true),
    ("", "LimitRange", "limitranges", true),
    ("", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("", "Pod", "pods", true),
    ("", "ResourceQuota", "resourcequotas", true),
    ("", "Secret", "secrets", true),
    ("", "Service", "services", true),
    ("", "ServiceAccount", "serviceaccounts", true),
    ("", "Namespace", "namespaces", false),
    ("", "PersistentVolume", "persistentvolumes", false),
    ("apps", "DaemonSet", "daemonsets", true),
    ("apps", "Deployment", "deployments", true),
    ("apps", "ReplicaSet", "replicasets", true),
    ("apps", "StatefulSet", "statefulsets", true),
    (
        "autoscaling",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        true,
    ),
    ("batch", "CronJob", "cronjobs", true),
    ("batch", "Job", "jobs", true),
    ("coordination.k8s.io", "Lease", "leases", true),
    ("discovery.k8s.io", "EndpointSlice", "endpointslices", true),
    ("networking.k8s.io", "Ingress", "ingresses", true),
    (
        "networking.k8s.io",
        "NetworkPolicy",
        "networkpolicies",
        true,
    ),
    (
        "policy",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        true,
    ),
    ("rbac.authorization.k8s.io", "Role", "roles", true),
    (
        "rbac.authorization.k8s.io",
        "RoleBinding",
        "rolebindings",
        true,
    ),
    (
        "rbac.authorization.k8s.io",
        "ClusterRole",
        "clusterroles",
        false,
    ),
    (
        "rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        "clusterrolebindings",
        false,
    ),
    (
        "admissionregistration.k8s.io",
        MUTATING,
        "mutatingwebhookconfigurations",
        false,
    ),
    (
        "admissionregistration.k8s.io",
        VALIDATING,
        "validatingwebhookconfigurations",
        false,
    ),
    (
        "scheduling.k8s.io",
        "PriorityClass",
        "priorityclasses",
        false,
    ),
    (
        "apiextensions.k8s.io",
        DEFINITION,
        "customresourcedefinitions",
        false,
    ),
];
const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";
const DEFINITION: &str = "CustomResourceDefinition";

/// Where a right holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// What is in no namespace.
    Cluster,
    /// In every namespace: those that the run makes have no names yet.
    EveryNamespace,
    /// In one namespace.
    Namespace(String),
}

/// A right: a verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Where it holds.
    pub scope: Scope,
    /// The API group; empty for the core's.
    pub group: String,
    /// The resource, with a `/` before a part of it.
    pub resource: String,
    /// The verb.
    pub verb: &'static str,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = Told {
            scope: &self.scope,
            group: &self.group,
            resource: &self.resource,
            verbs: self.verb,
        };
        told.fmt(f)
    }
}

/// Rights for people, those on one resource in a line.
pub fn lines<'a>(rights: impl IntoIterator<Item = &'a Right>) -> Vec<String> {
    let mut verbs: BTreeMap<(&Scope, &str, &str), Vec<&str>> = BTreeMap::new();
    for right in rights {
        let key = (&right.scope, &*right.group, &*right.resource);
        verbs.entry(key).or_default().push(right.verb);
    }
    let lines = verbs.into_iter().map(|((scope, group, resource), verbs)| {
        let told = Told {
            scope,
            group,
            resource,
            verbs: &verbs.join(", "),
        };
        told.to_string()
    });
    lines.collect()
}

struct Told<'a> {
    scope: &'a Scope,
    group: &'a str,
    resource: &'a str,
    verbs: &'a str,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verbs, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match self.scope {
            Scope::Cluster => Ok(()),
            Scope::EveryNamespace => f.write_str(" in every namespace"),
            Scope::Namespace(name) => write!(f, " in the namespace {name}"),
        }
    }
}

/// What a run does beside setting up its services.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uses {
    /// Whether suites run, some of which may be Jobs.
    pub suites: bool,
    /// Whether something runs within its pods.
    pub exec: bool,
    /// Whether the cluster makes who makes a namespace its administrator.
    pub creator_becomes_admin: bool,
}

/// The rights that a run needs, and what could not be looked at.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// The rights, each once.
    pub rights: BTreeSet<Right>,
    /// Manifests whose kinds are known only once they are made, each in a word.
    pub unread: Vec<String>,
}

/// The rights that a run of these services needs, in namespaces that are given or, where there are none, in those that it makes.
pub fn needed(chosen: &Chosen, namespaces: &[String], uses: Uses) -> Needed {
    let mut asked = Asked::default();
    for kind in ["Deployment", "Service", "Secret", "ConfigMap", "Pod"] {
        asked.kind(KINDS.iter().find(|(_, known, ..)| *known == kind));
    }
    asked.namespaced("", "pods/log", &["get"]);
    asked.namespaced("", "pods/portforward", &["create"]);
    asked.namespaced("", "events", &["get", "list", "watch"]);
    if uses.exec {
        asked.namespaced("", "pods/exec", &["create"]);
    }
    if !namespaces.is_empty() {
        asked.namespaced("", "resourcequotas", &["get", "list"]);
    }
    let mut suites = chosen.services.iter().flat_map(|service| &service.suites);
    if uses.suites && suites.any(|suite| suite.place == Place::Job) {
        asked.namespaced("batch", "jobs", &MADE);
    }
    let services = chosen.services.iter().map(|service| &service.own);
    for part in services.chain(&chosen.parts) {
        asked.part(part);
    }
    if namespaces.is_empty() {
        asked.cluster("", "namespaces", &MADE);
    }
    let mut rights = asked.cluster;
    let made = [Scope::EveryNamespace];
    let given = namespaces.iter().cloned().map(Scope::Namespace);
    let scopes: Vec<Scope> = match namespaces {
        [] if uses.creator_becomes_admin => Vec::new(),
        [] => made.to_vec(),
        _ => given.collect(),
    };
    for scope in scopes {
        rights.extend(asked.namespaced.iter().cloned().map(|right| Right {
            scope: scope.clone(),
            ..right
        }));
    }
    asked.unread.sort();
    asked.unread.dedup();
    Needed {
        rights,
        unread: asked.unread,
    }
}

#[derive(Default)]
struct Asked {
    cluster: BTreeSet<Right>,
    namespaced: BTreeSet<Right>,
    unread: Vec<String>,
    /// Custom resources of definitions that were read: resource and whether they are in a namespace, by group and kind.
    custom: BTreeMap<(String, String), (String, bool)>,
}

impl Asked {
    fn cluster(&mut self, group: &str, resource: &str, verbs: &[&'static str]) {
        let rights = rights(Scope::Cluster, group, resource, verbs);
        self.cluster.extend(rights);
    }

    fn namespaced(&mut self, group: &str, resource: &str, verbs: &[&'static str]) {
        let rights = rights(Scope::EveryNamespace, group, resource, verbs);
        self.namespaced.extend(rights);
    }

    fn kind(&mut self, kind: Option<&(&str, &str, &str, bool)>) {
        match kind {
            Some((group, _, resource, true)) => self.namespaced(group, resource, &MADE),
            Some((group, _, resource, false)) => self.cluster(group, resource, &CLUSTER_WIDE),
            None => {}
        }
    }

    fn part(&mut self, part: &Part) {
        let mut objects = Vec::new();
        for source in &part.manifests {
            match objects_of(part, source) {
                Ok(read) => objects.extend(read),
                Err(what) => self.unread.push(format!("{what} of `{}`", part.name)),
            }
        }
        for object in &objects {
            self.definition(object);
        }
        for object in &objects {
            self.object(object, &part.name);
        }
        for ready in &part.ready {
            match ready {
                Ready::Crd(_) => {
                    self.cluster(
                        "apiextensions.k8s.io",
                        "customresourcedefinitions",
                        &["get"],
                    );
                }
                Ready::Webhook(webhook) => {
                    let kind = webhook.webhook.split('/').next().unwrap_or_default();
                    let resource = format!("{kind}webhookconfigurations");
                    self.cluster("admissionregistration.k8s.io", &resource, &["get"]);
                    self.namespaced("", "services/proxy", &["get"]);
                }
                _ => {}
            }
        }
    }

    /// What a definition of custom resources says of those that it defines.
    fn definition(&mut self, object: &Value) {
        if object["kind"] != DEFINITION {
            return;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let spec = &object["spec"];
        let kind = (text(&spec["group"]), text(&spec["names"]["kind"]));
        let resource = (
            text(&spec["names"]["plural"]),
            spec["scope"] == "Namespaced",
        );
        self.custom.insert(kind, resource);
    }

    fn object(&mut self, object: &Value, part: &str) {
        let kind = object["kind"].as_str().unwrap_or_default();
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let group = version.rsplit_once('/').map_or("", |(group, _)| group);
        let known = KINDS
            .iter()
            .find(|(of, known, ..)| *of == group && *known == kind);
        if known.is_some() {
            self.kind(known);
            return;
        }
        let custom = self.custom.get(&(group.to_owned(), kind.to_owned()));
        match custom.cloned() {
            Some((resource, true)) => self.namespaced(group, &resource, &MADE),
            Some((resource, false)) => self.cluster(group, &resource, &CLUSTER_WIDE),
            None if kind == "List" => {
                for item in object["items"].as_array().into_iter().flatten() {
                    self.object(item, part);
                }
            }
            // Only the API server knows what they are called there.
            None => self.unread.push(format!("{kind} of {version} of `{part}`")),
        }
    }
}

fn rights<'a>(
    scope: Scope,
    group: &'a str,
    resource: &'a str,
    verbs: &'a [&'static str],
) -> impl Iterator<Item = Right> + 'a {
    verbs.iter().map(move |verb| Right {
        scope: scope.clone(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        verb,
    })
}

/// The objects of manifests that are files; of others, what they are.
fn objects_of(part: &Part, source: &Source) -> Result<Vec<Value>, String> {
    let path = match source {
        Source::Named(url) if is_url(url) => return Err(url.clone()),
        Source::Named(path) if path.contains("${") => return Err(path.clone()),
        Source::Named(path) => part.root.join(path),
        Source::File(file) => part.root.join(&file.file),
        Source::Output(output) => return Err(format!("what `{}` prints", output.run.join(" "))),
        Source::Chart(chart) => return Err(format!("the chart {}", chart.chart)),
    };
    if is_kustomization(&path) {
        return Err(format!("the kustomization {}", path.display()));
    }
    let mut objects: Vec<Value> = Vec::new();
    for file in manifests_of(&path).map_err(|_| path.display().to_string())? {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let read: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&text);
        objects.extend(read.map_err(|_| file.display().to_string())?);
    }
    objects.retain(|object| !object.is_null());
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    fn told(needed: &Needed) -> String {
        let rights: Vec<_> = needed.rights.iter().map(ToString::to_string).collect();
        rights.join("\n")
    }

    fn of_team(entry: &str, manifest: &str) -> (tempfile::TempDir, Chosen) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("services.toml");
        let head = "[[service]]\nname = \"widget\"\nprofile = \"gateway\"\nnamespace = \"w\"\ncomponents = [\"own\"]\n";
        std::fs::write(&file, format!("{head}{entry}\n")).expect("a file");
        std::fs::write(dir.path().join("w.yaml"), manifest).expect("a file");
        let table = Table::load(Some(&file)).expect("a table");
        let chosen = table.choose(&["widget".to_owned()], false).expect("it");
        (dir, chosen)
    }

    #[test]
    fn given_namespaces_are_all_that_is_asked_for_and_none_is_made() {
        let table = Table::load(None).expect("the table");
        let chosen = table.choose(&["gateway".to_owned()], false).expect("it");
        let given = needed(&chosen, &["team-a".to_owned()], Uses::default());
        let given = told(&given);
        for right in [
            "create deployments.apps in the namespace team-a",
            "create pods/portforward in the namespace team-a",
            "list resourcequotas in the namespace team-a",
        ] {
            assert!(given.contains(right), "{right}: {given}");
        }
        assert!(
            !given.contains("every") && !given.contains(" namespaces\n"),
            "{given}"
        );
        let made = told(&needed(&chosen, &[], Uses::default()));
        assert!(
            made.contains("create namespaces\n")
                && made.contains("patch secrets in every namespace"),
            "{made}"
        );
        let by_creator = Uses {
            creator_becomes_admin: true,
            ..Uses::default()
        };
        let made = told(&needed(&chosen, &[], by_creator));
        assert_eq!(made.lines().count(), MADE.len(), "{made}");
    }

    #[test]
    fn a_team_s_manifests_say_what_else_is_needed_and_only_they_ask_for_definitions() {
        let manifest = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: gadgets.example.io}\nspec: {group: example.io, scope: Namespaced, names: {kind: Gadget, plural: gadgets}}\n---\napiVersion: example.io/v1\nkind: Gadget\nmetadata: {name: \"${NAMESPACE}\"}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: r}\n";
        let (_dir, chosen) = of_team(
            "manifests = [\"w.yaml\"]\nready = [{ webhook = \"validating/w\" }]",
            manifest,
        );
        let found = needed(&chosen, &["n".to_owned()], Uses::default());
        assert!(found.unread.is_empty(), "{:?}", found.unread);
        let all = told(&found);
        for right in [
            "create customresourcedefinitions.apiextensions.k8s.io",
            "get validatingwebhookconfigurations.admissionregistration.k8s.io",
            "delete gadgets.example.io in the namespace n",
            "create rolebindings.rbac.authorization.k8s.io in the namespace n",
            "get services/proxy in the namespace n",
        ] {
            assert!(all.lines().any(|line| line == right), "{right}: {all}");
        }
    }

    #[test]
    fn a_suite_in_a_job_needs_jobs_only_where_suites_run() {
        let suite = "images = [{ name = \"t\", build = \"t\" }]\nsuite = { command = [\"t\"], in = \"job\", image = \"t\" }";
        let (_dir, chosen) = of_team(suite, "");
        let jobs = |suites| {
            let uses = Uses {
                suites,
                ..Uses::default()
            };
            told(&needed(&chosen, &[], uses)).contains("create jobs.batch")
        };
        assert!(jobs(true) && !jobs(false));
    }

    #[test]
    fn what_is_known_only_once_it_is_made_is_named() {
        let table = Table::load(None).expect("the table");
        let mut chosen = table.choose(&["gateway".to_owned()], false).expect("it");
        chosen.services[0].own.manifests = vec![Source::Named("https://x/y.yaml".to_owned())];
        let found = needed(&chosen, &[], Uses::default());
        assert_eq!(found.unread, ["https://x/y.yaml of `gateway`"]);
    }
}
