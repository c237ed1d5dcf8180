//! The test tiers of this workspace: what each runs, whether this machine can run it, how they ended.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e_report::Outcome;

use crate::commands::args::{ClusterArgs, TargetArgs, TargetChoice};
use crate::commands::begin;
use crate::commands::workspace_tasks::Task;
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::{Command, Runner, Status};
use e2e_runner::run::local::installation;
use e2e_runner::run::plan::Target;
use e2e_runner::settings::cargo;
use e2e_runner::table::Table;
use e2e_runner::table::part::Part;
use e2e_runner::tools::cargo::BUILDS_STATIC;
use e2e_runner::tools::docker;

/// The table of the example team, with its service.
const EXAMPLE: (&str, &str) = ("kind/examples/greeter/services.toml", "greeter");
/// The scripts of this repository: what no step of a workflow holds, but runs.
const SCRIPTS: [&str; 8] = [
    ".ci/linters",
    ".ci/registry",
    ".ci/run",
    ".ci/valkey",
    ".github/actions/e2e/bundle",
    ".github/actions/e2e/install",
    "kind/examples/greeter/seed.sh",
    "kind/examples/greeter/valkey/run.sh",
];
/// The service that the tiers run first, alone.
const FIRST: &str = "workflowexecution";

/// One kind of tests: a name, why this machine cannot run it (if so), and its commands.
struct Tier {
    name: String,
    missing: Option<String>,
    commands: Vec<Work>,
}

/// One command of a tier.
enum Work {
    /// Bounded by a deadline, its lines shown as they come.
    Bounded(Box<Command>),
    /// In the foreground.
    Foreground(Task),
}

impl Tier {
    fn new(name: &str, commands: Vec<Command>) -> Self {
        Self {
            name: name.to_owned(),
            missing: None,
            commands: commands
                .into_iter()
                .map(|command| Work::Bounded(Box::new(command)))
                .collect(),
        }
    }

    fn foreground(name: &str, tasks: impl IntoIterator<Item = Task>) -> Self {
        Self {
            commands: tasks.into_iter().map(Work::Foreground).collect(),
            ..Self::new(name, Vec::new())
        }
    }
}

/// Runs every tier that this machine can run; one of `required` that it cannot is a failure.
pub fn run(
    runner: &Runner,
    table: &Table,
    paths: &Paths,
    required: &[String],
    postgres: &[u32],
) -> anyhow::Result<Exit> {
    paths.has_checkout()?;
    let tiers = plan(runner, table, paths, postgres)?;
    for wanted in required {
        if !tiers.iter().any(|tier| tier.name == *wanted) {
            let names = tiers
                .iter()
                .map(|tier| tier.name.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            return Err(
                Failure::new(Exit::Usage, format!("no tier is named `{wanted}`"))
                    .hint(format!("name one of: {names}"))
                    .into(),
            );
        }
    }
    let mut rows = Vec::new();
    for tier in &tiers {
        if tier.missing.is_some() {
            continue;
        }
        terminal::message(&format!("tier {}", tier.name));
        let began = Instant::now();
        // Every command runs: a person wants to see all that fails, and the last one of a run's tier cleans up.
        let passed = tier
            .commands
            .iter()
            .fold(true, |all, command| passes(command, runner, paths) & all);
        runner.cancel().check()?;
        rows.push((
            tier,
            if passed { Outcome::Ok } else { Outcome::Failed },
            began.elapsed(),
        ));
    }
    conclude(&tiers, &rows, required)
}

fn conclude(
    tiers: &[Tier],
    rows: &[(&Tier, Outcome, Duration)],
    required: &[String],
) -> anyhow::Result<Exit> {
    terminal::print("\ntier                     took  outcome");
    for (tier, outcome, took) in rows {
        terminal::print(&format!(
            "{:<20} {:>6.1} s  {}",
            tier.name,
            took.as_secs_f64(),
            outcome.word()
        ));
    }
    let skipped: Vec<_> = tiers
        .iter()
        .filter_map(|tier| Some((tier, tier.missing.as_ref()?)))
        .collect();
    for (tier, why) in &skipped {
        terminal::print(&format!("{:<20}           not run: {why}", tier.name));
    }
    let failed: Vec<_> = rows
        .iter()
        .filter(|(_, outcome, _)| *outcome != Outcome::Ok)
        .map(|(tier, ..)| tier.name.as_str())
        .collect();
    terminal::print(&format!(
        "tiers: {} passed, {} failed, {} skipped",
        rows.len() - failed.len(),
        failed.len(),
        skipped.len()
    ));
    if !failed.is_empty() {
        return Err(
            Failure::new(Exit::TestsFailed, format!("failed: {}", failed.join(", "))).into(),
        );
    }
    match skipped
        .iter()
        .find(|(tier, _)| required.contains(&tier.name))
    {
        Some((tier, why)) => Err(Failure::new(
            Exit::Preflight,
            format!(
                "the tier `{}` is required and did not run: {why}",
                tier.name
            ),
        )
        .into()),
        None => Ok(Exit::Passed),
    }
}

fn passes(command: &Work, runner: &Runner, paths: &Paths) -> bool {
    let result = match command {
        Work::Bounded(command) => command
            .stream(terminal::message)
            .map(Status::is_success)
            .map_err(|error| error.to_string()),
        Work::Foreground(task) => task
            .run(runner, paths)
            .map(|()| true)
            .map_err(|failure| failure.to_string()),
    };
    result.unwrap_or_else(|error| {
        terminal::message(&format!("error: {error}"));
        false
    })
}

fn plan(
    runner: &Runner,
    table: &Table,
    paths: &Paths,
    majors: &[u32],
) -> anyhow::Result<Vec<Tier>> {
    let at_most = |minutes: u64| Duration::from_mins(minutes);
    let cargo = |args: &[&str]| {
        runner
            .command(cargo())
            .args(args)
            .dir(&paths.source)
            .deadline(at_most(40))
    };
    let this = std::env::current_exe()?;
    let e2e = |target: &str, flags: &[&str]| {
        let run = runner.command(&this).args(["e2e", "--target", target]);
        run.args(flags).deadline(at_most(30))
    };
    // One service alone, cold, then on what the first run kept; the second one removes it, whatever happened. Then all at once.
    let runs = |target: &str| {
        vec![
            e2e(target, &[FIRST, "--fresh", "--keep", "always"]),
            e2e(target, &[FIRST]),
            e2e(target, &["--all", "--fresh"]),
        ]
    };
    let lint = [
        Task::cargo(["fmt", "--all", "--check"]),
        Task::cargo([
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ]),
        Task::cargo(["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    ];
    let crates = vec![
        // All at once, as a developer does: what a package asks of a dependency must break none of the others' programs.
        cargo(&["test", "--workspace", "--no-fail-fast"]),
    ];
    let mut tiers = vec![
        Tier::foreground("lint", lint),
        workflows(runner, paths),
        Tier::new("crates", crates),
    ];
    // The embedded server is of major 16; the schema must be the same on the others.
    let majors = if majors.is_empty() { &[15] } else { majors };
    let default = installation::pinned(runner, paths, terminal::message)?;
    for major in majors {
        let packages = ["migrator", "migrations", "diagnose"].into_iter();
        let packages = packages.flat_map(|package| ["--package", package]);
        let migrations = cargo(&["test"]).args(packages.chain(["--test", "it"]));
        let name = format!("postgres-{major}");
        tiers.push(match postgres_bin(*major, &default) {
            Ok(bin) => Tier::new(&name, vec![migrations.env(e2e_env::POSTGRES_BIN, bin)]),
            Err(why) => Tier {
                missing: Some(why),
                ..Tier::new(&name, Vec::new())
            },
        });
    }
    tiers.extend(with_programs(cargo));
    // Alone, as the first one was, each suite also kills the PostgreSQL that it has to itself.
    let alone = table
        .all()
        .iter()
        .filter(|service| !service.suites.is_empty() && service.name != FIRST);
    let alone = alone.map(|service| e2e("local", &[&service.name, "--fresh"]));
    tiers.push(Tier::new(
        "local",
        runs("local").into_iter().chain(alone).collect(),
    ));
    let args = TargetArgs {
        kubernetes: Vec::new(),
        target: TargetChoice::Auto,
        cluster: ClusterArgs::default(),
        postgres_url: None,
        fresh: true,
    };
    let (place, why) = begin::without_guest(runner, &args)?;
    let missing = (place != Target::Kind).then_some(why);
    // Two at a time: most of what a cluster takes is waiting.
    let alone = [
        "test",
        "--package",
        "xtask",
        "--features",
        "kind",
        "--test",
        "kind",
        "--",
        "--test-threads",
        "2",
    ];
    let kind = [runs("kind"), vec![cargo(&alone)]].concat();
    tiers.push(Tier {
        missing: missing.clone(),
        ..Tier::new("kind", kind)
    });
    tiers.push(cluster(cargo, missing.clone()));
    let [example_local, example_kind] = example(runner, paths, missing, e2e)?;
    let bundle = bundle(cargo, &example_local, &example_kind);
    // Programs of a release say so: they are built anew, and those of a checkout after them.
    tiers.extend([example_local, example_kind]);
    tiers.extend(bundle);
    Ok(tiers)
}

/// Runs in a cluster that others use too, for which one made apart stands, with a registry beside it.
fn cluster(cargo: impl Fn(&[&str]) -> Command, no_kind: Option<String>) -> Tier {
    let tests = [
        "test",
        "--package",
        "xtask",
        "--features",
        "cluster",
        "--test",
        "cluster",
    ];
    // One after the other: they share a cluster, and look whether anything is left in it.
    let tests = cargo(&tests).args(["--", "--test-threads", "1"]);
    Tier {
        missing: no_kind.or_else(no_registry),
        ..Tier::new("cluster", vec![tests])
    }
}

/// What GitHub runs: that it would understand it, that what it starts is pinned, and that no value of a stranger becomes a command.
fn workflows(runner: &Runner, paths: &Paths) -> Tier {
    let at = |program: &str, args: &[&str]| runner.command(program).args(args).dir(&paths.source);
    // Without a network: what it asks of one is whether newer versions are out.
    let zizmor = ["--offline", "--no-progress", "--min-severity", "medium"];
    let commands = vec![
        // It hands each step's script to shellcheck.
        at("actionlint", &["-shellcheck", "shellcheck"]),
        at("zizmor", &zizmor).arg(".github"),
        at("shellcheck", &SCRIPTS),
    ];
    let mut programs = ["actionlint", "shellcheck", "zizmor"].into_iter();
    let missing = programs.find(|program| Runner::find(program, None).is_err());
    Tier {
        missing: missing.map(|program| {
            format!("no {program} is on the PATH; `linters=$(.ci/linters) && PATH+=:$linters` installs all three")
        }),
        ..Tier::new("workflows", commands)
    }
}

/// The example team's service on either target, as its own table says it. After the others, whose Data Storage it takes.
fn example(
    runner: &Runner,
    paths: &Paths,
    no_kind: Option<String>,
    e2e: impl Fn(&str, &[&str]) -> Command,
) -> Result<[Tier; 2], Failure> {
    let (file, service) = EXAMPLE;
    let file = paths.source.join(file);
    let table = Table::load(Some(&file))?;
    let parts = table.together(vec![table.find(service)?.clone()]).parts;
    let services = file.display().to_string();
    let tier = |target: &str, missing: Option<String>| Tier {
        missing,
        ..Tier::new(
            &format!("example-{target}"),
            vec![e2e(target, &[service, "--services", &services, "--fresh"])],
        )
    };
    let local = no_go().or_else(no_valkey);
    let kind = no_kind.or_else(no_go);
    let kind = kind.or_else(|| no_image(runner, &parts));
    Ok([tier("local", local), tier("kind", kind)])
}

/// A release of this checkout, installed where no Rust is, with the example's service: it needs what the example needs. Data Storage
/// is compiled already, as the clusters before got it.
fn bundle(cargo: impl Fn(&[&str]) -> Command, local: &Tier, kind: &Tier) -> [Tier; 2] {
    let static_only = (!BUILDS_STATIC).then(|| "a bundle is built on Linux only".to_owned());
    let test = ["test", "--package", "xtask", "--test", "bundle", "--"];
    let tier = |name: &str, like: &Tier, only: &[&str]| Tier {
        missing: static_only.clone().or_else(|| like.missing.clone()),
        ..Tier::new(name, vec![cargo(&test).args(only)])
    };
    [
        tier("bundle", local, &["--skip", "kind::"]),
        tier("bundle-kind", kind, &["kind::"]),
    ]
}

fn no_go() -> Option<String> {
    let missing = Runner::find("go", None).is_err();
    missing.then(|| "no go is on the PATH; https://go.dev/doc/install has it".to_owned())
}

fn no_valkey() -> Option<String> {
    let mut servers = ["valkey-server", "redis-server"].into_iter();
    let missing = servers.all(|server| Runner::find(server, None).is_err());
    missing.then(|| {
        "neither valkey-server nor redis-server is on the PATH; `eval \"$(.ci/valkey)\"` makes one, as does Debian's package redis-server".to_owned()
    })
}

/// Why an image that the parts only name cannot be had without waiting for a registry.
fn no_image(runner: &Runner, parts: &[Part]) -> Option<String> {
    let mut named = parts
        .iter()
        .flat_map(|part| &part.images)
        .filter(|image| image.build.is_none() && image.archive.is_none());
    let missing = named.find(|image| docker::image_id(runner, &image.name).is_none())?;
    Some(format!(
        "Docker has no image {0}; `docker pull {0}`, or `eval \"$(.ci/valkey)\"` where nothing can be pulled",
        missing.name
    ))
}

/// Tiers that need a program which is not on every machine.
fn with_programs(cargo: impl Fn(&[&str]) -> Command) -> [Tier; 3] {
    let tier = |name: &str, package: &str, missing: Option<String>| {
        let test = cargo(&["test", "--package", package, "--features", name]);
        let test = test.args(["--test", "it", "--", name]);
        Tier {
            missing,
            ..Tier::new(name, vec![test])
        }
    };
    [
        tier("pgbouncer", "migrations", no_pgbouncer()),
        tier("registry", "image-push", no_registry()),
        tier("schemathesis", "datastorage", no_schemathesis()),
    ]
}

fn no_pgbouncer() -> Option<String> {
    // Debian keeps it where only administrators look.
    let there =
        Runner::find("pgbouncer", None).is_ok() || Path::new("/usr/sbin/pgbouncer").exists();
    (!there).then(|| "no pgbouncer is installed; Debian's package has that name".to_owned())
}

fn no_registry() -> Option<String> {
    let missing = Runner::find("docker-registry", None).is_err();
    missing.then(|| {
        "no docker-registry is on the PATH; `eval \"$(.ci/registry)\"` makes one, as does Debian's package of that name".to_owned()
    })
}

fn no_schemathesis() -> Option<String> {
    let missing = Runner::find("schemathesis", None).is_err();
    missing.then(|| {
        "no schemathesis is installed; `pip install --requirement crates/datastorage/tests/schemathesis/requirements.txt` in a virtual environment whose bin is on the PATH".to_owned()
    })
}

fn postgres_bin(major: u32, default: &embedded_postgres::Installation) -> Result<PathBuf, String> {
    if default.major == major {
        return Ok(default.bin.clone());
    }
    let installed = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    let cached = embedded_postgres::PINNED_VERSIONS
        .iter()
        .filter(|version| version.starts_with(&format!("{major}.")))
        .map(|version| embedded_postgres::installation_directory(version).join("bin"));
    std::iter::once(installed)
        .chain(cached)
        .find(|bin| bin.join("postgres").exists())
        .ok_or_else(|| format!("no PostgreSQL {major} is installed or cached; `cargo run -p postgres-fetch -- --version` fetches 16, 17 and 18"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use e2e_runner::process::cancel::Cancel;
    use e2e_runner::table::image::Image;

    #[test]
    fn a_tier_that_cannot_run_never_reads_as_passed() {
        let image = Image {
            name: "no-such-image:e2e".to_owned(),
            ..Image::default()
        };
        let part = Part {
            images: vec![image],
            ..Part::default()
        };
        let tiers = [Tier {
            missing: no_image(&Runner::new(Cancel::default()), &[part]),
            ..Tier::new("example-kind", Vec::new())
        }];
        assert_eq!(conclude(&tiers, &[], &[]).expect("ok"), Exit::Passed);
        let error = conclude(&tiers, &[], &["example-kind".to_owned()]).expect_err("required");
        let failure = error.downcast_ref::<Failure>().expect("a failure");
        assert_eq!(failure.exit, Exit::Preflight);
        assert!(
            failure.summary.contains("`docker pull no-such-image:e2e`"),
            "{failure}"
        );
    }
}
