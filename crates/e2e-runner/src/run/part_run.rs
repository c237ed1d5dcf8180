//! A part of a run: where its objects and logs go, and what of it this machine reaches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::exit::{Exit, Failure};
use crate::names::{LITERAL, Unknown};
use crate::run::layer::{Layer, Level};
use crate::table::part::{Part, Publish};

/// A part of a run: a service itself, or one that its services share.
#[derive(Debug)]
pub struct PartRun {
    /// Its entry in the table.
    pub part: Part,
    /// The namespace of those of its objects that name none.
    pub namespace: String,
    /// Where its logs go.
    pub dir: PathBuf,
    /// The address of each published port as this machine reaches it, by its variable.
    pub published: OnceLock<BTreeMap<String, String>>,
}

impl PartRun {
    /// A part before any of its stages.
    pub fn new(part: Part, namespace: String, dir: PathBuf) -> Self {
        Self {
            part,
            namespace,
            dir,
            published: OnceLock::new(),
        }
    }

    /// Its layer of the environment.
    pub fn level(&self) -> Level<'_> {
        Level {
            layer: if self.part.is_service {
                Layer::Service
            } else {
                Layer::Part
            },
            whose: Some(&self.part.name),
        }
    }

    /// The failure of a name in its entry that stands for nothing.
    pub fn unknown(&self, unknown: &Unknown) -> Failure {
        let (table, name) = (&self.part.table, &self.part.name);
        let what = format!("{table}: `{name}`: nothing is named ${{{}}}", unknown.0);
        Failure::new(Exit::Usage, what).hint(LITERAL)
    }

    /// The address that the suite gets in a variable.
    pub fn address(&self, variable: &str) -> Option<&str> {
        self.published.get()?.get(variable).map(String::as_str)
    }

    /// The address of the port that its entry publishes first, or of the first that is there.
    pub fn first_address(&self) -> Option<&str> {
        let mut published = self.part.publish.iter();
        published.find_map(|publish| self.address(&publish.env))
    }

    /// A published port's address as pods reach it, where the table says which port it is.
    pub fn pod_address(&self, publish: &Publish) -> Option<String> {
        let service = publish.service.as_ref().unwrap_or(&self.part.name);
        let namespace = publish.namespace.as_ref().unwrap_or(&self.namespace);
        Some(publish.url(&format!("{service}.{namespace}.svc:{}", publish.port?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_ports_the_one_that_is_published_first_is_told() {
        let part = "name = \"w\"\npublish = [{ env = \"C_URL\" }, { env = \"B_URL\" }, { env = \"A_URL\" }]";
        let part = toml::from_str(part).expect("an entry");
        let part_run = PartRun::new(part, "here".to_owned(), PathBuf::new());
        assert_eq!(part_run.first_address(), None);
        let addresses = ["A_URL", "B_URL"].map(|name| (name.to_owned(), format!("at {name}")));
        part_run.published.get_or_init(|| addresses.into());
        assert_eq!(part_run.first_address(), Some("at B_URL"));
    }
}
