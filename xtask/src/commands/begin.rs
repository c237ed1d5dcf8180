//! The beginning of a run: where it takes place, and its session once what killed runs left is gone.

use std::time::Duration;

use crate::commands::args::{TargetArgs, TargetChoice};
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::abandoned;
use e2e_runner::run::local;
use e2e_runner::run::node_version::{self, NodeVersion};
use e2e_runner::run::plan::Target;
use e2e_runner::run::repeat::Repeat;
use e2e_runner::run::session::{RunRequest, Session};
use e2e_runner::table::{Chosen, Table};
use e2e_runner::tools::{daemon, kind, names, postgres};

/// Decides where a run takes place, and says why.
pub fn place(runner: &Runner, args: &TargetArgs) -> Result<(Target, String), Failure> {
    if args.postgres_url.is_some() {
        return match args.target {
            TargetChoice::Kind => Err(Failure::new(
                Exit::Usage,
                "--postgres-url is for the local target",
            )
            .hint("leave out --target kind")),
            _ => Ok((Target::Local, "--postgres-url names a server".to_owned())),
        };
    }
    match args.target {
        TargetChoice::Kind => Ok((Target::Kind, "--target kind".to_owned())),
        TargetChoice::Local => Ok((Target::Local, "--target local".to_owned())),
        TargetChoice::Auto => {
            let found = daemon::ask(runner)
                .and_then(|daemon| Ok((daemon, kind::version(runner)?)))
                .map_err(|error| error.to_string())
                .and_then(|(daemon, kind)| match daemon.usable() {
                    Ok(docker) => Ok((docker, kind)),
                    Err(failure) => Err(failure.summary),
                });
            match found {
                Ok((docker, kind)) => Ok((
                    Target::Kind,
                    format!("Docker {docker} and kind {kind} answer"),
                )),
                Err(why) => {
                    runner.cancel().check()?;
                    Ok((
                        Target::Local,
                        format!(
                            "Kind cannot be used: {}",
                            why.lines()
                                .map(str::trim)
                                .take(2)
                                .collect::<Vec<_>>()
                                .join(": ")
                        ),
                    ))
                }
            }
        }
    }
}

/// The versions of Kubernetes that are asked for, each with its node image; only Kind makes a node of one.
pub fn versions(
    runner: &Runner,
    table: &Table,
    (place, why): (Target, &str),
    args: &TargetArgs,
) -> Result<Vec<NodeVersion>, Failure> {
    if args.kubernetes.is_empty() {
        return Ok(Vec::new());
    }
    if place != Target::Kind {
        let chosen = args.target != TargetChoice::Auto || args.postgres_url.is_some();
        let exit = if chosen { Exit::Usage } else { Exit::Preflight };
        let what = format!(
            "--kubernetes is for Kind, which makes a node of each version, and this run is on {}: {why}",
            place.word()
        );
        return Err(
            Failure::new(exit, what).hint("leave out --kubernetes, or run with --target kind")
        );
    }
    node_version::choose(runner, table, &args.kubernetes)
}

/// Refuses by name what a system cannot do.
fn supported(place: Target) -> Result<(), Failure> {
    let refusal = match place {
        Target::Local => local::refusal(std::env::consts::OS),
        Target::Kind => None,
    };
    refusal.map_or(Ok(()), |(what, next)| {
        Err(Failure::new(Exit::Preflight, what).hint(next))
    })
}

/// Begins a run, once what killed runs left is gone.
pub fn begin(
    runner: &Runner,
    chosen: Chosen,
    (place, why): (Target, String),
    args: &TargetArgs,
    integration: bool,
    (repeat, lifetime, again): (Repeat, Duration, Option<String>),
    paths: Paths,
) -> anyhow::Result<Session> {
    supported(place)?;
    let server = args.postgres_url.as_deref().map(postgres::server);
    let server = server.transpose()?;
    let names = names::of_machine(runner);
    let server = server.map(|url| postgres::by_address(url, names.as_ref()));
    let server = server.transpose()?;
    // What cannot be removed must not keep a new run from starting.
    if let (_, Some(left)) = abandoned::remove_all(runner, &paths, terminal::message) {
        terminal::message(&format!("left behind by earlier runs: {left}"));
    }
    let request = RunRequest {
        chosen,
        place,
        why,
        postgres_url: server,
        integration,
        fresh: args.fresh,
        repeat,
        lifetime,
        again,
    };
    Session::begin(request, runner, paths, Box::new(terminal::event))
}
