//! `cargo xtask reap`: removes what a killed run left and what has expired.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use crate::commands::args::Format;
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::guest::{Guest, Wanted};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::cluster::expired;
use e2e_runner::run::{abandoned, finished};
use e2e_runner::table::Table;
use e2e_runner::tools::kubectl::Kubectl;

/// Flags of `reap`.
#[derive(Debug, Args)]
pub struct Reap {
    /// Remove from this cluster what has expired there, of anybody's run, and nothing else
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig that has the context; it is only read
    #[arg(long, value_name = "FILE", requires = "context")]
    pub kubeconfig: Option<PathBuf>,
    /// Look in this namespace instead of at those that runs have made; may be given more than once
    #[arg(long = "namespace", value_name = "NS", requires = "context")]
    pub namespaces: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Runs the verb: everything that can go goes, then what could not is named.
pub fn run(runner: &Runner, table: &anyhow::Result<Table>, args: &Reap) -> anyhow::Result<Exit> {
    if let Some(context) = &args.context {
        let table = table
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error:#}"))?;
        return on_cluster(runner, table, context, args);
    }
    let paths = Paths::find(runner)?;
    let (removed, left) = abandoned::remove_all(runner, &paths, terminal::message);
    let reports = finished::sweep(&paths.runs(), SystemTime::now());
    if reports > 0 {
        terminal::message(&format!(
            "reports of {reports} runs that ended long ago: removed"
        ));
    }
    let (servers, swept) = match embedded_postgres::sweep(&[]) {
        Ok(servers) => (servers, None),
        Err(error) => {
            let failure = Failure::new(Exit::LeftBehind, format!("PostgreSQL servers: {error:#}"));
            (Vec::new(), Some(failure))
        }
    };
    for dir in &servers {
        terminal::message(&format!("PostgreSQL in {}: removed", dir.display()));
    }
    let left = abandoned::together(left.into_iter().chain(swept).collect());
    if args.format == Format::Json {
        let document = serde_json::json!({
            "runs_removed": removed,
            "reports_removed": reports,
            "servers_removed": servers,
            "left_behind": left.as_ref().map(ToString::to_string),
        });
        terminal::print(&serde_json::to_string_pretty(&document)?);
    } else if removed + reports + servers.len() == 0 && left.is_none() {
        terminal::message("nothing was left behind");
    }
    left.map_or(Ok(Exit::Passed), |failure| Err(failure.into()))
}

/// Removes what has expired in a cluster that others use too.
fn on_cluster(runner: &Runner, table: &Table, context: &str, args: &Reap) -> anyhow::Result<Exit> {
    let wanted = Wanted {
        context: context.to_owned(),
        kubeconfig: args.kubeconfig.clone(),
        ..Wanted::default()
    };
    let guest = Guest::choose(runner, table, &wanted)?;
    let given = match args.namespaces.as_slice() {
        [] => guest.namespaces.clone(),
        named => named.to_vec(),
    };
    let runs = Paths::find(runner)?.runs();
    std::fs::create_dir_all(&runs)?;
    let copy = runs.join(format!(".kubeconfig-{}", std::process::id()));
    let removed = guest.kubeconfig_into(runner, &copy).and_then(|()| {
        let kubectl = Kubectl::new(runner.clone(), &copy, "default").patient();
        expired::remove(&kubectl, &given, terminal::message)
    });
    drop(std::fs::remove_file(&copy));
    let (removed, left) = removed?;
    if args.format == Format::Json {
        let document = serde_json::json!({
            "context": context,
            "removed": removed,
            "left_behind": left.as_ref().map(ToString::to_string),
        });
        terminal::print(&serde_json::to_string_pretty(&document)?);
    } else if removed == 0 && left.is_none() {
        terminal::message(&format!("nothing in {context} has expired"));
    }
    left.map_or(Ok(Exit::Passed), |failure| Err(failure.into()))
}
