//! `cargo xtask services`: the table of services.

use std::fmt::Write as _;

use crate::commands::args::Format;
use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::table::Table;
use e2e_runner::table::service::{Component, Service};
use e2e_runner::table::suite::Suite;

/// Runs the verb.
pub fn run(table: &Table, format: Format) -> anyhow::Result<Exit> {
    if format == Format::Json {
        let services: Vec<_> = table
            .all()
            .iter()
            .map(|service| {
                serde_json::json!({
                    "name": service.name,
                    "profile": service.profile,
                    "namespace": service.namespace,
                    "replicas": service.replicas,
                    "datastorage_port": service.ports.datastorage,
                    "service_port": service.ports.service,
                    "suite": (!service.suites.is_empty()).then(|| suites(service)),
                    "table": service.table(),
                    "replaces": service.replaces,
                })
            })
            .collect();
        terminal::print(&serde_json::to_string_pretty(&services)?);
        return Ok(Exit::Passed);
    }
    let mut text = format!(
        "{:<24} {:<24} {:<18} {:>12} {:>8} {:>8}  {:<18} suite\n",
        "service", "profile", "namespace", "Data Storage", "replicas", "itself", "by"
    );
    let number = |port: Option<u16>| port.map_or("-".to_owned(), |port| port.to_string());
    for service in table.all() {
        let by = match () {
            () if service.has(Component::Relay) => "a fake and a relay",
            () if service.has(Component::Fake) => "a fake",
            () if service.has(Component::Own) => "itself",
            () => "-",
        };
        let row = format!(
            "{:<24} {:<24} {:<18} {:>12} {:>8} {:>8}  {by:<18} {}",
            service.name,
            service.profile,
            service.namespace,
            number(service.ports.datastorage),
            service.replicas,
            number(service.ports.service),
            if service.suites.is_empty() {
                "none yet".to_owned()
            } else {
                suites(service)
            }
        );
        writeln!(text, "{}", row.trim_end())?;
    }
    for replaced in table.replaced() {
        let by = table.find(&replaced.name)?;
        writeln!(
            text,
            "\n{} is the one of {}; the one of {} is not used",
            by.name,
            by.table(),
            replaced.table()
        )?;
    }
    terminal::print(&text);
    Ok(Exit::Passed)
}

fn suites(service: &Service) -> String {
    let suites: Vec<_> = service.suites.iter().map(Suite::describe).collect();
    suites.join("; ")
}
