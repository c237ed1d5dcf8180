//! The verbs, one file each.

pub mod attach;
pub mod ci;
pub mod completions;
pub mod diagnose;
pub mod doctor;
pub mod down;
pub mod e2e;
mod ending;
pub mod flakes;
pub mod kill;
pub mod migrate;
pub mod programs;
pub mod reap;
pub mod report;
pub mod services;
pub mod status;
pub mod test;
pub mod up;

use crate::cli::{PlaceArgs, Target};
use crate::exit::{Exit, Failure};
use crate::paths::Paths;
use crate::process::Door;
use crate::run::abandoned;
use crate::run::plan::Place;
use crate::run::session::{Order, Session};
use crate::state::Run;
use crate::table::Service;
use crate::terminal;
use crate::tools::{docker, kind};

/// Decides where a run takes place, and says why.
fn place(door: &Door, args: &PlaceArgs) -> Result<(Place, String), Failure> {
    if args.postgres_url.is_some() {
        return match args.target {
            Target::Kind => Err(Failure::new(
                crate::exit::Exit::Usage,
                "--postgres-url is for the local target",
            )
            .next("leave out --target kind")),
            _ => Ok((Place::Local, "--postgres-url names a server".to_owned())),
        };
    }
    match args.target {
        Target::Kind => Ok((Place::Kind, "--target kind".to_owned())),
        Target::Local => Ok((Place::Local, "--target local".to_owned())),
        Target::Auto => {
            match docker::version(door).and_then(|docker| Ok((docker, kind::version(door)?))) {
                Ok((docker, kind)) => Ok((
                    Place::Kind,
                    format!("Docker {docker} and kind {kind} answer"),
                )),
                Err(error) => {
                    door.cancel().check()?;
                    let why = error.to_string();
                    Ok((
                        Place::Local,
                        format!(
                            "Kind cannot be used: {}",
                            why.lines().next().unwrap_or_default()
                        ),
                    ))
                }
            }
        }
    }
}

/// Begins a run, once what killed runs left is gone.
fn begin(
    door: &Door,
    services: Vec<Service>,
    (place, why): (Place, String),
    args: PlaceArgs,
    integration: bool,
    paths: Paths,
) -> anyhow::Result<Session> {
    abandoned::remove_all(door, &paths, terminal::say);
    let order = Order {
        services,
        place,
        why,
        postgres_url: args.postgres_url,
        integration,
        fresh: args.fresh,
    };
    Session::begin(order, door, paths, Box::new(terminal::event))
}

/// The environment of a service that is up, or the failure that says how to get one.
fn kept(paths: &Paths, service: &str) -> Result<Run, Failure> {
    Run::kept(&paths.runs(), service).ok_or_else(|| {
        Failure::new(
            Exit::Preflight,
            format!("no environment of {service} is up"),
        )
        .next(format!("cargo xtask up {service}"))
    })
}
