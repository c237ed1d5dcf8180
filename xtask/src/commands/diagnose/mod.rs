//! `cargo xtask diagnose`: why audit events do not arrive, by name, with evidence and the command that repairs it.

pub mod flags;
mod logs;
mod place;
mod service;
mod view;

use std::time::{Duration, Instant};

use ::diagnose::{Cause, Diagnosis, Repair};
use datastorage_client::Access;
use migrations::{Config, Error};
use tokio_util::sync::CancellationToken;

use crate::commands::args::Format;
use crate::terminal;
use e2e_runner::exit::Exit;
use e2e_runner::process::Runner;
use e2e_runner::table::Table;
use e2e_runner::tools::migrate::{cancellable, failure, runtime};
use flags::Diagnose;
use place::Place;

/// How long the examination of the database may take; its own waits are shorter.
const DEADLINE: Duration = Duration::from_secs(20);

/// Runs the verb.
pub fn run(runner: &Runner, table: Option<&Table>, args: &Diagnose) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let place = Place::find(runner, table, args)?;
    let mut diagnosis = examine(runner, &place, &args.access)?;
    if args.repair && !diagnosis.is_healthy() {
        let steps = steps(&diagnosis);
        terminal::message(&view::human(&diagnosis, &place, began.elapsed()));
        terminal::message(&format!("\nrepairing: {} steps\n", steps.len()));
        let config = place.config(runner)?;
        on_database(runner, config, async |config| {
            ::diagnose::repair(&config, &steps).await
        })?;
        diagnosis = examine(runner, &place, &args.access)?;
    }
    let exit = diagnosis
        .findings
        .first()
        .map_or(Exit::Passed, |finding| exit_of(finding.cause));
    terminal::print(&match args.format {
        Format::Human => view::human(&diagnosis, &place, began.elapsed()),
        Format::Json => view::document(&diagnosis, &place, exit),
    });
    Ok(exit)
}

/// First by way of Data Storage, then its database itself, which also shows whether the two are one.
fn examine(runner: &Runner, place: &Place, access: &Access) -> anyhow::Result<Diagnosis> {
    let mut diagnosis = Diagnosis::default();
    let mut seen = service::Seen::default();
    let mut access = access.clone();
    access.token_file = access.token_file.or_else(|| place.token_file.clone());
    match &place.url {
        Some(url) => seen = service::examine(url, &access, &mut diagnosis)?,
        None => diagnosis.skip("Data Storage", "its URL is not known: --url"),
    }
    match place.log(runner) {
        Some(log) => logs::read(&log, &mut diagnosis),
        None => diagnosis.skip(
            "log",
            "not known: --log, --kubeconfig or an environment that is up",
        ),
    }
    if place.database.is_some() {
        let config = place.config(runner)?;
        let of_database = on_database(runner, config, async |config| {
            ::diagnose::diagnose(&config, &seen.written).await
        })?;
        diagnosis.checks.extend(of_database.checks);
        for finding in of_database.findings {
            diagnosis.find(finding);
        }
    } else {
        diagnosis.skip("database", "its URL is not known: --database-url");
    }
    // What Data Storage says comes last, as evidence of what was found at its root.
    for finding in seen.findings {
        diagnosis.find(finding);
    }
    diagnosis.sort();
    Ok(diagnosis)
}

fn on_database<T>(
    runner: &Runner,
    config: Config,
    work: impl AsyncFnOnce(Config) -> Result<T, Error>,
) -> anyhow::Result<T> {
    let token = CancellationToken::new();
    let config = config.deadline(DEADLINE).cancel_with(token.clone());
    cancellable(&runtime()?, config, &token, runner.cancel(), work)
        .map_err(|error| failure(&error, runner.cancel()).into())
}

/// Every step once, in the order of the findings.
fn steps(diagnosis: &Diagnosis) -> Vec<Repair> {
    let mut steps: Vec<Repair> = Vec::new();
    for step in diagnosis
        .findings
        .iter()
        .flat_map(|finding| &finding.repair)
    {
        if !steps.contains(step) && !matches!(step, Repair::Manual(_) | Repair::Person(_)) {
            steps.push(step.clone());
        }
    }
    steps
}

/// The code of a cause: 10 what is missing, 11 what differs, 4 what cannot be used (design section 8).
fn exit_of(cause: Cause) -> Exit {
    match cause {
        Cause::MigrationNotApplied
        | Cause::MigrationReverted
        | Cause::MissingTable
        | Cause::MissingColumn
        | Cause::NoPartition => Exit::Pending,
        Cause::UnmanagedSchema
        | Cause::Ledger
        | Cause::TypeMismatch
        | Cause::Constraint
        | Cause::Permission
        | Cause::Drift => Exit::Drift,
        _ => Exit::Setup,
    }
}
