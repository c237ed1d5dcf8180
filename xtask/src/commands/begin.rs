//! The beginning of a run: where it takes place, and its session once what killed runs left is gone.

use std::time::{Duration, SystemTime};

use crate::commands::args::{TargetArgs, TargetChoice};
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::guest::Guest;
use e2e_runner::paths::Paths;
use e2e_runner::process::Runner;
use e2e_runner::run::local;
use e2e_runner::run::node_version::{self, NodeVersion};
use e2e_runner::run::plan::Target;
use e2e_runner::run::repeat::Repeat;
use e2e_runner::run::session::{RunRequest, Session};
use e2e_runner::run::{abandoned, finished};
use e2e_runner::table::{Chosen, Table};
use e2e_runner::tools::{daemon, kind, names, postgres};

/// Where a run takes place.
#[derive(Clone, Debug)]
pub struct Where {
    /// The target.
    pub target: Target,
    /// Why there.
    pub why: String,
    /// The cluster that others use too, if it is that.
    pub guest: Option<Guest>,
}

/// Decides where a run takes place, and says why.
pub fn place(runner: &Runner, table: &Table, args: &TargetArgs) -> Result<Where, Failure> {
    if let Some(guest) = guest(runner, table, args)? {
        return Ok(Where {
            target: Target::Cluster,
            why: guest.why(),
            guest: Some(guest),
        });
    }
    let (target, why) = without_guest(runner, args)?;
    Ok(Where {
        target,
        why,
        guest: None,
    })
}

/// The same, where no cluster of others is asked for.
pub fn without_guest(runner: &Runner, args: &TargetArgs) -> Result<(Target, String), Failure> {
    let is_given = args.postgres_url.is_some();
    match args.target {
        TargetChoice::Kind if is_given => Err(Failure::new(
            Exit::Usage,
            "--postgres-url is for the targets local and cluster",
        )
        .hint("leave out --target kind")),
        TargetChoice::Auto if is_given => {
            Ok((Target::Local, "--postgres-url names a server".to_owned()))
        }
        TargetChoice::Kind => Ok((Target::Kind, "--target kind".to_owned())),
        TargetChoice::Local => Ok((Target::Local, "--target local".to_owned())),
        TargetChoice::Auto | TargetChoice::Cluster => {
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
    place: &Where,
    args: &TargetArgs,
) -> Result<Vec<NodeVersion>, Failure> {
    if args.kubernetes.is_empty() {
        return Ok(Vec::new());
    }
    let (target, why) = (place.target, &place.why);
    if target != Target::Kind {
        let chosen = args.target != TargetChoice::Auto || args.postgres_url.is_some();
        let exit = if chosen { Exit::Usage } else { Exit::Preflight };
        let what = format!(
            "--kubernetes is for Kind, which makes a node of each version, and this run is on {}: {why}",
            target.word()
        );
        return Err(
            Failure::new(exit, what).hint("leave out --kubernetes, or run with --target kind")
        );
    }
    node_version::choose(runner, table, &args.kubernetes)
}

/// The existing cluster that the command line names, where that is the target.
fn guest(runner: &Runner, table: &Table, args: &TargetArgs) -> Result<Option<Guest>, Failure> {
    let postgres_url = args.postgres_url.as_deref();
    let Some(wanted) = args.cluster.wanted(args.target, table, postgres_url)? else {
        return Ok(None);
    };
    let guest = Guest::choose(runner, table, &wanted)?;
    for (what, next) in &guest.notes {
        terminal::message(&format!("warning: {what}: {next}"));
    }
    Ok(Some(guest))
}

/// Refuses by name what a system cannot do.
fn supported(place: Target) -> Result<(), Failure> {
    let refusal = match place {
        Target::Local => local::refusal(std::env::consts::OS),
        Target::Kind | Target::Cluster => None,
    };
    refusal.map_or(Ok(()), |(what, next)| {
        Err(Failure::new(Exit::Preflight, what).hint(next))
    })
}

/// Begins a run, once what killed runs left is gone.
pub fn begin(
    runner: &Runner,
    chosen: Chosen,
    place: Where,
    args: &TargetArgs,
    integration: bool,
    (repeat, lifetime, again): (Repeat, Duration, Option<String>),
    paths: Paths,
) -> anyhow::Result<Session> {
    supported(place.target)?;
    let of_guest = place
        .guest
        .as_ref()
        .and_then(|guest| guest.postgres_url.as_ref());
    let server = args.postgres_url.as_ref().or(of_guest);
    let server = server.map(|url| postgres::server(url)).transpose()?;
    let server = server.map(|url| match place.target {
        Target::Cluster => postgres::seen_by_pods(url),
        Target::Kind | Target::Local => {
            postgres::by_address(url, names::of_machine(runner).as_ref())
        }
    });
    let server = server.transpose()?;
    // What cannot be removed must not keep a new run from starting.
    if let (_, Some(left)) = abandoned::remove_all(runner, &paths, terminal::message) {
        terminal::message(&format!("left behind by earlier runs: {left}"));
    }
    finished::sweep(&paths.runs(), SystemTime::now());
    let request = RunRequest {
        chosen,
        place: place.target,
        why: place.why,
        postgres_url: server,
        integration,
        fresh: args.fresh,
        repeat,
        lifetime,
        again,
        guest: place.guest,
    };
    Session::begin(request, runner, paths, Box::new(terminal::event))
}
