//! The rights that a run needs as objects that an administrator can apply.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::guest::rights::{Right, Scope};

/// What the roles are called.
const NAME: &str = "kubernaut-e2e";
/// Who has them where the API server does not tell who asks.
const NOBODY: &str = "NAME-OF-THE-USER";

/// Roles with these rights, bound to a user: in each namespace that is given, and one for the whole cluster where something needs it.
pub fn manifests(rights: &BTreeSet<Right>, user: Option<&str>) -> String {
    let mut places: BTreeMap<&str, Vec<&Right>> = BTreeMap::new();
    for right in rights {
        let place = match &right.scope {
            Scope::Namespace(name) => name.as_str(),
            Scope::Cluster | Scope::EveryNamespace => "",
        };
        places.entry(place).or_default().push(right);
    }
    let subject = subject(user.unwrap_or(NOBODY));
    let roles = places
        .into_iter()
        .map(|(place, rights)| role(place, &rights, &subject));
    roles.collect::<Vec<_>>().join("---\n")
}

/// A role and its binding, in a namespace or, without one, of the whole cluster.
fn role(namespace: &str, rights: &[&Right], subject: &str) -> String {
    let (kind, meta) = if namespace.is_empty() {
        ("Cluster", format!("{{ name: {NAME} }}"))
    } else {
        ("", format!("{{ name: {NAME}, namespace: {namespace} }}"))
    };
    let mut text = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}Role\nmetadata: {meta}\nrules:\n"
    );
    for ((group, verbs), resources) in rules(rights) {
        writeln!(
            text,
            "  - {{ apiGroups: [{group:?}], resources: [{}], verbs: [{}] }}",
            resources.join(", "),
            verbs.join(", ")
        )
        .unwrap_or_default();
    }
    text + &format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}RoleBinding\nmetadata: {meta}\nroleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: {kind}Role, name: {NAME} }}\nsubjects:\n  - {subject}\n"
    )
}

/// Resources by their group and the verbs on them.
fn rules<'a>(rights: &[&'a Right]) -> BTreeMap<(&'a str, Vec<&'a str>), Vec<&'a str>> {
    let mut verbs: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for right in rights {
        let of = verbs.entry((&right.group, &right.resource)).or_default();
        if !of.contains(&right.verb) {
            of.push(right.verb);
        }
    }
    let mut rules: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for ((group, resource), verbs) in verbs {
        rules.entry((group, verbs)).or_default().push(resource);
    }
    rules
}

/// A user as a binding names one; a service account has a name of its own form.
fn subject(user: &str) -> String {
    let account = user.strip_prefix("system:serviceaccount:");
    match account.and_then(|account| account.split_once(':')) {
        Some((namespace, name)) => {
            format!("{{ kind: ServiceAccount, name: {name:?}, namespace: {namespace:?} }}")
        }
        None => {
            format!("{{ kind: User, name: {user:?}, apiGroup: rbac.authorization.k8s.io }}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn right(verb: &'static str, group: &str, resource: &str, scope: Scope) -> Right {
        Right {
            scope,
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb,
        }
    }

    #[test]
    fn each_namespace_has_its_role_and_the_cluster_one_only_where_something_needs_it() {
        let given = || Scope::Namespace("team-a".to_owned());
        let mut rights = BTreeSet::from([
            right("create", "apps", "deployments", given()),
            right("get", "apps", "deployments", given()),
            right("get", "", "pods/log", given()),
        ]);
        let read = |text: &str| -> Vec<Value> { serde_saphyr::from_multiple(text).expect("YAML") };
        let objects = read(&manifests(&rights, Some("system:serviceaccount:ci:runner")));
        let kinds: Vec<_> = objects.iter().map(|object| &object["kind"]).collect();
        assert_eq!(kinds, ["Role", "RoleBinding"]);
        assert_eq!(objects[0]["metadata"]["namespace"], "team-a");
        assert_eq!(
            objects[0]["rules"][1]["verbs"],
            serde_json::json!(["create", "get"])
        );
        assert_eq!(objects[1]["subjects"][0]["kind"], "ServiceAccount");
        assert_eq!(objects[1]["subjects"][0]["namespace"], "ci");
        rights.insert(right("create", "", "namespaces", Scope::Cluster));
        let objects = read(&manifests(&rights, None));
        let kinds: Vec<_> = objects.iter().map(|object| &object["kind"]).collect();
        assert_eq!(
            kinds,
            ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
        );
        assert_eq!(objects[1]["subjects"][0]["name"], NOBODY);
    }
}
