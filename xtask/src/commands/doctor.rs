//! `cargo xtask doctor`: whether this machine can hold a run, and the line that puts right what would stop one.

use std::fmt::Write as _;

use clap::Args;

use serde_json::json;

use crate::commands::args::{ClusterArgs, Format, TargetChoice};
use crate::terminal;
use e2e_runner::doctor;
use e2e_runner::doctor::check::{Check, For, Level};
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::guest::Wanted;
use e2e_runner::process::Runner;
use e2e_runner::settings::named;
use e2e_runner::table::{Chosen, Table};

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The services that are to run on the existing cluster; every one of the table where none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// The target that must be able to run; `auto` is content with one of the two
    #[arg(long, value_enum, default_value_t = TargetChoice::Auto)]
    pub target: TargetChoice,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Print the roles that a run needs on the existing cluster, for its administrator to apply, and look at nothing else
    #[arg(long)]
    pub print_role: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Runs the verb.
pub fn run(runner: &Runner, table: &anyhow::Result<Table>, args: &Doctor) -> anyhow::Result<Exit> {
    let existing = existing(table, args)?;
    if args.print_role {
        let Some((table, wanted, chosen)) = &existing else {
            return Err(only_for_clusters("--print-role").into());
        };
        let role = doctor::cluster::role(runner, table, wanted, chosen)?;
        terminal::print(role.trim_end());
        return Ok(Exit::Passed);
    }
    let mut checks = doctor::checks(runner, table);
    if let Some((table, wanted, chosen)) = &existing {
        checks.extend(doctor::cluster::checks(runner, table, wanted, chosen));
    }
    runner.cancel().check()?;
    let usable = |target| doctor::is_usable(&checks, target);
    let (kind, local) = (usable(For::Kind), usable(For::Local));
    let cluster = existing
        .as_ref()
        .map(|(_, wanted, _)| (&*wanted.context, usable(For::Cluster)));
    let fit = match args.target {
        TargetChoice::Auto => kind || local,
        TargetChoice::Kind => kind,
        TargetChoice::Local => local,
        TargetChoice::Cluster => cluster.is_some_and(|(_, usable)| usable),
    };
    let exit = if fit { Exit::Passed } else { Exit::Preflight };
    terminal::print(&match args.format {
        Format::Human => named(&page(&checks, (kind, local), cluster)).into_owned(),
        Format::Json => {
            let mut result = json!({"kind": kind, "local": local, "checks": checks});
            if let Some((_, usable)) = cluster {
                result["cluster"] = usable.into();
            }
            serde_json::to_string_pretty(&json!({
                "version": 1, "verb": "doctor", "exit": exit.code(), "result": result,
            }))?
        }
    });
    Ok(exit)
}

/// The existing cluster that is asked for, with the services that are to run there.
fn existing<'a>(
    table: &'a anyhow::Result<Table>,
    args: &Doctor,
) -> anyhow::Result<Option<(&'a Table, Wanted, Chosen)>> {
    if args.target != TargetChoice::Cluster && !args.services.is_empty() {
        return Err(only_for_clusters("a service").into());
    }
    let table = match table {
        Ok(table) => table,
        // One that cannot be read is one of the checks, but for a cluster nothing can be said without it.
        Err(error) if args.target == TargetChoice::Cluster => {
            let what = format!("{error:#}");
            return Err(Failure::new(Exit::Usage, what)
                .hint("correct the table of services, or leave out --services and E2E_SERVICES")
                .into());
        }
        Err(_) => return Ok(None),
    };
    let Some(wanted) = args.cluster.wanted(args.target, table, None)? else {
        return Ok(None);
    };
    let chosen = if args.services.is_empty() {
        table.together(table.all().to_vec())
    } else {
        table.choose(&args.services, false)?
    };
    Ok(Some((table, wanted, chosen)))
}

fn only_for_clusters(what: &str) -> Failure {
    let what = format!("{what} is for an existing cluster");
    Failure::new(Exit::Usage, what).hint("add --target cluster --context NAME, or leave it out")
}

/// The checks as text: of an existing cluster those that matter there.
fn page(checks: &[Check], (kind, local): (bool, bool), cluster: Option<(&str, bool)>) -> String {
    let mut text = String::new();
    let matters =
        |check: &&Check| cluster.is_none() || [For::Cluster, For::Both].contains(&check.target);
    for check in checks.iter().filter(matters) {
        let word = match check.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        writeln!(text, "{word:<8} {:<18} {}", check.name, check.detail).unwrap_or_default();
        if let Some(fix) = &check.fix {
            writeln!(text, "{:<8} {:<18} fix: {fix}", "", "").unwrap_or_default();
        }
    }
    let word = |usable| if usable { "can run" } else { "cannot run" };
    match cluster {
        Some((name, usable)) => write!(text, "\ncluster {name} {}", word(usable)),
        None => write!(text, "\nkind {}, local {}", word(kind), word(local)),
    }
    .unwrap_or_default();
    text
}
