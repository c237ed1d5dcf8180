//! What a run would use again of a kept environment and what it would make, with the reasons, found without changing anything (D15).

use std::fmt::Write as _;

use embedded_postgres::{Wanted, locate};

use crate::lifecycle::plan::Place;
use crate::lifecycle::reuse::Level;
use crate::lifecycle::{kind, local, nodes};
use crate::process::Door;
use crate::service::{Component, Service};
use crate::state::{Run, State};
use crate::tools::{docker, kind as cluster};

/// The decision on each level, as the lines behind a plan.
pub fn table(door: &Door, kept: Option<&Run>, place: Place, services: &[Service]) -> String {
    let Some(run) = kept.filter(|run| run.state().target == place.word()) else {
        let made = "nothing is kept for it: everything is made".to_owned();
        let lines: Vec<_> = [made]
            .into_iter()
            .chain(node(door, place, services))
            .collect();
        return lines.join("\n");
    };
    let (state, mut stands) = (run.state(), true);
    let mut text = format!("{} is kept:\n", run.id());
    let mut line = |level: &str, decision: &str| {
        writeln!(text, "  {level:<22} {decision}").unwrap_or_default();
    };
    if place == Place::Kind {
        let same = same(
            &state,
            Level::Cluster,
            kind::cluster_fingerprint(door).ok().as_ref(),
        );
        stands = same && docker::is_running(door, &cluster::node(&cluster::cluster(&state.run)));
        line(
            "cluster",
            match (same, stands) {
                (_, true) => "used again: same configuration and node image",
                (true, _) => "made anew: its node does not run",
                _ => "made anew: its configuration or node image has changed",
            },
        );
    }
    let made_from = match place {
        Place::Kind => {
            let only = if let [service] = services {
                Some(service.namespace.as_str())
            } else {
                None
            };
            run.password()
                .ok()
                .and_then(|password| kind::postgres_fingerprint(only, &password).ok())
        }
        Place::Local => locate(&Wanted::default())
            .ok()
            .map(|found| local::server_fingerprint(&found)),
    };
    let postgres = stands && same(&state, Level::Postgres, made_from.as_ref());
    line(
        "PostgreSQL",
        match (stands, postgres) {
            (_, true) => "used again: same image or binaries, same settings",
            (true, _) => "made anew: its image, binaries or settings have changed",
            _ => "made anew, with the cluster",
        },
    );
    for service in services {
        let key = format!("{}/{}", Level::Database.word(), service.name);
        let profile = state.fingerprints.get(&key) == Some(&service.profile);
        line(
            &format!("database of {}", service.name),
            match (postgres, profile) {
                (true, true) => "emptied: replaced by a clone of its profile's template",
                (true, false) => "migrated: its profile has changed",
                _ => "migrated, with PostgreSQL",
            },
        );
    }
    line(
        "Data Storage, services",
        if stands {
            "used again where the build gives the same binary and the configuration is the same"
        } else {
            "made anew, with the cluster"
        },
    );
    if !stands {
        text.extend(node(door, place, services));
    }
    text
}

/// The decision on the node image of a cluster that is made.
fn node(door: &Door, place: Place, services: &[Service]) -> Option<String> {
    let wants = services
        .iter()
        .any(|service| service.has(Component::Postgres));
    (place == Place::Kind && wants)
        .then(|| format!("node image: {}", nodes::decide(door).describe()))
}

fn same(state: &State, level: Level, made_from: Option<&String>) -> bool {
    made_from.is_some() && state.fingerprints.get(level.word()) == made_from
}
