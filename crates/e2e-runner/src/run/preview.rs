//! What a run would do, found without changing anything: its plan with the usual durations, what it would use again of a kept
//! environment and what it would make, with the reasons (D15).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use embedded_postgres::locate;

use crate::paths;
use crate::process::Runner;
use crate::run::history::History;
use crate::run::kind::node_image;
use crate::run::kind::{cluster, ports};
use crate::run::kubernetes::deploy;
use crate::run::layer::Layer;
use crate::run::local::{installation, postgres};
use crate::run::places::Places;
use crate::run::plan::{Id, Plan, Stage, Step, Target};
use crate::state::{Run, State};
use crate::table::Chosen;
use crate::table::service::Component;
use crate::tools::{docker, kind};

/// The plan as a table, for `--plan`: what each stage may take at most, what it usually takes, and what it comes after.
pub fn plan_table(plan: &Plan, history: &History) -> String {
    let mut text = format!(
        "plan for {} on {}\n",
        plan.services.join(", "),
        plan.place.word()
    );
    let width = plan
        .stages
        .iter()
        .map(|stage| stage.id.name().len())
        .max()
        .unwrap_or_default()
        .max(24);
    writeln!(
        text,
        "{:<width$} {:>8} {:>9}  after",
        "stage", "at most", "usually"
    )
    .unwrap_or_default();
    for Stage {
        id,
        needs,
        deadline,
    } in &plan.stages
    {
        let usual = history
            .usual(plan.place, id, &plan.services[0])
            .map_or("-".to_owned(), |seconds| format!("{seconds:.1} s"));
        let after = needs.iter().map(Id::name).collect::<Vec<_>>().join(", ");
        let row = format!(
            "{:<width$} {:>6} s {usual:>9}  {after}",
            id.name(),
            deadline.as_secs()
        );
        writeln!(text, "{}", row.trim_end()).unwrap_or_default();
    }
    for told in &plan.replicas {
        writeln!(text, "{told}").unwrap_or_default();
    }
    if let Some(seconds) = predicted(plan, history) {
        let row = format!(
            "{:<width$} {:>8} {seconds:>7.1} s  the longest path through the stages",
            "together", ""
        );
        writeln!(text, "{row}").unwrap_or_default();
    }
    text
}

/// Where the run's programs come from, where it would build none of them.
pub fn programs() -> Option<String> {
    let bundle = paths::bundle().ok().flatten()?;
    Some(format!(
        "programs: {}; none is built, but for those of your own table",
        bundle.describe()
    ))
}

/// How long the run usually takes: the longest path through its stages; none before the first run.
fn predicted(plan: &Plan, history: &History) -> Option<f64> {
    let mut ends: BTreeMap<String, f64> = BTreeMap::new();
    let latest = |ends: &mut dyn Iterator<Item = f64>| ends.fold(0.0, f64::max);
    for Stage { id, needs, .. } in plan
        .stages
        .iter()
        .filter(|stage| stage.id.step != Step::CollectEvidence)
    {
        let begins = if matches!(id.step, Step::CollectCoverage | Step::TearDown) {
            latest(&mut ends.values().copied())
        } else {
            latest(
                &mut needs
                    .iter()
                    .filter_map(|need| ends.get(&need.name()).copied()),
            )
        };
        ends.insert(
            id.name(),
            begins + history.usual(plan.place, id, &plan.services[0])?,
        );
    }
    ends.into_values().reduce(f64::max)
}

/// The decision on each layer, as the lines behind a plan.
pub fn reuse_table(
    runner: &Runner,
    kept: Option<&Run>,
    place: Target,
    image: Option<String>,
    chosen: &Chosen,
) -> String {
    let services = &chosen.services[..];
    let Some(run) = kept.filter(|run| run.state().target == place.word()) else {
        let made = "no environment is kept: everything will be created".to_owned();
        let lines: Vec<_> = [made]
            .into_iter()
            .chain(node(runner, place, image, chosen))
            .collect();
        return lines.join("\n");
    };
    let (state, mut stands) = (run.state(), true);
    let mut text = format!("{} is kept:\n", run.id());
    let mut line = |layer: &str, decision: &str| {
        writeln!(text, "  {layer:<22} {decision}").unwrap_or_default();
    };
    if place == Target::Kind {
        let same = same(
            &state,
            Layer::Cluster,
            {
                let own = services.iter().map(|service| &service.own);
                let mounts = cluster::mounts_of(own.chain(&chosen.parts));
                cluster::cluster_fingerprint(runner, services.len(), image.clone(), &mounts).ok()
            }
            .as_ref(),
        );
        stands = same && docker::is_running(runner, &kind::node(&kind::cluster(&state.run)));
        line(
            "cluster",
            match (same, stands) {
                (_, true) => "used again: same configuration and node image",
                (true, _) => "rebuilt: its node does not run",
                _ => "rebuilt: its configuration or node image has changed",
            },
        );
    }
    let made_from = match place {
        Target::Kind => {
            let shared = Places::Table.of(chosen).ok();
            let home = match (services, shared) {
                ([service], _) => service.namespace.clone(),
                (_, shared) => shared.map_or_else(String::new, |shared| shared.home),
            };
            run.password().ok().and_then(|password| {
                let fixed = ports::postgres();
                deploy::postgres_fingerprint(runner, &home, &password, fixed).ok()
            })
        }
        // What it would find there is known by asking the cluster, which a plan does not.
        Target::Cluster => None,
        Target::Local => locate(&installation::any())
            .ok()
            .map(|found| postgres::server_fingerprint(&found)),
    };
    let postgres = stands && same(&state, Layer::Postgres, made_from.as_ref());
    line(
        "PostgreSQL",
        match (stands, postgres) {
            (_, true) => "used again: same image or binaries, same settings",
            (true, _) => "rebuilt: its image, binaries or settings have changed",
            _ => "rebuilt, with the cluster",
        },
    );
    for service in services {
        let key = format!("{}/{}", Layer::Database.word(), service.name);
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
            "rebuilt, with the cluster"
        },
    );
    if !stands {
        text.extend(node(runner, place, image, chosen));
    }
    text
}

/// The decision on the node image of a cluster that is made.
fn node(runner: &Runner, place: Target, image: Option<String>, chosen: &Chosen) -> Option<String> {
    let wants = chosen
        .services
        .iter()
        .any(|service| service.has(Component::Postgres));
    let own = chosen.services.iter().map(|service| &service.own);
    let parts = own.chain(&chosen.parts);
    (place == Target::Kind && wants).then(|| {
        let decision = node_image::decide(runner, image, parts);
        format!("node image: {}", decision.describe())
    })
}

fn same(state: &State, layer: Layer, made_from: Option<&String>) -> bool {
    made_from.is_some() && state.fingerprints.get(layer.word()) == made_from
}
