//! `cargo xtask down`: stops what `up`, a kept run or an embedded `migrate` left running.

use std::path::Path;

use clap::Args;

use crate::commands::args::Format;
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::abandoned::{together, unreadable};
use e2e_runner::run::teardown::release;
use e2e_runner::state::{Held, Run};
use e2e_runner::table::nearest;

/// Flags of `down`.
#[derive(Debug, Args)]
pub struct Down {
    /// The services, or the runs, whose environments are stopped, with all that share them; none stops all
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Runs the verb. Runs that another process works on are named and left alone; what cannot be removed keeps nothing else from going.
pub fn run(runner: &Runner, args: &Down) -> anyhow::Result<Exit> {
    let paths = Paths::find(runner)?;
    let runs = Run::list(&paths.runs());
    let (mut stopped, mut busy, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for name in &args.services {
        if !runs
            .iter()
            .any(|run| is_meant(run, std::slice::from_ref(name)))
        {
            terminal::message(&unknown(&runs, name));
        }
    }
    for run in runs.iter().filter(|run| is_meant(run, &args.services)) {
        match run.hold() {
            Ok(Held::Gone) => {}
            Ok(Held::Busy(pid)) => {
                terminal::message(&format!(
                    "{} is in use by process {pid}, and was left alone",
                    run.id()
                ));
                busy.push(run.id());
            }
            Ok(Held::Ours) => match release(run, runner) {
                Ok(what) => {
                    terminal::message(&format!("{}: {what}", run.id()));
                    stopped.push(run.id());
                }
                Err(failure) => left.push(failure),
            },
            Err(error) => left.push(Failure::new(Exit::LeftBehind, format!("{error:#}"))),
        }
    }
    let named = |dir: &Path| {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        args.services.is_empty() || args.services.iter().any(|wanted| *wanted == name)
    };
    left.extend(
        unreadable(&paths)
            .filter(|(dir, _)| named(dir))
            .map(|(_, failure)| failure),
    );
    let in_use = (!busy.is_empty()).then(|| {
        let what = format!("in use by another process: {}", busy.join(", "));
        Failure::new(Exit::LeftBehind, what)
            .hint("wait for that process, or end it, and run this again")
    });
    left.extend(in_use);
    if args.format == Format::Json {
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        let document =
            serde_json::json!({"stopped": stopped, "under_way": busy, "left_behind": left});
        terminal::print(&serde_json::to_string_pretty(&document)?);
    } else if stopped.is_empty() && busy.is_empty() && left.is_empty() {
        terminal::message("nothing to stop");
    }
    together(left).map_or(Ok(Exit::Passed), |failure| Err(failure.into()))
}

fn is_meant(run: &Run, names: &[String]) -> bool {
    let state = run.state();
    names.is_empty()
        || names.contains(&state.run)
        || state.services.iter().any(|name| names.contains(name))
}

fn unknown(runs: &[Run], name: &str) -> String {
    let known: Vec<String> = runs.iter().flat_map(|run| run.state().services).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    match nearest(name, &known) {
        Some(near) => format!("nothing of {name} runs; did you mean `{near}`?"),
        None => format!("nothing of {name} runs"),
    }
}
