//! `cargo xtask test`: every test tier of this workspace, or one service's suite on the environment that `up` left.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e_report::{Log, Outcome};

use clap::Args;

use crate::commands::args::{RepeatArgs, Target};
use crate::commands::{begin, environment};
use crate::terminal;
use e2e_runner::exit::{Exit, Failure};
use e2e_runner::paths::Paths;
use e2e_runner::process::{Cmd, Door};
use e2e_runner::reporter::Reporter;
use e2e_runner::reports::{self, EVENTS};
use e2e_runner::run::local::postgres;
use e2e_runner::run::plan::{Place, Step};
use e2e_runner::run::repeat::Repeat;
use e2e_runner::run::suite;
use e2e_runner::settings::cargo;
use e2e_runner::table::{Service, Table};
use e2e_runner::tools::cargo::build_tests;

/// Flags of `test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The service whose suite is run; none runs every tier of this workspace
    pub service: Option<String>,
    /// A tier that must run: without it the command fails with exit 3
    #[arg(long, value_name = "TIER", value_delimiter = ',')]
    pub require: Vec<String>,
    /// PostgreSQL versions that the database tests run on, besides the default
    #[arg(long, value_name = "MAJOR", value_delimiter = ',')]
    pub postgres: Vec<u32>,
    #[command(flatten)]
    pub repeat: RepeatArgs,
}

/// Runs the verb.
pub fn run(door: &Door, table: &Table, args: &Test) -> anyhow::Result<Exit> {
    let paths = Paths::find(door)?;
    match &args.service {
        Some(name) => on_environment(door, &paths, table.find(name)?, args.repeat.into()),
        None => tiers(door, table, &paths, args),
    }
}

fn on_environment(
    door: &Door,
    paths: &Paths,
    service: &Service,
    repeat: Repeat,
) -> anyhow::Result<Exit> {
    let suite = service.suite()?;
    let run = environment::kept(paths, &service.name)?;
    let state = run.state();
    let mut environment = state.environment(&service.name);
    environment.insert(e2e_env::PGPASSWORD.to_owned(), run.password()?);
    let show = |line: &str| terminal::say(&format!("    {line}"));
    let binary = |package: &str| build_tests(door, paths, package, Duration::from_mins(10), show);
    let events = Reporter::logging_to(&run.dir().join(EVENTS), Box::new(terminal::event))?;
    let log = run.dir().join(EVENTS);
    let before = std::fs::read_to_string(&log).unwrap_or_default().len();
    let outcome = repeat.run(door.cancel(), terminal::say, || {
        suite::run_on(
            door,
            &events,
            service,
            binary,
            &environment,
            suite.deadline(),
            show,
        )
    });
    // What this command added to the run's log, and no earlier test once more.
    let log = std::fs::read_to_string(&log).unwrap_or_default();
    let added = Log::parse(log.get(before..).unwrap_or_default());
    reports::learn(&added, &paths.runs());
    let passed = outcome?;
    terminal::say(&format!(
        "{} on {}: {passed}",
        Step::RunSuite.name(),
        state.run
    ));
    Ok(Exit::Passed)
}

/// The service that the tiers run first, alone.
const FIRST: &str = "workflowexecution";

/// One kind of tests: a name, why this machine cannot run it (if so), and its commands.
struct Tier {
    name: String,
    missing: Option<String>,
    commands: Vec<Cmd>,
}

impl Tier {
    fn new(name: &str, commands: Vec<Cmd>) -> Self {
        Self {
            name: name.to_owned(),
            missing: None,
            commands,
        }
    }
}

fn tiers(door: &Door, table: &Table, paths: &Paths, args: &Test) -> anyhow::Result<Exit> {
    let tiers = plan(door, table, paths, &args.postgres)?;
    for wanted in &args.require {
        if !tiers.iter().any(|tier| tier.name == *wanted) {
            let names = tiers
                .iter()
                .map(|tier| tier.name.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            return Err(
                Failure::new(Exit::Usage, format!("no tier is named `{wanted}`"))
                    .next(format!("name one of: {names}"))
                    .into(),
            );
        }
    }
    let mut rows = Vec::new();
    for tier in &tiers {
        if tier.missing.is_some() {
            continue;
        }
        terminal::say(&format!("tier {}", tier.name));
        let began = Instant::now();
        // Every command runs: a person wants to see all that fails, and the last one of a run's tier cleans up.
        let passed = tier
            .commands
            .iter()
            .fold(true, |all, command| passes(command) & all);
        door.cancel().check()?;
        rows.push((
            tier,
            if passed { Outcome::Ok } else { Outcome::Failed },
            began.elapsed(),
        ));
    }
    conclude(&tiers, &rows, &args.require)
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

fn passes(command: &Cmd) -> bool {
    let result = command.stream(terminal::say);
    if let Err(error) = &result {
        terminal::say(&format!("error: {error}"));
    }
    matches!(result, Ok(0))
}

fn plan(door: &Door, table: &Table, paths: &Paths, majors: &[u32]) -> anyhow::Result<Vec<Tier>> {
    let at_most = |minutes: u64| Duration::from_mins(minutes);
    let cargo = |args: &[&str]| {
        door.cmd(cargo())
            .args(args)
            .dir(&paths.source)
            .deadline(at_most(40))
    };
    let this = std::env::current_exe()?;
    let e2e = |target: &str, flags: &[&str]| {
        let run = door.cmd(&this).args(["e2e", "--target", target]);
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
    let lint = vec![
        cargo(&["fmt", "--all", "--check"]),
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ]),
        cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
    ];
    // Not in one command: cargo gives a dependency the features that any package of a command asks for, and what the
    // fetcher and the generators ask for would be compiled into the client too.
    let crates = vec![
        cargo(&["test", "--no-fail-fast"]),
        cargo(&[
            "test",
            "--no-fail-fast",
            "--package",
            "bench",
            "--package",
            "codegen",
        ]),
        cargo(&["test", "--package", "postgres-fetch"]),
    ];
    let mut tiers = vec![Tier::new("lint", lint), Tier::new("crates", crates)];
    // The embedded server is of major 16; the schema must be the same on the others.
    let majors = if majors.is_empty() { &[15] } else { majors };
    let default = postgres::installation(door, paths, terminal::say)?;
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
    let migrations = ["test", "--package", "migrations", "--features", "pgbouncer"];
    let pgbouncer = cargo(&migrations).args(["--test", "it", "--", "pgbouncer"]);
    tiers.push(Tier {
        missing: no_pgbouncer(),
        ..Tier::new("pgbouncer", vec![pgbouncer])
    });
    // Alone, as the first one was, each suite also kills the PostgreSQL that it has to itself.
    let alone = table
        .all()
        .iter()
        .filter(|service| service.suite.is_some() && service.name != FIRST);
    let alone = alone.map(|service| e2e("local", &[&service.name, "--fresh"]));
    tiers.push(Tier::new(
        "local",
        runs("local").into_iter().chain(alone).collect(),
    ));
    let args = crate::commands::args::TargetArgs {
        target: Target::Auto,
        postgres_url: None,
        fresh: true,
    };
    let (place, why) = begin::place(door, &args)?;
    let missing = (place != Place::Kind).then_some(why);
    // One at a time: two clusters in the making would slow each other down.
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
        "1",
    ];
    let kind = [runs("kind"), vec![cargo(&alone)]].concat();
    tiers.push(Tier {
        missing,
        ..Tier::new("kind", kind)
    });
    Ok(tiers)
}

fn no_pgbouncer() -> Option<String> {
    // Debian keeps it where only administrators look.
    let there = Door::find("pgbouncer").is_ok() || Path::new("/usr/sbin/pgbouncer").exists();
    (!there).then(|| "no pgbouncer is installed; Debian's package has that name".to_owned())
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
