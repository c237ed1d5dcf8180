//! `cargo xtask ci`: the table of services as a CI system wants it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::commands::sharding;
use crate::terminal;
use e2e_runner::durations::{self, Durations};
use e2e_runner::exit::Exit;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::shard::MOST_SHARDS;
use e2e_runner::table::Table;
use e2e_runner::table::service::Service;
use e2e_runner::table::suite::Suite;

/// What setting up and cleaning up may take beside the suite, in minutes: a cold build of everything on two cores.
const AROUND: u64 = 25;

/// What `ci` prints.
#[derive(Debug, Subcommand)]
pub enum Ci {
    /// The services as a GitHub Actions matrix, one line of JSON
    #[command(
        after_help = "Examples:\n  echo \"matrix=$(cargo xtask ci matrix)\" >> \"$GITHUB_OUTPUT\"\n  echo \"matrix=$(cargo xtask ci matrix --shards 3 --durations durations.json)\" >> \"$GITHUB_OUTPUT\""
    )]
    Matrix {
        /// As this many jobs at most, each with the names of the services that it runs, instead of a job for each service
        #[arg(long, value_name = "N", value_parser = shards)]
        shards: Option<usize>,
        /// How long the services' suites take, as `ci durations` writes it; without it the services are split evenly
        #[arg(long, value_name = "FILE", requires = "shards")]
        durations: Option<PathBuf>,
    },
    /// How long the suites of services took in past runs, for `--durations`
    #[command(
        after_help = "Examples:\n  cargo xtask ci durations > durations.json\n  cargo xtask ci durations artifacts/ > durations.json    # what jobs have uploaded"
    )]
    Durations {
        /// Event logs, directories of runs, or directories that hold some; without one, the runs of this machine
        #[arg(value_name = "PATH")]
        places: Vec<PathBuf>,
    },
}

fn shards(text: &str) -> Result<usize, String> {
    let count = text.parse().ok();
    count
        .filter(|count| (1..=MOST_SHARDS).contains(count))
        .ok_or_else(|| format!("write a number from 1 to {MOST_SHARDS}"))
}

/// Runs the verb.
pub fn run(
    runner: &Runner,
    table: impl FnOnce() -> anyhow::Result<Table>,
    what: &Ci,
) -> anyhow::Result<Exit> {
    match what {
        Ci::Matrix { shards, durations } => matrix(&table()?, *shards, durations.as_deref()),
        Ci::Durations { places } => past(runner, places),
    }
}

fn matrix(table: &Table, shards: Option<usize>, durations: Option<&Path>) -> anyhow::Result<Exit> {
    let services = table.named(&[], true)?;
    let entries: Vec<Value> = match shards {
        None => services
            .iter()
            .map(|service| {
                let minutes = minutes(std::slice::from_ref(service));
                json!({"service": service.name, "profile": service.profile, "timeout_minutes": minutes})
            })
            .collect(),
        Some(of) => {
            let (split, told) = sharding::split(&services, of, durations)?;
            terminal::message(&told);
            let shards = split.shards.iter().enumerate();
            let entries = shards.map(|(at, names)| {
                let own = services.iter().filter(|service| names.contains(&service.name));
                let own: Vec<Service> = own.cloned().collect();
                json!({"shard": format!("{}/{of}", at + 1), "services": names.join(" "), "timeout_minutes": minutes(&own)})
            });
            // A job without a service has nothing to do.
            entries.filter(|entry| entry["services"] != "").collect()
        }
    };
    terminal::print(&json!({"include": entries}).to_string());
    Ok(Exit::Passed)
}

fn minutes(services: &[Service]) -> u64 {
    let suites = services.iter().flat_map(|service| &service.suites);
    let longest: Duration = suites.map(Suite::longest).sum();
    longest.as_secs().div_ceil(60) + AROUND
}

fn past(runner: &Runner, places: &[PathBuf]) -> anyhow::Result<Exit> {
    let here = if places.is_empty() {
        vec![Paths::find(runner)?.runs()]
    } else {
        places.to_vec()
    };
    let logs = durations::logs(&here);
    let durations = Durations::of(&logs);
    if durations.is_empty() {
        let places: Vec<String> = here
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        // The first time there is none: a split by nothing is even.
        terminal::message(&format!(
            "no suite has passed in a run of {}: a split by this file is even",
            places.join(", ")
        ));
    }
    terminal::print(&durations.text());
    Ok(Exit::Passed)
}
