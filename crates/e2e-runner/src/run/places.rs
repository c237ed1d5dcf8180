//! The namespaces of a run: those that the table names in a cluster of its own, its own in one that others use too.

use std::collections::BTreeMap;

use crate::exit::{Exit, Failure};
use crate::state::Run;
use crate::table::Chosen;
use crate::table::service::{Component, Service};

/// The namespace of a PostgreSQL that several services share.
const SHARED: &str = "kubernaut-e2e";
/// How long a namespace may be (RFC 1123).
const LONGEST: usize = 63;

/// Where the namespaces of a run come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Places {
    /// The cluster is the run's own: what the table says is so.
    Table,
    /// Made for the run, with this at the end of their names.
    Made(String),
    /// Given by name, one for each that the run needs.
    Given(Vec<String>),
}

impl Places {
    /// Those of a run whose namespaces are made in a cluster of others.
    pub fn made(run: &Run) -> Self {
        Self::Made(suffix(&run.id()).to_owned())
    }

    /// What each namespace of the table is called in this run, with that of a server that services share.
    pub fn of(&self, chosen: &Chosen) -> Result<Namespaces, Failure> {
        let wanted = wanted(chosen);
        let names: Vec<String> = match self {
            Self::Table => wanted.clone(),
            Self::Made(suffix) => wanted.iter().map(|name| ended(name, suffix)).collect(),
            Self::Given(given) => {
                if given.len() < wanted.len() {
                    let what = format!(
                        "this run needs {} namespaces ({}), and {} {} given",
                        wanted.len(),
                        wanted.join(", "),
                        given.len(),
                        if given.len() == 1 { "is" } else { "are" }
                    );
                    return Err(Failure::new(Exit::Usage, what).hint(
                        "give as many by --namespace, start fewer services, or leave --namespace out where namespaces may be made",
                    ));
                }
                given.clone()
            }
        };
        let home = match self {
            Self::Made(suffix) => ended(SHARED, suffix),
            Self::Table => SHARED.to_owned(),
            // What services share has to lie somewhere, and is in nobody's way there.
            Self::Given(_) => names.first().cloned().unwrap_or_default(),
        };
        Ok(Namespaces {
            names: wanted.into_iter().zip(names).collect(),
            home,
        })
    }
}

/// What a run's own names end with: the digits of its identity.
pub fn suffix(run: &str) -> &str {
    run.rsplit('-').next().unwrap_or(run)
}

/// A name that ends so, and is no longer than a namespace may be.
fn ended(name: &str, suffix: &str) -> String {
    let room = LONGEST.saturating_sub(suffix.len() + 1);
    let name = name.get(..room).unwrap_or(name).trim_end_matches('-');
    format!("{name}-{suffix}")
}

/// The namespaces of the table that a run needs, each once: those of its services, then those of their parts.
fn wanted(chosen: &Chosen) -> Vec<String> {
    let services = &chosen.services;
    let own = services.iter().map(|service| alone(services, service));
    let parts = chosen.parts.iter().filter_map(|part| {
        let namespace = part.namespace.as_ref()?;
        let is_service = services.iter().any(|one| one.namespace == *namespace);
        (!is_service).then(|| namespace.clone())
    });
    let mut wanted: Vec<String> = Vec::new();
    for name in own.chain(parts) {
        if !wanted.contains(&name) {
            wanted.push(name);
        }
    }
    wanted
}

/// The namespace of a service before anything else is known of the run.
pub fn alone(services: &[Service], service: &Service) -> String {
    let same = |other: &&Service| other.namespace == service.namespace;
    // What a real service's manifests say of its namespace is so; a fake's objects are the tool's.
    if services.iter().filter(same).count() == 1 || service.has(Component::Own) {
        service.namespace.clone()
    } else {
        format!("{}-{}", service.namespace, service.name)
    }
}

/// What the namespaces of a run are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    names: BTreeMap<String, String>,
    /// That of a PostgreSQL that services share.
    pub home: String,
}

impl Namespaces {
    /// What a namespace of the table is called in this run.
    pub fn called(&self, name: &str) -> String {
        self.names.get(name).map_or(name, String::as_str).to_owned()
    }

    /// What all of them are called, each once; with that of a server that services share, if they do.
    pub fn names(&self, is_shared: bool) -> Vec<String> {
        let all = self.names.values();
        let mut names: Vec<String> = all
            .chain(is_shared.then_some(&self.home))
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// All of them by their names in the table, without that of a server that services share.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = self.names.iter();
        names.map(|(table, called)| (table.as_str(), called.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    fn chosen(names: &[&str]) -> Chosen {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Table::load(None).unwrap().choose(&names, false).unwrap()
    }

    #[test]
    fn in_a_cluster_of_others_each_namespace_has_the_runs_own_ending() {
        let chosen = chosen(&["gateway", "notification"]);
        let of_table = Places::Table.of(&chosen).unwrap();
        let made = Places::Made("a1b2c3".to_owned()).of(&chosen).unwrap();
        for (table, called) in made.all() {
            assert_eq!(called, format!("{table}-a1b2c3"));
            assert_eq!(of_table.called(table), table);
        }
        assert_eq!(made.home, "kubernaut-e2e-a1b2c3");
        assert_eq!(made.called("kube-system"), "kube-system");
    }

    #[test]
    fn a_long_name_is_cut_so_that_it_is_a_namespace() {
        let name = ended(&"n".repeat(62), "a1b2c3");
        assert_eq!(name.len(), LONGEST);
        assert!(name.ends_with("n-a1b2c3"));
    }

    #[test]
    fn fewer_given_namespaces_than_are_needed_are_refused() {
        let chosen = chosen(&["gateway", "notification"]);
        let given = Places::Given(vec!["team".to_owned()]);
        let failure = given.of(&chosen).unwrap_err();
        assert!(failure.summary.contains("needs 2 namespaces"), "{failure}");
        let given = Places::Given(vec!["one".to_owned(), "two".to_owned()]);
        let given = given.of(&chosen).unwrap();
        assert_eq!(given.home, "one");
        assert_eq!(given.all().count(), 2);
    }
}
