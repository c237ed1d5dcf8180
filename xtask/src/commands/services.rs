//! `cargo xtask services`: the table of services.

use std::fmt::Write as _;

use crate::exit::Exit;
use crate::{report, service};

/// Runs the verb.
pub fn run() -> anyhow::Result<Exit> {
    let mut text = format!(
        "{:<24} {:<24} {:<18} {:>12}  suite\n",
        "service", "profile", "namespace", "Data Storage"
    );
    for service in service::all()? {
        let suite = service
            .suite
            .as_ref()
            .map_or("none yet".to_owned(), |suite| {
                format!("{}::{}", suite.package, suite.module)
            });
        writeln!(
            text,
            "{:<24} {:<24} {:<18} {:>12}  {suite}",
            service.name, service.profile, service.namespace, service.datastorage_port
        )?;
    }
    report::print(&text);
    Ok(Exit::Passed)
}
