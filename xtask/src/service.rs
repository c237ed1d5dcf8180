//! The table of services, read from `kind/services.toml` as it was when the tool was built.

use std::time::Duration;

use serde::Deserialize;

use crate::exit::{Exit, Failure};

/// `kind/services.toml`.
const TABLE: &str = include_str!("../../kind/services.toml");

/// One service that has end-to-end tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name, as people type it.
    pub name: String,
    /// The migration profile that its database gets.
    pub profile: String,
    /// The Kubernetes namespace of PostgreSQL and Data Storage.
    pub namespace: String,
    /// What happens when a host port of the service is taken.
    pub ports: Ports,
    /// The host port of Data Storage by DD-TEST-001.
    pub datastorage_port: u16,
    /// The tests; a service without them is refused by `e2e`.
    pub suite: Option<Suite>,
}

/// Whether a service insists on its host ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ports {
    /// Asks for its own numbers and leases others where they are taken.
    Preferred,
    /// Fails where they are taken.
    Fixed,
}

/// A module of tests in a package of this workspace.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Cargo package whose `it` test holds the module.
    pub package: String,
    /// Module name, which selects the tests.
    pub module: String,
    deadline_seconds: u64,
}

impl Suite {
    /// How long the whole suite may take.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    service: Vec<Service>,
}

/// Every service, in the order of the table.
pub fn all() -> Result<Vec<Service>, Failure> {
    parse(TABLE)
}

fn parse(text: &str) -> Result<Vec<Service>, Failure> {
    let table: Table = toml::from_str(text).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!(
                "kind/services.toml cannot be read: {}",
                error.to_string().trim()
            ),
        )
    })?;
    Ok(table.service)
}

/// The service of that name.
pub fn find(name: &str) -> Result<Service, Failure> {
    let services = all()?;
    let names = services
        .iter()
        .map(|service| service.name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    services
        .into_iter()
        .find(|service| service.name == name)
        .ok_or_else(|| {
            Failure::new(Exit::Usage, format!("no service is named `{name}`"))
                .next(format!("name one of: {names}"))
        })
}

impl Service {
    /// The suite, or the failure that says there is none yet.
    pub fn suite(&self) -> Result<&Suite, Failure> {
        self.suite.as_ref().ok_or_else(|| {
            Failure::new(Exit::Usage, format!("the service `{}` has no suite yet", self.name))
                .next(format!("add `suite` to its entry in kind/services.toml, or use `cargo xtask migrate --profile {}`", self.profile))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_the_seven_services_once_each() {
        let mut names: Vec<_> = all()
            .unwrap()
            .into_iter()
            .map(|service| service.name)
            .collect();
        assert_eq!(names.len(), 7);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 7);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let failure = parse("[[service]]\nname = \"x\"\nprofil = \"x\"\n").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.what.contains("line 3") && failure.what.contains("profil"),
            "{failure}"
        );
    }

    #[test]
    fn an_unknown_service_lists_those_that_exist() {
        let failure = find("workflow").unwrap_err();
        assert!(
            failure
                .to_string()
                .contains("workflowexecution, datastorage, gateway"),
            "{failure}"
        );
    }
}
