//! `cargo xtask migrate`: applies the migrations that one service needs.

use std::collections::BTreeMap;
use std::time::Duration;

use migrations::{Config, DEFAULT_DEADLINE, Error, Report};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::cancel::Cancel;
use crate::cli::Migrate;
use crate::database::Database;
use crate::exit::{Exit, Failure};
use crate::lifecycle::session::{random_password, runtime};
use crate::lifecycle::{KEPT_FOR, local, release};
use crate::paths::Paths;
use crate::process::Door;
use crate::report;
use crate::state::Run;

/// How often a run of migrations is asked whether a signal ends it.
const TICK: Duration = Duration::from_millis(20);

/// Runs the verb.
pub fn run(door: &Door, args: &Migrate) -> anyhow::Result<Exit> {
    let runtime = runtime()?;
    let applied = match &args.database_url {
        Some(url) => apply_profile(
            &runtime,
            url,
            &args.profile,
            DEFAULT_DEADLINE,
            door.cancel(),
        )?,
        None => on_own_database(door, &runtime, &args.profile)?,
    };
    for migration in &applied.applied {
        report::say(&format!(
            "  applied {} ({} ms)",
            migration.id,
            migration.duration.as_millis()
        ));
    }
    for warning in &applied.warnings {
        report::say(&format!("  warning: {warning}"));
    }
    report::print(&summary(&applied));
    Ok(Exit::Passed)
}

/// The environment of the same service that is up, else an embedded server that `down` stops (D24).
fn on_own_database(door: &Door, runtime: &Runtime, profile: &str) -> anyhow::Result<Report> {
    let paths = Paths::find(door)?;
    super::reap::before_a_run(door, &paths);
    if let Some(run) = Run::kept(&paths.runs(), profile) {
        let state = run.state();
        let url = state
            .environment
            .get(e2e_env::DATABASE_URL)
            .cloned()
            .unwrap_or_default();
        report::say(&format!("database of {}: {url}", state.run));
        return Ok(apply_profile(
            runtime,
            &with_password(&url, &run.password()?),
            profile,
            DEFAULT_DEADLINE,
            door.cancel(),
        )?);
    }
    let found = local::installation(door, &paths, report::say)?;
    let run = Run::create(&paths.runs(), profile, "local", KEPT_FOR)?;
    let password = random_password();
    let applied = local::start_postgres(&found, &run, runtime, &password).and_then(|database| {
        let applied = apply_profile(
            runtime,
            &database.secret_url(),
            profile,
            DEFAULT_DEADLINE,
            door.cancel(),
        )?;
        Ok((database, applied))
    });
    match applied {
        Ok((database, applied)) => {
            let environment = BTreeMap::from([
                (e2e_env::DATABASE_URL.to_owned(), database.url()),
                (
                    e2e_env::EVIDENCE_DIR.to_owned(),
                    run.dir().display().to_string(),
                ),
            ]);
            run.keep(environment, &password, KEPT_FOR)?;
            super::up::tell(&run.state());
            Ok(applied)
        }
        Err(failure) => {
            release::release(&run, &door.after(2))?;
            Err(failure.into())
        }
    }
}

fn with_password(url: &str, password: &str) -> String {
    url.replacen('@', &format!(":{password}@"), 1)
}

/// Applies a profile to a database. A signal ends the run of migrations without leaving a lock or half a migration.
pub fn apply_profile(
    runtime: &Runtime,
    url: &str,
    profile: &str,
    deadline: Duration,
    cancel: &Cancel,
) -> Result<Report, Failure> {
    let config = Config::new(url).profile(profile).deadline(deadline);
    bounded(runtime, config, cancel, async |config| {
        migrations::apply(&config).await
    })
}

/// Replaces a database by a clone of its profile's template, which is built the first time; returns the template's name.
pub fn replace_by_clone(
    runtime: &Runtime,
    database: &Database,
    profile: &str,
    deadline: Duration,
    cancel: &Cancel,
) -> Result<String, Failure> {
    let config = Config::new(database.secret_url())
        .profile(profile)
        .deadline(deadline);
    bounded(runtime, config, cancel, async |config| {
        let template = migrations::template(&config).await?;
        template.drop_clone(&database.name).await?;
        template.clone_as(&database.name).await?;
        Ok(template.name().to_owned())
    })
}

/// Runs work of the library to its end, or until a signal cancels it.
fn bounded<T>(
    runtime: &Runtime,
    config: Config,
    cancel: &Cancel,
    work: impl AsyncFnOnce(Config) -> Result<T, Error>,
) -> Result<T, Failure> {
    let token = CancellationToken::new();
    let config = config.cancel_with(token.clone());
    runtime
        .block_on(async {
            let mut working = std::pin::pin!(work(config));
            loop {
                match tokio::time::timeout(TICK, &mut working).await {
                    Ok(result) => return result,
                    Err(_) if cancel.is_raised() => token.cancel(),
                    Err(_) => {}
                }
            }
        })
        .map_err(|error| failure(&error, cancel))
}

/// What a run of migrations did, in one line.
pub fn summary(report: &Report) -> String {
    let partitions = report.partitions.len();
    match report.applied.len() {
        0 if partitions == 0 => format!(
            "nothing to do: {} migrations are applied",
            report.up_to_date
        ),
        applied => format!(
            "{applied} applied, {} were already, {partitions} partitions made",
            report.up_to_date
        ),
    }
}

/// Gives a library error its exit code (design section 8).
pub fn failure(error: &Error, cancel: &Cancel) -> Failure {
    let exit = match error {
        Error::PostgresNotReady { .. }
        | Error::AuthFailed { .. }
        | Error::NoSuchDatabase { .. } => Exit::Setup,
        Error::LockTimeout { .. } | Error::DeadlineExceeded { .. } => Exit::Deadline,
        Error::Drift { .. } => Exit::Drift,
        Error::InvalidUrl { .. } | Error::UnknownProfile { .. } | Error::UnknownTable { .. } => {
            Exit::Usage
        }
        Error::Cancelled { .. } => return cancel.failure(),
        _ => Exit::Migration,
    };
    Failure::new(exit, error.to_string())
}
