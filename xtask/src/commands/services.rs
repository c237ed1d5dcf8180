//! `cargo xtask services`: the table of services, its schema, and what is wrong with one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::commands::args::Format;
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::run::check;
use e2e_runner::run::plan::Target;
use e2e_runner::settings::named;
use e2e_runner::table::part::Part;
use e2e_runner::table::service::{Callers, Component, Service};
use e2e_runner::table::suite::Suite;
use e2e_runner::table::{SCHEMA, Table, closure};

/// Flags of `services`.
#[derive(Debug, Args)]
pub struct Services {
    /// Say all that is wrong with a table, each with its file and line, and make nothing
    #[arg(long, conflicts_with = "schema")]
    pub check: bool,
    /// The table that is checked; without it the one in use
    #[arg(value_name = "FILE", requires = "check")]
    pub file: Option<PathBuf>,
    /// Print the JSON schema of a table
    #[arg(long)]
    pub schema: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Runs the verb.
pub fn run(
    table: impl FnOnce() -> anyhow::Result<Table>,
    own: Option<&Path>,
    args: &Services,
) -> anyhow::Result<Exit> {
    if args.check {
        return check_table(args.file.as_deref().or(own), args.format);
    }
    if args.schema {
        terminal::print(SCHEMA.trim_end());
        return Ok(Exit::Passed);
    }
    list(&table()?, args.format)
}

/// Says all that is wrong with the rows of a table, as runs on the targets that they are for would.
fn check_table(own: Option<&Path>, format: Format) -> anyhow::Result<Exit> {
    let (table, mut faults) = Table::inspect(own);
    let file = table.own().unwrap_or(table.built_in());
    let services: Vec<&Service> = table
        .all()
        .iter()
        .filter(|row| row.table() == file)
        .collect();
    let parts: Vec<&Part> = table
        .parts()
        .iter()
        .filter(|row| row.table == file)
        .collect();
    // Names of parts that could not be read are unknown for that alone.
    if faults.is_empty() {
        for service in &services {
            let chosen = table.together(vec![(*service).clone()]);
            for target in targets(service) {
                let found = check::faults(&chosen, target, !service.suites.is_empty());
                let new: Vec<Failure> = found
                    .into_iter()
                    .filter(|fault| faults.iter().all(|known| known.summary != fault.summary))
                    .collect();
                faults.extend(new);
            }
        }
    }
    let unused = parts
        .iter()
        .filter(|part| users(&table, part).is_empty())
        .map(|part| format!("{}: no service uses the part `{}`", part.place(), part.name));
    let notes: Vec<String> = table.lost().into_iter().chain(unused).collect();
    let exit = if faults.is_empty() {
        Exit::Passed
    } else {
        Exit::Usage
    };
    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>();
    let services = names(services.iter().map(|service| &service.name).collect());
    let parts = names(parts.iter().map(|part| &part.name).collect());
    if format == Format::Json {
        let faults = faults.iter().map(|fault| {
            serde_json::json!({"what": fault.summary, "detail": fault.detail, "next": fault.hint})
        });
        let document = serde_json::json!({
            "version": 1, "verb": "services", "exit": exit.code(),
            "result": {"table": file, "services": services, "parts": parts,
                "faults": faults.collect::<Vec<_>>(), "notes": notes},
        });
        terminal::print(&serde_json::to_string_pretty(&document)?);
        return Ok(exit);
    }
    let mut text = String::new();
    for fault in &faults {
        writeln!(text, "{fault}")?;
    }
    for note in notes {
        writeln!(text, "note: {note}")?;
    }
    match faults.len() {
        0 => write!(
            text,
            "{file}: nothing is wrong with {}: fields, files, programs and names",
            told(&services, &parts)
        )?,
        1 => write!(text, "{file}: one fault")?,
        count => write!(text, "{file}: {count} faults")?,
    }
    terminal::print(&named(&text));
    Ok(exit)
}

/// What was looked at, in words.
fn told(services: &[String], parts: &[String]) -> String {
    let list = |what: &str, names: &[String]| match names.len() {
        0 => None,
        1 => Some(format!("the {what} {}", names[0])),
        count => Some(format!("{count} {what}s ({})", names.join(", "))),
    };
    let all = [list("service", services), list("part", parts)];
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() {
        "it, and it has no row".to_owned()
    } else {
        all.join(" and ")
    }
}

/// The targets that a row is for: one whose service is a process only, or manifests only, is for one.
fn targets(service: &Service) -> Vec<Target> {
    let (on_kind, here) = (
        !service.own.manifests.is_empty(),
        !service.own.process.is_empty(),
    );
    match (service.has(Component::Own), on_kind, here) {
        (true, true, false) => vec![Target::Kind],
        (true, false, true) => vec![Target::Local],
        _ => vec![Target::Kind, Target::Local],
    }
}

/// The services that use a part, by themselves or for another part.
fn users<'a>(table: &'a Table, part: &Part) -> Vec<&'a str> {
    let all = table
        .all()
        .iter()
        .filter(|service| closure(&service.parts, || table.parts().iter()).contains(&part.name));
    all.map(|service| &*service.name).collect()
}

fn list(table: &Table, format: Format) -> anyhow::Result<Exit> {
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
                    "callers": callers(service),
                    "parts": closure(&service.parts, || table.parts().iter()),
                    "table": service.table(),
                    "replaces": service.replaces,
                })
            })
            .collect();
        terminal::print(&serde_json::to_string_pretty(&services)?);
        return Ok(Exit::Passed);
    }
    let mut text = format!(
        "{:<24} {:<24} {:<18} {:>12} {:>8} {:<8} {:>8}  {:<18} suite\n",
        "service", "profile", "namespace", "Data Storage", "replicas", "callers", "itself", "by"
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
            "{:<24} {:<24} {:<18} {:>12} {:>8} {:<8} {:>8}  {by:<18} {}",
            service.name,
            service.profile,
            service.namespace,
            number(service.ports.datastorage),
            service.replicas,
            callers(service),
            number(service.ports.service),
            if service.suites.is_empty() {
                "none yet".to_owned()
            } else {
                suites(service)
            }
        );
        writeln!(text, "{}", row.trim_end())?;
    }
    if !table.parts().is_empty() {
        writeln!(text, "\n{:<24} {:<24} used by", "part", "row of")?;
    }
    for part in table.parts() {
        let users = match users(table, part) {
            users if users.is_empty() => "nobody".to_owned(),
            users => users.join(", "),
        };
        writeln!(text, "{:<24} {:<24} {users}", part.name, part.table)?;
    }
    writeln!(text, "\n{}", table.whose())?;
    for lost in table.lost() {
        writeln!(text, "{lost}")?;
    }
    terminal::print(&text);
    Ok(Exit::Passed)
}

const fn callers(service: &Service) -> &'static str {
    match service.callers {
        Callers::Anyone => "anyone",
        Callers::Token => "token",
    }
}

fn suites(service: &Service) -> String {
    let suites: Vec<_> = service.suites.iter().map(Suite::describe).collect();
    suites.join("; ")
}
