//! The beginning of a run: where it takes place, and its session once what killed runs left is gone.

use crate::commands::args::{Target, TargetArgs};
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::Door;
use e2e_runner::run::abandoned;
use e2e_runner::run::plan::Place;
use e2e_runner::run::repeat::Repeat;
use e2e_runner::run::session::{Order, Session};
use e2e_runner::table::Service;
use e2e_runner::tools::{docker, kind};

/// Decides where a run takes place, and says why.
pub fn place(door: &Door, args: &TargetArgs) -> Result<(Place, String), Failure> {
    if args.postgres_url.is_some() {
        return match args.target {
            Target::Kind => Err(Failure::new(
                Exit::Usage,
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
pub fn begin(
    door: &Door,
    services: Vec<Service>,
    (place, why): (Place, String),
    args: TargetArgs,
    integration: bool,
    repeat: Repeat,
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
        repeat,
    };
    Session::begin(order, door, paths, Box::new(terminal::event))
}
